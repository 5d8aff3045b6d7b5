/*
 * tcp.c - the bare TCP transport: frames (proto/tcp_frame.h) on a connection, no HTTP.
 *
 * The first byte says which framing it is, the first frame (hello) who the client is; then the connection moves to the
 * shard that owns its user, read-ahead bytes and all, and is a session like any other. There are no control frames, so
 * heartbeats are the messages ping and pong, and goodbye is a `closing`. Before hello nothing is promised: a wrong one
 * is answered with an error and the connection ends.
 *
 * Runs on the thread of the shard that has the connection; the state block dies with it.
 */
#include "net/tcp.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/blob.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/config.h"
#include "net/admit.h"
#include "net/auth.h"
#include "net/pulse.h"
#include "net/session.h"
#include "net/shard.h"
#include "proto/hello.h"
#include "proto/tcp_frame.h"

#define OBJECT_MAX    4096
#define TOKEN_LOOK_MS 200 /* the first look at a token that ends */

struct tcp {
    struct session session;
    struct pulse pulse;
    size_t scanned; /* by tcp_frame_next */
    enum codec codec : 8;
    bool framed;  /* the codec is known */
    bool greeted; /* hello was good: the session is there, or on its way to its shard */
};

static struct tcp *tcp_of(struct conn *c)
{
    return c->ext;
}

/* ---- output ---- */

static struct blob *framed(enum codec codec, struct span object)
{
    struct blob *b = blob_new(tcp_frame_size(codec, object));
    if (b)
        tcp_frame_write(codec, object, b->data);
    return b;
}

static bool say(struct conn *c, struct span object)
{
    struct blob *b = framed(tcp_of(c)->codec, object);
    if (!b) {
        conn_close(c, CLOSE_MEMORY);
        return false;
    }
    bool ok = conn_write(c, span_of(b->data, b->len));
    blob_unref(b);
    return ok;
}

static bool control(struct session *s, struct span object)
{
    return say(s->conn, object);
}

static struct blob *wrap_msgpack(const struct job_head *h, struct span object)
{
    (void)h;
    return framed(CODEC_MSGPACK, object);
}

static void send_ping(struct conn *c)
{
    struct buf b;
    buf_init(&b, OBJECT_MAX);
    if (encode_ping(tcp_of(c)->codec, &b))
        (void)say(c, buf_span(&b));
    buf_fini(&b);
}

static void close_session(struct session *s, unsigned code, const char *reason, enum close_reason why)
{
    struct conn *c = s->conn;
    struct buf b;
    bool told = s->told;
    if (s->state == SESSION_OVER || c->state == CONN_DEAD)
        return;
    conn_ending(c, why);
    session_end(s);
    if (why == CLOSE_SLOW)
        conn_drop_queued(c);
    buf_init(&b, OBJECT_MAX);
    if (!told && encode_closing(tcp_of(c)->codec, code, reason, 0, &b))
        (void)say(c, buf_span(&b));
    buf_fini(&b);
    conn_finish(c, why);
}

/* ---- the session's side ---- */

static void want_evidence(struct session *s)
{
    pulse_want(&tcp_of(s->conn)->pulse, s);
}

static void on_pong(struct session *s)
{
    struct pulse *p = &tcp_of(s->conn)->pulse;
    if (p->out)
        pulse_proven(p, s);
}

static const struct session_io io_json = {
    .codec = CODEC_JSON,
    .wire = WIRE_TCP_JSON,
    .clients = M_CONNS_TCP,
    .control = control,
    .wrap = frame_wrap_line,
    .close = close_session,
    .want_evidence = want_evidence,
    .pong = on_pong,
};

static const struct session_io io_msgpack = {
    .codec = CODEC_MSGPACK,
    .wire = WIRE_TCP_MSGPACK,
    .clients = M_CONNS_TCP,
    .control = control,
    .wrap = wrap_msgpack,
    .close = close_session,
    .want_evidence = want_evidence,
    .pong = on_pong,
};

/* ---- hello ---- */

/* Says what was wrong, and ends. */
static void turn_away(struct conn *c, struct span ref, const char *code, const char *message, enum close_reason why)
{
    char peer[64];
    struct shard *s = c->shard;
    struct buf b;
    log_limited(&s->log_http, 5, LOG_WARN, "tcp", "peer=%s refused %s: %s", conn_peer(c, peer, sizeof peer), code,
                message);
    buf_init(&b, OBJECT_MAX);
    if (encode_error(tcp_of(c)->codec, ref, code, message, 0, &b))
        (void)say(c, buf_span(&b));
    buf_fini(&b);
    conn_finish(c, why);
}

static bool identify(struct conn *c, const struct hello *h, struct identity **who)
{
    char why[128] = "";
    const char *code = "overloaded";
    switch (auth_hello(c->shard->env->auth, h->token, h->user, h->device, clock_real_us() / 1000000, who, why,
                       sizeof why)) {
    case AUTH_OK:
        return true;
    case AUTH_NONE:
        code = "unauthorized";
        break;
    case AUTH_BAD:
        code = "bad_token";
        break;
    case AUTH_EXPIRED:
        code = "token_expired";
        break;
    case AUTH_MALFORMED:
        code = "bad_request";
        break;
    case AUTH_NO_MEMORY:
        turn_away(c, h->ref, code, "out of memory", CLOSE_MEMORY);
        return false;
    }
    metric_add(c->shard->m, M_HANDSHAKE_AUTH, 1);
    turn_away(c, h->ref, code, why, CLOSE_UNAUTHORIZED);
    return false;
}

static enum ack_mode ack_of(enum hello_ack a)
{
    switch (a) {
    case HELLO_ACK_EXPLICIT:
        return ACK_EXPLICIT;
    case HELLO_ACK_SENT:
        return ACK_SENT;
    case HELLO_ACK_AUTO:
        break;
    }
    return ACK_AUTO;
}

static void greet(struct conn *c, const struct hello *h)
{
    struct tcp *t = tcp_of(c);
    struct identity *who = NULL;
    if (c->shard->draining) {
        turn_away(c, h->ref, "draining", "the broker is about to stop", CLOSE_DRAIN);
        return;
    }
    if (!identify(c, h, &who))
        return;
    t->session.who = who;
    t->session.ack_mode = ack_of(h->ack);
    t->session.since = h->has_since ? h->since : UINT64_MAX;
    t->greeted = true;
    admit_to_owner(c, who);
}

static void first_frame(struct conn *c, struct span object)
{
    struct tcp *t = tcp_of(c);
    struct hello h;
    struct command_error err;
    struct buf scratch;
    buf_init(&scratch, object.n + 64);
    if (hello_parse(t->codec, object, &scratch, &h, &err) == 0) {
        greet(c, &h);
    } else {
        metric_add(c->shard->m, M_HANDSHAKE_HTTP_FAILED, 1);
        turn_away(c, err.ref, err.code, err.message, CLOSE_PROTOCOL);
    }
    buf_fini(&scratch);
}

/* ---- input ---- */

static void bad_frame(struct conn *c, enum tcp_frame_result r)
{
    struct tcp *t = tcp_of(c);
    bool big = r == TCP_FRAME_TOO_BIG;
    char sentence[64];
    if (big)
        snprintf(sentence, sizeof sentence, "message over %u bytes", c->shard->cfg->max_message);
    else
        snprintf(sentence, sizeof sentence, "a frame of no bytes");
    metric_add(c->shard->m, M_BAD_MESSAGES, 1);
    if (t->greeted)
        close_session(&t->session, big ? 1009 : 4004, sentence, big ? CLOSE_TOO_BIG : CLOSE_PROTOCOL);
    else
        turn_away(c, (struct span){NULL, 0}, big ? "too_big" : "bad_request", sentence,
                  big ? CLOSE_TOO_BIG : CLOSE_PROTOCOL);
}

/* One frame off the front; 0: more bytes are needed. */
static size_t take_frame(struct conn *c, struct span in)
{
    struct tcp *t = tcp_of(c);
    struct span object;
    size_t used = 0;
    if (!t->framed) {
        t->codec = tcp_frame_codec(in.p[0]);
        t->framed = true;
    }
    enum tcp_frame_result r = tcp_frame_next(t->codec, in, c->shard->cfg->max_message, &t->scanned, &object, &used);
    switch (r) {
    case TCP_FRAME_OK:
        break;
    case TCP_FRAME_NEED_MORE:
        return 0;
    case TCP_FRAME_TOO_BIG:
    case TCP_FRAME_EMPTY:
        bad_frame(c, r);
        return in.n;
    }
    if (object.n && t->greeted)
        session_input(&t->session, object);
    else if (object.n)
        first_frame(c, object);
    return used;
}

static size_t on_input(struct conn *c, uint8_t *p, size_t n)
{
    size_t used = 0;
    while (used < n && c->state == CONN_OPEN && !c->paused) {
        if (tcp_of(c)->greeted && shard_congested(c->shard)) {
            conn_resume(c); /* look again next turn: the dispatcher is behind */
            break;
        }
        size_t k = take_frame(c, span_of(p + used, n - used));
        if (k == 0)
            break;
        used += k;
    }
    return used;
}

/* ---- the connection's life ---- */

static void on_timer(struct conn *c)
{
    struct tcp *t = tcp_of(c);
    if (t->greeted)
        pulse_beat(&t->pulse, c, &t->session, send_ping);
    else
        conn_close(c, CLOSE_HANDSHAKE_TIMEOUT);
}

static void on_op(struct conn *c, struct op *op)
{
    session_op_done(&tcp_of(c)->session, op);
}

static void on_gone(struct conn *c)
{
    session_end(&tcp_of(c)->session);
}

static void on_drain(struct conn *c)
{
    struct tcp *t = tcp_of(c);
    if (t->greeted && t->session.state != SESSION_OVER)
        session_goodbye(&t->session);
    else
        conn_finish(c, CLOSE_DRAIN);
}

static void on_adopted(struct conn *c)
{
    struct tcp *t = tcp_of(c);
    pulse_start(&t->pulse, c);
    session_start(&t->session, c, t->codec == CODEC_JSON ? &io_json : &io_msgpack);
    if (c->state == CONN_OPEN && t->session.who && t->session.who->expires_s)
        conn_timer(c, TOKEN_LOOK_MS);
}

static void on_drained(struct conn *c)
{
    session_drained(&tcp_of(c)->session);
}

static struct session *session_of(struct conn *c)
{
    struct tcp *t = tcp_of(c);
    return t->greeted && t->session.state != SESSION_OVER ? &t->session : NULL;
}

static const struct conn_proto tcp_proto = {
    .name = "tcp",
    .input = on_input,
    .op_done = on_op,
    .timer = on_timer,
    .gone = on_gone,
    .drain = on_drain,
    .adopted = on_adopted,
    .drained = on_drained,
    .session = session_of,
};

bool tcp_start(struct conn *c)
{
    struct tcp *t = calloc(1, sizeof *t);
    if (!t) {
        conn_close(c, CLOSE_MEMORY);
        return false;
    }
    c->proto = &tcp_proto;
    c->ext = t;
    conn_timer(c, c->shard->cfg->handshake_ms);
    return true;
}
