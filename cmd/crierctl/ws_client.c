/*
 * ws_client.c - see ws_client.h. Frames are read with the codec the broker uses (proto/ws_frame.h); a server's frames
 * must come unmasked, a client's go out masked with random bytes.
 */
#include "cmd/crierctl/ws_client.h"

#include <openssl/rand.h>
#include <stdio.h>

#include "cmd/crierctl/http.h"
#include "proto/base64.h"

enum { MAX_MESSAGE = 32 * 1024 * 1024, READ_SIZE = 64 * 1024, CLOSE_WAIT_MS = 1000 };

static bool write_handshake(struct ws *w, const struct url *u, const struct server *s, const char *target,
                            const char *subprotocol, const char *key)
{
    struct buf b;
    buf_init(&b, 256 * 1024);
    bool ok = buf_printf(&b,
                         "GET %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: crierctl\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n"
                         "Sec-WebSocket-Protocol: %s\r\n",
                         u->base, target, u->host_port, key, subprotocol) &&
              (!s->token || buf_printf(&b, "Authorization: Bearer %s\r\n", s->token)) && buf_append_str(&b, "\r\n") &&
              link_write(&w->link, buf_span(&b));
    buf_fini(&b);
    return ok;
}

static enum ws_open_result judge(const struct server *s, const struct http_reply *r, const char *key,
                                 const char *subprotocol, char *err, size_t errlen)
{
    char expected[29];
    if (r->status == 101) {
        ws_accept_key(span_str(key), expected);
        if (!span_eq(http_reply_field(r, "Sec-WebSocket-Accept"), span_str(expected)) ||
            !span_eq(http_reply_field(r, "Sec-WebSocket-Protocol"), span_str(subprotocol))) {
            snprintf(err, errlen, "the server's handshake is not that of a Crier broker");
            return WS_OPEN_REFUSED;
        }
        return WS_OPEN;
    }
    const char *hint = "";
    if (r->status == 401 || r->status == 403) {
        hint = s->token ? "" : "; give a token with --token or CRIER_TOKEN (crierctl token makes one)";
    }
    char text[700];
    http_error_text(r, text, sizeof(text));
    snprintf(err, errlen, "refused: %s%s", text, hint);
    bool later = r->status == 429 || (r->status >= 502 && r->status <= 504);
    return later ? WS_OPEN_FAILED : WS_OPEN_REFUSED;
}

/* The body of a refusal is short and behind the head already, or follows at once. */
static void read_refusal(struct ws *w, struct http_reply *r)
{
    uint8_t piece[2048];
    while (r->body.len < 4096 && !memchr(w->in.data ? w->in.data : piece, '}', w->in.len)) {
        ptrdiff_t n = link_read(&w->link, piece, sizeof(piece), 500);
        if (n <= 0 || !buf_append(&w->in, piece, (size_t)n)) {
            break;
        }
    }
    (void)!buf_append_span(&r->body, buf_span(&w->in));
}

static enum ws_open_result handshake(struct ws *w, const struct url *u, const struct server *s, const char *target,
                                     const char *subprotocol, char *err, size_t errlen)
{
    uint8_t nonce[16];
    char key[25] = "";
    struct http_reply r;
    enum ws_open_result result = WS_OPEN_FAILED;
    if (RAND_bytes(nonce, sizeof(nonce)) != 1) {
        snprintf(err, errlen, "no random bytes to be had");
        return WS_OPEN_FAILED;
    }
    base64_encode(span_of(nonce, sizeof(nonce)), key);
    http_reply_init(&r);
    (void)!write_handshake(w, u, s, target, subprotocol, key);
    if (http_read_head(&w->link, s, &w->in, &r, err, errlen)) {
        if (r.status != 101) {
            read_refusal(w, &r);
        }
        result = judge(s, &r, key, subprotocol, err, errlen);
    }
    http_reply_fini(&r);
    return result;
}

enum ws_open_result ws_open(struct ws *w, const struct url *u, const struct server *s, const char *target,
                            const char *subprotocol, char *err, size_t errlen)
{
    memset(w, 0, sizeof(*w));
    buf_init(&w->in, MAX_MESSAGE + READ_SIZE);
    buf_init(&w->message, MAX_MESSAGE);
    if (!link_open(&w->link, u, s, err, errlen)) {
        return WS_OPEN_FAILED;
    }
    enum ws_open_result r = handshake(w, u, s, target, subprotocol, err, errlen);
    if (r != WS_OPEN) {
        ws_end(w, 0);
    }
    return r;
}

bool ws_send(struct ws *w, enum ws_opcode op, struct span payload)
{
    struct buf b;
    uint8_t head[WS_MAX_HEAD], mask[4];
    if (RAND_bytes(mask, sizeof(mask)) != 1) {
        return false;
    }
    buf_init(&b, MAX_MESSAGE + WS_MAX_HEAD);
    unsigned size = ws_head_write(head, true, false, op, payload.n, mask);
    bool ok = buf_append(&b, head, size) && buf_append_span(&b, payload);
    if (ok) {
        ws_mask(b.data + size, payload.n, mask, 0);
        ok = link_write(&w->link, buf_span(&b));
    }
    buf_fini(&b);
    return ok;
}

static enum ws_event broken(struct ws *w, unsigned code, const char *reason)
{
    w->close_code = code;
    snprintf(w->close_reason, sizeof(w->close_reason), "%s", reason);
    return WS_CLOSED;
}

static enum ws_event closed_by_server(struct ws *w, struct span payload)
{
    struct span reason;
    if (ws_close_parse(payload, &w->close_code, &reason) < 0) {
        return broken(w, 1002, "a malformed close frame");
    }
    snprintf(w->close_reason, sizeof(w->close_reason), "%.*s", SPAN_ARG(reason));
    for (char *p = w->close_reason; *p; p++) {
        *p = (char)((uint8_t)*p < ' ' || *p == 0x7f ? '?' : *p);
    }
    (void)!ws_send(w, WS_CLOSE, span_of(payload.p, payload.n < 2 ? 0 : 2));
    return WS_CLOSED;
}

enum frame_result { FRAME_NONE, FRAME_USED, FRAME_MESSAGE, FRAME_CLOSED };

static enum frame_result take_data(struct ws *w, const struct ws_head *h, struct span payload)
{
    bool first = h->opcode != WS_CONT;
    if (first == w->in_message) {
        (void)broken(w, 1002, "the server sent fragments out of order");
        return FRAME_CLOSED;
    }
    if (first) {
        w->opcode = h->opcode;
        w->message.len = 0;
    }
    if (!buf_append_span(&w->message, payload)) {
        (void)broken(w, 1009, "a message of more than 32 MiB");
        return FRAME_CLOSED;
    }
    w->in_message = !h->fin;
    return h->fin ? FRAME_MESSAGE : FRAME_USED;
}

static enum frame_result take_frame(struct ws *w, const struct ws_head *h, struct span payload)
{
    switch (h->opcode) {
    case WS_CONT:
    case WS_TEXT:
    case WS_BINARY:
        return take_data(w, h, payload);
    case WS_PING:
        (void)!ws_send(w, WS_PONG, payload);
        return FRAME_USED;
    case WS_PONG:
        return FRAME_USED;
    case WS_CLOSE:
        (void)closed_by_server(w, payload);
        return FRAME_CLOSED;
    }
    return FRAME_USED;
}

/* The first frame of the input, if it is here whole. */
static enum frame_result next_frame(struct ws *w)
{
    struct ws_head h;
    enum ws_fault fault = ws_head_parse(buf_span(&w->in), false, false, &h);
    if (fault == WS_NEED_MORE) {
        return FRAME_NONE;
    }
    if (fault != WS_OK || h.length > MAX_MESSAGE) {
        (void)broken(w, 1002, fault != WS_OK ? ws_fault_text(fault) : "a frame of more than 32 MiB");
        return FRAME_CLOSED;
    }
    if (w->in.len - h.size < h.length) {
        return FRAME_NONE;
    }
    enum frame_result r = take_frame(w, &h, span_of(w->in.data + h.size, (size_t)h.length));
    buf_consume(&w->in, h.size + (size_t)h.length);
    return r;
}

enum ws_event ws_next(struct ws *w, unsigned timeout_ms)
{
    for (;;) {
        switch (next_frame(w)) {
        case FRAME_MESSAGE:
            return WS_MESSAGE;
        case FRAME_CLOSED:
            return WS_CLOSED;
        case FRAME_USED:
            continue;
        case FRAME_NONE:
            break;
        }
        uint8_t *room = buf_reserve(&w->in, READ_SIZE);
        ptrdiff_t n = room ? link_read(&w->link, room, READ_SIZE, timeout_ms) : LINK_FAILED;
        if (n == LINK_TIMEOUT) {
            return WS_SILENCE;
        }
        if (n <= 0) {
            return broken(w, 1006, "the connection broke");
        }
        buf_commit(&w->in, (size_t)n);
    }
}

bool ws_more(const struct ws *w)
{
    return w->in.len > 0 || link_pending(&w->link);
}

void ws_end(struct ws *w, unsigned code)
{
    if (code && w->link.fd >= 0) {
        uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
        bool sent = ws_send(w, WS_CLOSE, span_of(payload, sizeof(payload)));
        while (sent && ws_next(w, CLOSE_WAIT_MS) == WS_MESSAGE) {
            /* what was on its way is not wanted any more */
        }
    }
    link_close(&w->link);
    buf_fini(&w->in);
    buf_fini(&w->message);
}
