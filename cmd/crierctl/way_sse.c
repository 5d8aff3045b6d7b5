/*
 * way_sse.c - an event stream (WHATWG HTML, "Server-sent events") as a way: one way. What is printed is acknowledged
 * by POST /send on a connection of its own; after a break the last event id says where all of it was, rooms included.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "cmd/crierctl/http.h"
#include "cmd/crierctl/way.h"

enum { MAX_PATH = 32 * 1024, READ_SIZE = 64 * 1024 };

static bool build_request(struct way *w, struct buf *b)
{
    const struct way_ask *a = w->ask;
    bool ok = buf_printf(b, "GET %s/events?ack=explicit", a->url->base) && way_append_who(a, b, '&') &&
              way_append_rooms(a, b);
    if (ok && !w->place && a->since) {
        ok = buf_printf(b, "&since=%llu", (unsigned long long)a->since);
    }
    ok = ok && buf_printf(b, " HTTP/1.1\r\nHost: %s\r\nUser-Agent: crierctl\r\nAccept: text/event-stream\r\n",
                          a->url->host_port);
    if (ok && w->place) {
        ok = buf_printf(b, "Last-Event-ID: %s\r\n", w->place);
    }
    if (ok && a->server->token) {
        ok = buf_printf(b, "Authorization: Bearer %s\r\n", a->server->token);
    }
    return ok && buf_append_str(b, "\r\n");
}

/* The body of a refusal is short, and follows its head at once. */
static void read_refusal(struct way *w, struct http_reply *r)
{
    struct span length = http_reply_field(r, "Content-Length");
    size_t want = 0;
    for (size_t i = 0; i < length.n && i < 5 && length.p[i] >= '0' && length.p[i] <= '9'; i++) {
        want = want * 10 + (size_t)(length.p[i] - '0');
    }
    while (w->in.len < want) {
        uint8_t *room = buf_reserve(&w->in, READ_SIZE);
        ptrdiff_t n = room ? link_read(&w->link, room, READ_SIZE, 500) : LINK_FAILED;
        if (n <= 0) {
            break;
        }
        buf_commit(&w->in, (size_t)n);
    }
    (void)!buf_append_span(&r->body, buf_span(&w->in));
}

static enum ws_open_result answered(struct way *w, struct http_reply *r, char *err, size_t errlen)
{
    struct span type = http_reply_field(r, "Content-Type"), coding = http_reply_field(r, "Transfer-Encoding");
    if (r->status != 200) {
        read_refusal(w, r);
        return way_judge(w, r, err, errlen);
    }
    if (type.n < 17 || strncasecmp((const char *)type.p, "text/event-stream", 17) != 0) {
        snprintf(err, errlen, "what answers there sends no event stream");
        return WS_OPEN_REFUSED;
    }
    w->chunked = coding.p != NULL;
    chunked_init(&w->chunks);
    return WS_OPEN;
}

static enum ws_open_result open_sse(struct way *w, char *err, size_t errlen)
{
    struct buf b;
    struct http_reply reply;
    enum ws_open_result r = WS_OPEN_FAILED;
    if (!link_open(&w->link, w->ask->url, w->ask->server, err, errlen)) {
        return WS_OPEN_FAILED;
    }
    buf_init(&b, MAX_PATH);
    http_reply_init(&reply);
    if (!build_request(w, &b) || !link_write(&w->link, buf_span(&b))) {
        snprintf(err, errlen, "the connection broke while the request was sent");
    } else if (http_read_head(&w->link, w->ask->server, &w->in, &reply, err, errlen)) {
        r = answered(w, &reply, err, errlen);
    }
    http_reply_fini(&reply);
    buf_fini(&b);
    return r;
}

/* ---- what comes ---- */

/* Moves what was read to `text`, without the chunks around it. False: malformed, or the end. */
static bool take_body(struct way *w)
{
    bool done = false;
    if (!w->chunked) {
        bool ok = buf_append_span(&w->text, buf_span(&w->in));
        buf_consume(&w->in, w->in.len);
        return ok;
    }
    for (;;) {
        struct span data;
        ptrdiff_t used = chunked_next(&w->chunks, buf_span(&w->in), &data, &done);
        if (used < 0 || done || !buf_append_span(&w->text, data)) {
            return false;
        }
        if (used == 0) {
            return true;
        }
        buf_consume(&w->in, (size_t)used);
    }
}

/* One line of the stream; true: it ended an event that has data. */
static bool take_line(struct way *w, struct span line)
{
    if (line.n && line.p[line.n - 1] == '\r') {
        line.n--;
    }
    if (line.n == 0) {
        return w->object.len > 0;
    }
    size_t n = 0;
    while (n < line.n && line.p[n] != ':') {
        n++;
    }
    struct span name = span_of(line.p, n), value = span_of(line.p + n, line.n - n);
    if (value.n) {
        size_t skip = value.n > 1 && value.p[1] == ' ' ? 2 : 1;
        value = span_of(value.p + skip, value.n - skip);
    }
    if (SPAN_IS(name, "data")) {
        (void)!((w->object.len == 0 || buf_append_byte(&w->object, '\n')) && buf_append_span(&w->object, value));
    } else if (SPAN_IS(name, "id")) {
        w->id_at = (size_t)(value.p - w->text.data);
        w->id_len = value.n;
    }
    return false;
}

/* The first event that is here whole. */
static bool take_event(struct way *w)
{
    const uint8_t *end;
    if (w->at == 0) {
        w->object.len = 0;
    }
    while (w->scanned < w->text.len &&
           (end = memchr(w->text.data + w->scanned, '\n', w->text.len - w->scanned)) != NULL) {
        size_t next = (size_t)(end - w->text.data) + 1;
        bool whole = take_line(w, span_of(w->text.data + w->at, next - 1 - w->at));
        w->at = w->scanned = next;
        if (whole) { /* only now: half an event is not had */
            way_set_place(w, span_of(w->text.data + w->id_at, w->id_len));
            w->id_len = 0;
            buf_consume(&w->text, next);
            w->at = w->scanned = 0;
            return true;
        }
    }
    w->scanned = w->text.len;
    return false;
}

static enum ws_event next_sse(struct way *w, unsigned timeout_ms)
{
    for (;;) {
        bool good = take_body(w); /* some of it came with the head */
        if (take_event(w)) {
            way_note(w, buf_span(&w->object));
            return WS_MESSAGE;
        }
        uint8_t *room = good ? buf_reserve(&w->in, READ_SIZE) : NULL;
        ptrdiff_t n = room ? link_read(&w->link, room, READ_SIZE, timeout_ms) : LINK_FAILED;
        if (n == LINK_TIMEOUT) {
            return WS_SILENCE;
        }
        if (n <= 0) {
            return way_broken(w);
        }
        buf_commit(&w->in, (size_t)n);
    }
}

static bool more_sse(const struct way *w)
{
    return w->text.len > w->at || link_pending(&w->link);
}

/* ---- and back ---- */

static bool ack_sse(struct way *w, uint64_t seq)
{
    const struct way_ask *a = w->ask;
    struct link link;
    struct http_reply reply;
    struct buf path, body;
    char err[256];
    if (!link_open(&link, a->url, a->server, err, sizeof(err))) {
        return false;
    }
    buf_init(&path, MAX_PATH);
    buf_init(&body, 128);
    http_reply_init(&reply);
    bool ok = buf_append_str(&path, "/send") && way_append_who(a, &path, '?') && buf_append_byte(&path, '\0') &&
              buf_printf(&body, "{\"type\":\"ack\",\"seq\":%llu}", (unsigned long long)seq) &&
              http_call(&link, a->url, a->server, "POST", (const char *)path.data, a->server->token, buf_span(&body),
                        &reply, err, sizeof(err)) &&
              reply.status == 200;
    http_reply_fini(&reply);
    buf_fini(&path);
    buf_fini(&body);
    link_close(&link);
    return ok;
}

static void end_sse(struct way *w, unsigned code)
{
    (void)w;
    (void)code;
}

const struct transport way_sse = {
    .name = "sse", .open = open_sse, .next = next_sse, .more = more_sse, .ack = ack_sse, .end = end_sse};
