/*
 * sse.c - Server-Sent Events (WHATWG HTML, section "Server-sent events") on a connection.
 *
 * The answer's head is queued and held back (corked) while the connection moves to the shard that owns its user; head,
 * `retry` and welcome leave in one write. The body has no length and no chunks: it ends with the connection, which
 * every proxy passes on as it comes. From then on the client has nothing to say here; what it says comes by POST /send.
 *
 * So nothing on this connection proves that messages have arrived: the cursor moves when the client comes back with
 * Last-Event-ID, or posts an ack (or, in the mode `sent`, when the kernel has nothing left). An event's id is the seq
 * of its message in the inbox, part of the event that all receivers share; a stream whose rooms keep a history has ids
 * of its own, the inbox's seq and its place in each room (proto/sse_id.h), in front of copies of the events. A dead
 * peer is noticed by writing: a comment goes out when nothing else has for long, and the kernel gives up when it is not
 * acknowledged.
 *
 * Runs on the shard's thread; the state block dies with the connection.
 */
#include "net/sse.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/blob.h"
#include "core/buf.h"
#include "core/config.h"
#include "core/hash.h"
#include "core/msg.h"
#include "net/admit.h"
#include "net/auth.h"
#include "net/http.h"
#include "net/room.h"
#include "net/session.h"
#include "net/shard.h"
#include "proto/room_rules.h"
#include "proto/sse.h"
#include "proto/sse_id.h"

#define OBJECT_MAX       8192
#define SEQ_BYTES        24
#define ID_MAX           (64 * 1024)
#define WELCOME_WAIT_MS  200  /* the head waits this long for the welcome, to leave with it in one write */
#define EVIDENCE_MS      1000 /* how often the mode `sent` asks the kernel */
#define RETRY_LEAST_MS   1000
#define RETRY_SPREAD_MS  4000 /* clients of a broker that went come back spread over this long */
#define RETRY_REPLACED_S 60   /* two pages with one device must not push each other out all the time */

struct sse {
    struct session session;
    char *rooms;   /* as asked for; NULL: none, or they are joined and not needed any more */
    char *last_id; /* as the client brought it, as long as there are rooms; NULL: nothing */
    bool placed;   /* some of the rooms keep a history: ids say where it is in them */
};

static struct sse *sse_of(struct conn *c)
{
    return c->ext;
}

/* ---- output ---- */

static bool write_event(struct conn *c, const struct sse_event *e)
{
    struct buf b;
    buf_init(&b, sse_size(e));
    bool ok = sse_write(&b, e);
    if (ok)
        ok = conn_write(c, buf_span(&b));
    else
        conn_close(c, CLOSE_MEMORY);
    buf_fini(&b);
    return ok;
}

static bool control(struct session *s, struct span object)
{
    struct sse_event e = {.event = sse_type_of(object), .data = object};
    return write_event(s->conn, &e);
}

static struct blob *wrap(const struct job_head *h, struct span object)
{
    char seq[SEQ_BYTES];
    struct sse_event e = {.event = h->event, .data = object};
    if (h->seq && h->kind == TARGET_USER) /* what comes back as Last-Event-ID is a place in the inbox */
        e.id = span_of(seq, (size_t)snprintf(seq, sizeof seq, "%llu", (unsigned long long)h->seq));
    struct buf b;
    buf_init(&b, sse_size(&e));
    struct blob *blob = sse_write(&b, &e) ? blob_copy(buf_span(&b)) : NULL;
    buf_fini(&b);
    return blob;
}

/* ---- ids that hold the places in rooms ---- */

/* The places in the rooms that were asked for; where a room has not got that far, the one the client brought. */
static bool write_places(struct session *s, struct buf *out)
{
    const struct sse *e = sse_of(s->conn);
    struct span list = span_str(e->rooms), name;
    while (admit_next_name(&list, &name)) {
        uint64_t seq;
        bool known = room_place(s, name, &seq) || sse_id_room(span_str(e->last_id), name, &seq);
        if (known && !sse_id_write_room(out, name, seq))
            return false;
    }
    return true;
}

/* Takes the line "id: N" off the front of an event; user stays when there is none. */
static struct span take_id(struct span event, uint64_t *user)
{
    const uint8_t *end = event.n > 4 && memcmp(event.p, "id: ", 4) == 0 ? memchr(event.p, '\n', event.n) : NULL;
    if (!end || !sse_id_user(span_of(event.p + 4, (size_t)(end - event.p) - 4), user))
        return event;
    size_t n = (size_t)(end - event.p) + 1;
    return span_of(event.p + n, event.n - n);
}

/* A stored message of a stream that follows rooms with history: the shared event behind an id of its own. What was
 * queued before it has moved the places; its own room's has been moved already. */
static enum out_result push_placed(struct session *s, struct frame *f, enum out_class cls)
{
    if (cls != OUT_STORED)
        return conn_push(s->conn, f, cls);
    uint64_t user = s->sent;
    struct span event = take_id(span_of(f->data, f->len), &user);
    struct buf b;
    buf_init(&b, event.n + ID_MAX);
    bool ok = buf_append_str(&b, "id: ") && sse_id_write_user(&b, user) && write_places(s, &b) &&
              buf_append_byte(&b, '\n') && buf_append_span(&b, event);
    struct frame *own = ok ? frame_copy(buf_span(&b)) : NULL;
    buf_fini(&b);
    if (!own)
        return OUT_NO_MEMORY;
    own->born_us = f->born_us;
    enum out_result r = conn_push(s->conn, own, cls);
    frame_unref(own);
    return r;
}

static void say_closing(struct conn *c, unsigned code, const char *reason, enum close_reason why)
{
    struct buf b;
    buf_init(&b, OBJECT_MAX);
    if (encode_closing(CODEC_JSON, code, reason, 0, &b)) {
        struct sse_event e = {.event = SPAN_LIT("closing"), .data = buf_span(&b)};
        e.retry_ms = why == CLOSE_REPLACED ? RETRY_REPLACED_S * 1000 : 0;
        (void)write_event(c, &e);
    }
    buf_fini(&b);
}

static void close_session(struct session *s, unsigned code, const char *reason, enum close_reason why)
{
    struct conn *c = s->conn;
    bool told = s->told;
    if (s->state == SESSION_OVER || c->state == CONN_DEAD)
        return;
    conn_ending(c, why);
    session_end(s);
    if (why == CLOSE_SLOW)
        conn_drop_queued(c);
    conn_cork(c, false);
    if (!told)
        say_closing(c, code, reason, why);
    conn_finish(c, why);
}

/* ---- rooms ---- */

static void subscribe(struct session *s, struct span room, struct span last_id)
{
    struct room_wish w = {.room = room};
    w.has_since = sse_id_room(last_id, room, &w.since);
    session_subscribe(s, &w);
}

/* What the request wished is done with. */
static void forget_request(struct sse *e)
{
    free(e->rooms);
    free(e->last_id);
    e->rooms = e->last_id = NULL;
}

static void welcomed(struct session *s)
{
    struct conn *c = s->conn;
    struct sse *e = sse_of(c);
    struct span list = span_str(e->rooms), name;
    while (s->state == SESSION_LIVE && admit_next_name(&list, &name))
        subscribe(s, name, span_str(e->last_id));
    if (!e->placed)
        forget_request(e);
}

/* ---- time ---- */

static void want_evidence(struct session *s)
{
    if (s->ack_mode != ACK_SENT || s->evidence_due)
        return;
    s->evidence_due = true;
    conn_timer(s->conn, EVIDENCE_MS < s->conn->shard->cfg->ping_ms ? EVIDENCE_MS : s->conn->shard->cfg->ping_ms);
}

static uint32_t at_most(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* A comment when nothing went out for long; how long until the next look. */
static uint32_t heartbeat(struct conn *c)
{
    uint32_t ping_ms = c->shard->cfg->ping_ms, silent = (uint32_t)c->shard->now_ms - c->last_tx_ms;
    if (silent < ping_ms)
        return ping_ms - silent;
    if (outq_empty(&c->out))
        (void)conn_write(c, SPAN_LIT(SSE_COMMENT));
    return ping_ms;
}

/* Has the kernel nothing left of what was sent? How long until the next look; 0: none is needed. */
static uint32_t seek_evidence(struct session *s)
{
    if (!s->evidence_due)
        return 0;
    s->evidence_due = false;
    if (s->state == SESSION_LIVE && s->flight_count && conn_sent_all(s->conn))
        session_ack(s, s->sent);
    s->evidence_due = s->flight_count > 0;
    return s->evidence_due ? EVIDENCE_MS : 0;
}

static void on_timer(struct conn *c)
{
    struct session *s = &sse_of(c)->session;
    if (c->corked)
        conn_cork(c, false); /* no welcome yet: the store takes its time */
    uint32_t next = heartbeat(c);
    uint32_t evidence = c->state == CONN_OPEN ? seek_evidence(s) : 0;
    uint32_t token = c->state == CONN_OPEN && s->state != SESSION_OVER ? session_token_check(s) : 0;
    next = evidence ? at_most(next, evidence) : next;
    if (c->state == CONN_OPEN)
        conn_timer(c, token ? at_most(next, token) : next);
}

/* ---- the connection's life ---- */

static size_t on_input(struct conn *c, uint8_t *p, size_t n)
{
    (void)p;
    conn_close(c, CLOSE_PROTOCOL); /* there is no second request behind an answer that does not end */
    return n;
}

static void on_op(struct conn *c, struct op *op)
{
    session_op_done(&sse_of(c)->session, op);
}

static void on_gone(struct conn *c)
{
    struct sse *e = sse_of(c);
    session_end(&e->session);
    forget_request(e);
}

static void on_drain(struct conn *c)
{
    struct session *s = &sse_of(c)->session;
    if (s->state == SESSION_OVER)
        conn_finish(c, CLOSE_DRAIN);
    else
        session_goodbye(s);
}

static void on_drained(struct conn *c)
{
    session_drained(&sse_of(c)->session);
}

static struct session *session_of(struct conn *c)
{
    struct session *s = &sse_of(c)->session;
    return s->state == SESSION_OVER ? NULL : s;
}

static const struct session_io io = {
    .codec = CODEC_JSON,
    .wire = WIRE_SSE,
    .clients = M_CONNS_SSE,
    .one_way = true,
    .control = control,
    .wrap = wrap,
    .close = close_session,
    .want_evidence = want_evidence,
    .welcomed = welcomed,
};

static const struct session_io io_placed = {
    .codec = CODEC_JSON,
    .wire = WIRE_SSE,
    .clients = M_CONNS_SSE,
    .one_way = true,
    .control = control,
    .wrap = wrap,
    .push = push_placed,
    .close = close_session,
    .want_evidence = want_evidence,
    .welcomed = welcomed,
};

static void on_adopted(struct conn *c)
{
    struct session *s = &sse_of(c)->session;
    c->last_tx_ms = (uint32_t)c->shard->now_ms;
    conn_peer_timeout(c, c->shard->cfg->idle_ms);
    conn_timer(c, c->shard->cfg->ping_ms);
    session_start(s, c, sse_of(c)->placed ? &io_placed : &io);
    if (c->state == CONN_OPEN && s->state == SESSION_ATTACHING)
        conn_timer(c, at_most(WELCOME_WAIT_MS, c->shard->cfg->ping_ms));
}

static const struct conn_proto sse_proto = {
    .name = "sse",
    .input = on_input,
    .op_done = on_op,
    .timer = on_timer,
    .gone = on_gone,
    .drain = on_drain,
    .adopted = on_adopted,
    .drained = on_drained,
    .session = session_of,
};

/* ---- the request ---- */

/* Where the client was: the header of an EventSource that comes back, else the query's word for those that cannot set
 * headers. A header that is none of ours says nothing. False: refused. */
static bool read_last_id(struct conn *c, const struct http_head *h, struct sse *e)
{
    struct session *s = &e->session;
    struct span id = http_field(h, "Last-Event-ID");
    if (sse_id_user(id, &s->since)) {
        e->last_id = span_dup(id);
        return true;
    }
    char *text = h->query.n ? malloc(h->query.n + 1) : NULL;
    int n = text ? http_query(h->query, "last_event_id", text, h->query.n) : -1;
    if (text && n == -1)
        n = http_query(h->query, "lastEventId", text, h->query.n);
    if (n >= 0 && sse_id_user(span_of(text, (size_t)n), &s->since)) {
        text[n] = '\0';
        e->last_id = text;
        return true;
    }
    free(text);
    if (n != -1)
        admit_refuse(c, M_HANDSHAKE_HTTP_FAILED, 400, "bad_request", "last_event_id is none that this broker gave");
    return n == -1;
}

static bool read_rooms(struct conn *c, const struct http_head *h, struct sse *e)
{
    unsigned n = 0;
    if (!admit_rooms(c, h, e->session.who, &e->rooms))
        return false;
    struct span list = span_str(e->rooms), name;
    for (; admit_next_name(&list, &name); n++)
        e->placed |= room_history(c->shard->cfg, name, NULL);
    /* Rooms that are named at the start are subscribes like others. */
    return admit_rates(c, e->session.who, &(struct rate_cost){.n = {[RATE_SUBSCRIBES] = n}});
}

static void free_state(struct sse *e)
{
    identity_free(e->session.who);
    forget_request(e);
    free(e);
}

/* Head and `retry`, held back until the welcome. Takes e. */
static void take_over(struct conn *c, struct sse *e)
{
    struct sse_event first = {.retry_ms = RETRY_LEAST_MS + (uint32_t)random_below(RETRY_SPREAD_MS)};
    if (!http_stream(c, "text/event-stream", "Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n") ||
        !write_event(c, &first)) {
        free_state(e);
        return;
    }
    c->proto = &sse_proto;
    c->ext = e;
    admit_to_owner(c, e->session.who);
}

void sse_handle(struct conn *c, const struct http_request *r)
{
    const struct http_head *h = &r->head;
    struct identity *who = NULL;
    if (!admit_running(c) || !admit_identity(c, h, &who))
        return;
    struct sse *e = calloc(1, sizeof *e);
    if (!e) {
        identity_free(who);
        http_fail(c, 503, "overloaded", "out of memory", 1);
        return;
    }
    e->session.who = who;
    if (admit_wishes(c, h, &e->session) && read_last_id(c, h, e) && read_rooms(c, h, e))
        take_over(c, e);
    else
        free_state(e);
}
