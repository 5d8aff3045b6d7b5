/*
 * websocket.c - RFC 6455 on a connection that was upgraded (ws_upgrade.c): frames in, messages put together, control
 * frames, the closing handshake, heartbeats. Runs on the shard's thread.
 *
 * Payload is unmasked in place and checked for UTF-8 as it arrives. A message that lies whole in the input is handed on
 * without a copy; else it is collected in `message`, whose ceiling is the message limit and which is freed with the
 * message, so that an idle connection owns no buffer. A compressed message is collected as it came and inflated whole
 * (ws_deflate.c). After a close frame of ours input is read only for the peer's, and where the peer broke the protocol
 * not at all (ws_fail); the state block dies with the connection.
 */
#include "net/websocket.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/config.h"
#include "net/shard.h"
#include "net/ws.h"

#define CLOSE_WAIT_MS 3000

static struct ws *ws_of(struct conn *c)
{
    return c->ext;
}

/* ---- output ---- */

static bool send_frame(struct conn *c, enum ws_opcode op, struct span payload)
{
    uint8_t small[WS_MAX_SERVER_HEAD + 125];
    struct span packed;
    bool squeezed = op < WS_CLOSE && ws_pack(c, payload, &packed);
    if (squeezed)
        payload = packed;
    if (payload.n <= 125) {
        unsigned n = ws_head_write(small, true, squeezed, op, payload.n, NULL);
        if (payload.n)
            memcpy(small + n, payload.p, payload.n);
        return conn_write(c, span_of(small, n + payload.n));
    }
    struct buf b;
    buf_init(&b, payload.n + WS_MAX_HEAD);
    uint8_t *p = buf_reserve(&b, payload.n + WS_MAX_HEAD);
    bool ok = false;
    if (p) {
        unsigned n = ws_head_write(p, true, squeezed, op, payload.n, NULL);
        memcpy(p + n, payload.p, payload.n);
        ok = conn_write(c, span_of(p, n + payload.n));
    } else {
        conn_close(c, CLOSE_MEMORY);
    }
    buf_fini(&b);
    return ok;
}

void ws_close(struct conn *c, unsigned code, const char *reason, enum close_reason why)
{
    struct ws *w = ws_of(c);
    if (w->close_sent || c->state == CONN_DEAD)
        return;
    uint8_t payload[125];
    size_t n = strlen(reason);
    n = n > sizeof payload - 2 ? sizeof payload - 2 : n;
    payload[0] = (uint8_t)(code >> 8);
    payload[1] = (uint8_t)code;
    memcpy(payload + 2, reason, n);
    w->close_sent = true;
    w->why = why;
    conn_ending(c, why);
    session_end(&w->session);
    if (why == CLOSE_SLOW)
        conn_drop_queued(c);
    if (c->state != CONN_OPEN) {
        conn_close(c, why);
        return;
    }
    conn_cork(c, false);
    if (!send_frame(c, WS_CLOSE, span_of(payload, n + 2)))
        return;
    if (w->close_received || c->paused)
        conn_finish(c, why);
    else
        conn_timer(c, CLOSE_WAIT_MS);
}

void ws_fail(struct conn *c, unsigned code, const char *reason)
{
    enum close_reason why = code == 1009 ? CLOSE_TOO_BIG : CLOSE_PROTOCOL;
    metric_add(c->shard->m, M_BAD_MESSAGES, 1);
    ws_close(c, code, reason, why);
    conn_finish(c, why);
}

/* ---- heartbeats and evidence ---- */

/* A ping of the protocol, or, where the client asked for those, a message that its program answers itself. */
static void send_ping(struct conn *c)
{
    struct ws *w = ws_of(c);
    struct session *s = &w->session;
    if (w->message_ping) {
        struct buf b;
        buf_init(&b, 256);
        if (encode_ping(s->io->codec, &b))
            (void)s->io->control(s, buf_span(&b));
        buf_fini(&b);
        return;
    }
    uint64_t nonce = ++c->shard->ping_nonce;
    memcpy(w->ping_nonce, &nonce, sizeof w->ping_nonce);
    (void)send_frame(c, WS_PING, span_of(w->ping_nonce, sizeof w->ping_nonce));
}

static void want_evidence(struct session *s)
{
    pulse_want(&ws_of(s->conn)->pulse, s);
}

static void on_timer(struct conn *c)
{
    struct ws *w = ws_of(c);
    if (w->close_sent)
        conn_close(c, w->why);
    else
        pulse_beat(&w->pulse, c, &w->session, send_ping);
}

static void on_pong_frame(struct conn *c, struct span payload)
{
    struct ws *w = ws_of(c);
    if (w->pulse.out && !w->message_ping && span_eq(payload, span_of(w->ping_nonce, sizeof w->ping_nonce)))
        pulse_proven(&w->pulse, &w->session);
}

static void on_pong_message(struct session *s)
{
    struct ws *w = ws_of(s->conn);
    if (w->pulse.out && w->message_ping)
        pulse_proven(&w->pulse, s);
}

/* ---- input ---- */

static void on_close_frame(struct conn *c, struct span payload)
{
    struct ws *w = ws_of(c);
    unsigned code = 0;
    struct span reason;
    w->close_received = true;
    if (w->close_sent) {
        conn_finish(c, w->why);
    } else if (ws_close_parse(payload, &code, &reason) != 0) {
        ws_fail(c, 1002, "bad close payload");
    } else {
        ws_close(c, code == 1005 ? 1000 : code, "", CLOSE_NORMAL);
    }
}

static void on_control(struct conn *c, const struct ws_head *h, struct span payload)
{
    struct ws *w = ws_of(c);
    if (h->opcode == WS_CLOSE)
        on_close_frame(c, payload);
    else if (h->opcode == WS_PING && !w->close_sent)
        (void)send_frame(c, WS_PONG, payload);
    else if (h->opcode == WS_PONG)
        on_pong_frame(c, payload);
}

static void on_message(struct conn *c, enum ws_opcode op, struct span m)
{
    struct ws *w = ws_of(c);
    if (w->echo) {
        metric_add(c->shard->m, M_CLIENT_MSGS_IN, 1);
        (void)send_frame(c, op, m);
    } else if ((op == WS_TEXT) != (w->session.io->codec == CODEC_JSON)) {
        ws_fail(c, 1003,
                op == WS_TEXT ? "crier.v1.msgpack takes binary messages" : "crier.v1.json takes text messages");
    } else {
        session_input(&w->session, m);
    }
}

static void free_message(struct ws *w)
{
    if (w->message) {
        buf_fini(w->message);
        free(w->message);
        w->message = NULL;
    }
    w->opcode = WS_CONT;
}

/* What a data frame's head may not be at this point. False: the connection is being closed. */
static bool begin_data(struct conn *c, const struct ws_head *h)
{
    struct ws *w = ws_of(c);
    uint64_t have = w->message ? w->message->len : 0;
    if ((h->opcode == WS_CONT) != (w->opcode != WS_CONT)) {
        ws_fail(c, 1002, h->opcode == WS_CONT ? "continuation of nothing" : "a new message inside a fragmented one");
        return false;
    }
    if (h->opcode != WS_CONT)
        w->squeezed = h->rsv1;
    if (h->length > ws_message_limit(c) || have + h->length > ws_message_limit(c)) {
        char reason[64];
        snprintf(reason, sizeof reason, "message over %u bytes", c->shard->cfg->max_message);
        ws_fail(c, 1009, reason);
        return false;
    }
    if (h->opcode != WS_CONT) {
        w->opcode = h->opcode;
        utf8_init(&w->utf8);
    }
    memcpy(w->mask, h->mask, sizeof w->mask);
    w->fin = h->fin;
    w->left = (uint32_t)h->length;
    w->offset = 0;
    w->in_payload = true;
    return true;
}

/* After our close frame only the peer's matters: data in between is read over. False: too much to wait for. */
static bool begin_skipping(struct conn *c, const struct ws_head *h)
{
    struct ws *w = ws_of(c);
    w->left = (uint32_t)h->length;
    w->in_payload = h->length <= UINT32_MAX;
    return w->in_payload;
}

static bool collect(struct conn *c, struct span piece)
{
    struct ws *w = ws_of(c);
    if (!w->message) {
        w->message = malloc(sizeof *w->message);
        if (w->message)
            buf_init(w->message, ws_message_limit(c));
    }
    if (w->message && buf_append_span(w->message, piece))
        return true;
    conn_close(c, CLOSE_MEMORY);
    return false;
}

static void finish_message(struct conn *c, struct span whole)
{
    struct ws *w = ws_of(c);
    enum ws_opcode op = w->opcode;
    if (op == WS_TEXT && !w->squeezed && !utf8_complete(&w->utf8)) {
        ws_fail(c, 1007, "text ends inside a UTF-8 character");
        return;
    }
    struct buf *owned = w->message;
    struct span m = owned ? buf_span(owned) : whole;
    w->message = NULL;
    w->opcode = WS_CONT;
    if (!w->squeezed) {
        on_message(c, op, m);
    } else if (ws_unpack(c, op == WS_TEXT, m, &m)) {
        on_message(c, op, m);
        ws_unpacked(c);
    }
    if (owned) {
        buf_fini(owned);
        free(owned);
    }
}

/* A piece of a data frame's payload; returns how much of it was used. */
static size_t take_payload(struct conn *c, uint8_t *p, size_t n)
{
    struct ws *w = ws_of(c);
    size_t take = n < w->left ? n : w->left;
    if (w->close_sent) {
        w->left -= (uint32_t)take;
        w->in_payload = w->left > 0;
        return take;
    }
    ws_mask(p, take, w->mask, w->offset);
    struct span piece = span_of(p, take);
    if (w->opcode == WS_TEXT && !w->squeezed && !utf8_feed(&w->utf8, piece)) {
        ws_fail(c, 1007, "text is not UTF-8");
        return take;
    }
    bool whole = w->fin && !w->message && take == w->left;
    if (!whole && take && !collect(c, piece))
        return take;
    w->left -= (uint32_t)take;
    w->offset = (uint8_t)((w->offset + take) & 3);
    if (w->left)
        return take;
    w->in_payload = false;
    if (w->fin)
        finish_message(c, piece);
    return take;
}

/* One frame head (and, for a control frame, its payload); 0: more bytes are needed. */
static size_t take_head(struct conn *c, uint8_t *p, size_t n)
{
    struct ws_head h;
    enum ws_fault f = ws_head_parse(span_of(p, n), true, ws_of(c)->z.server_bits > 0, &h);
    if (f == WS_NEED_MORE)
        return 0;
    if (f != WS_OK) {
        ws_fail(c, 1002, ws_fault_text(f));
        return n;
    }
    if (h.opcode < WS_CLOSE) {
        if (ws_of(c)->close_sent ? !begin_skipping(c, &h) : !begin_data(c, &h))
            return n;
        if (h.length == 0)
            (void)take_payload(c, p + h.size, 0);
        return h.size;
    }
    if (n - h.size < h.length)
        return 0;
    ws_mask(p + h.size, (size_t)h.length, h.mask, 0);
    on_control(c, &h, span_of(p + h.size, (size_t)h.length));
    return h.size + (size_t)h.length;
}

static size_t on_input(struct conn *c, uint8_t *p, size_t n)
{
    size_t used = 0;
    while (used < n && c->state == CONN_OPEN && !c->paused) {
        struct ws *w = ws_of(c);
        if (!w->echo && w->session.state != SESSION_OVER && shard_congested(c->shard)) {
            conn_resume(c); /* look again next turn: the dispatcher is behind */
            break;
        }
        size_t k = w->in_payload ? take_payload(c, p + used, n - used) : take_head(c, p + used, n - used);
        if (k == 0)
            break;
        used += k;
    }
    return used;
}

/* ---- the connection's life ---- */

static void on_op(struct conn *c, struct op *op)
{
    session_op_done(&ws_of(c)->session, op);
}

static void on_gone(struct conn *c)
{
    struct ws *w = ws_of(c);
    if (!w->echo)
        session_end(&w->session);
    free_message(w);
    ws_deflate_end(w);
}

static void on_drain(struct conn *c)
{
    struct ws *w = ws_of(c);
    if (w->echo || w->session.state == SESSION_OVER)
        ws_close(c, 1001, "going away", CLOSE_DRAIN);
    else
        session_goodbye(&w->session);
}

static void on_adopted(struct conn *c)
{
    ws_begin(c);
}

static void on_drained(struct conn *c)
{
    session_drained(&ws_of(c)->session);
}

static struct session *session_of(struct conn *c)
{
    struct ws *w = ws_of(c);
    return w->echo || w->session.state == SESSION_OVER ? NULL : &w->session;
}

const struct conn_proto ws_proto = {
    .name = "websocket",
    .input = on_input,
    .op_done = on_op,
    .timer = on_timer,
    .gone = on_gone,
    .drain = on_drain,
    .adopted = on_adopted,
    .drained = on_drained,
    .session = session_of,
};

/* ---- the session's side ---- */

static bool control_text(struct session *s, struct span object)
{
    return send_frame(s->conn, WS_TEXT, object);
}

static bool control_binary(struct session *s, struct span object)
{
    return send_frame(s->conn, WS_BINARY, object);
}

static struct blob *wrap(enum ws_opcode op, struct span object)
{
    uint8_t head[WS_MAX_HEAD];
    unsigned n = ws_head_write(head, true, false, op, object.n, NULL);
    struct blob *b = blob_new(n + object.n);
    if (!b)
        return NULL;
    memcpy(b->data, head, n);
    memcpy(b->data + n, object.p, object.n);
    return b;
}

static struct blob *wrap_text(const struct job_head *h, struct span object)
{
    (void)h;
    return wrap(WS_TEXT, object);
}

static struct blob *wrap_binary(const struct job_head *h, struct span object)
{
    (void)h;
    return wrap(WS_BINARY, object);
}

static void close_session(struct session *s, unsigned code, const char *reason, enum close_reason why)
{
    ws_close(s->conn, code, reason, why);
}

/* [0]: frames are shared, plain or squeezed; [1]: with context takeover they are the connection's own. */
#define IO(c, w, send, wrapper)                                                                                        \
    .codec = c, .wire = w, .clients = M_CONNS_WS, .control = send, .wrap = wrapper, .close = close_session,            \
    .want_evidence = want_evidence, .pong = on_pong_message
static const struct session_io io_json[2] = {
    {IO(CODEC_JSON, WIRE_WS_JSON, control_text, wrap_text), .squeeze = ws_squeeze},
    {IO(CODEC_JSON, WIRE_WS_JSON, control_text, wrap_text), .push = ws_push_own},
};
static const struct session_io io_msgpack[2] = {
    {IO(CODEC_MSGPACK, WIRE_WS_MSGPACK, control_binary, wrap_binary), .squeeze = ws_squeeze},
    {IO(CODEC_MSGPACK, WIRE_WS_MSGPACK, control_binary, wrap_binary), .push = ws_push_own},
};
#undef IO

static void begin_session(struct conn *c)
{
    struct ws *w = ws_of(c);
    const struct session_io *io = &(w->msgpack ? io_msgpack : io_json)[w->z.server_takeover];
    session_start(&w->session, c, io);
    if (w->z.server_bits && !w->z.server_takeover)
        w->session.wire = wire_deflated(io->wire, w->z.server_bits);
}

void ws_begin(struct conn *c)
{
    struct ws *w = ws_of(c);
    pulse_start(&w->pulse, c);
    if (w->echo)
        conn_cork(c, false);
    else
        begin_session(c);
    if (c->state == CONN_OPEN && w->session.state == SESSION_ATTACHING)
        conn_timer(c, WELCOME_WAIT_MS);
}
