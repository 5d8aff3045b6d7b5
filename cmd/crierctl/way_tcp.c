/*
 * way_tcp.c - bare TCP (or TLS) as a way: a hello, then JSON lines or msgpack frames both ways. There are no close
 * codes; a `closing` comes before the end, and pings are objects.
 */
#include <stdio.h>

#include "cmd/crierctl/http.h"
#include "cmd/crierctl/json_find.h"
#include "cmd/crierctl/way.h"
#include "proto/tcp_frame.h"
#include "proto/transcode.h"

enum { MAX_FRAME = 32 * 1024 * 1024, MAX_COMMAND = 64 * 1024, READ_SIZE = 64 * 1024 };

static bool send_tcp(struct way *w, struct span command)
{
    struct buf b, framed;
    enum codec codec = w->ask->codec;
    buf_init(&b, MAX_COMMAND);
    buf_init(&framed, MAX_COMMAND + TCP_FRAME_HEAD);
    bool ok = codec == CODEC_JSON ? buf_append_span(&b, command) : transcode_json_to_msgpack(command, &b);
    uint8_t *room = ok ? buf_reserve(&framed, tcp_frame_size(codec, buf_span(&b))) : NULL;
    if (room) {
        tcp_frame_write(codec, buf_span(&b), room);
        buf_commit(&framed, tcp_frame_size(codec, buf_span(&b)));
    }
    ok = room && link_write(&w->link, buf_span(&framed));
    buf_fini(&b);
    buf_fini(&framed);
    return ok;
}

static bool add_text(struct buf *b, const char *name, const char *value)
{
    return !value || !*value || (buf_printf(b, ",\"%s\":", name) && json_write_string(b, span_str(value)));
}

static bool say_hello(struct way *w)
{
    const struct way_ask *a = w->ask;
    struct buf b;
    buf_init(&b, MAX_COMMAND);
    bool ok = buf_append_str(&b, "{\"type\":\"hello\",\"ack\":\"explicit\"") &&
              add_text(&b, "token", a->server->token) && (a->server->token || add_text(&b, "user", a->user)) &&
              add_text(&b, "device", a->device) &&
              (!a->since || buf_printf(&b, ",\"since\":%llu", (unsigned long long)a->since)) &&
              buf_append_byte(&b, '}') && send_tcp(w, buf_span(&b));
    buf_fini(&b);
    return ok;
}

/* An object that is here whole, into w->object as JSON. 0: not yet; -1: the stream makes no sense. */
static int take_object(struct way *w)
{
    struct span object = {NULL, 0};
    size_t used = 0;
    while (object.n == 0) {
        buf_consume(&w->in, used);
        used = 0;
        switch (tcp_frame_next(w->ask->codec, buf_span(&w->in), MAX_FRAME, &w->scanned, &object, &used)) {
        case TCP_FRAME_OK:
            break;
        case TCP_FRAME_NEED_MORE:
            return 0;
        case TCP_FRAME_TOO_BIG:
        case TCP_FRAME_EMPTY:
            return -1;
        }
    }
    w->object.len = 0;
    bool ok = w->ask->codec == CODEC_JSON ? buf_append_span(&w->object, object)
                                          : transcode_msgpack_to_json(object, &w->object);
    buf_consume(&w->in, used);
    return ok ? 1 : -1;
}

static bool is_type(const struct way *w, const char *name)
{
    char type[32];
    return json_find_text(buf_span(&w->object), "type", type, sizeof(type)) && !strcmp(type, name);
}

static enum ws_event next_tcp(struct way *w, unsigned timeout_ms)
{
    if (w->at) { /* the welcome, read when the way was opened */
        w->at = 0;
        return WS_MESSAGE;
    }
    for (;;) {
        int got = take_object(w);
        if (got < 0) {
            return way_closed(w, 1002, "the server sent what is no frame");
        }
        if (got > 0 && is_type(w, "ping")) {
            (void)!send_tcp(w, SPAN_LIT("{\"type\":\"pong\"}"));
        } else if (got > 0) {
            way_note(w, buf_span(&w->object));
            return WS_MESSAGE;
        } else {
            uint8_t *room = buf_reserve(&w->in, READ_SIZE);
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
}

/* The answer to the hello: a welcome, or an error that says why not. */
static enum ws_open_result welcomed(struct way *w, char *err, size_t errlen)
{
    char code[64] = "error", text[512] = "";
    if (next_tcp(w, (unsigned)w->ask->server->timeout_s * 1000) != WS_MESSAGE) {
        snprintf(err, errlen, "no welcome from there: is that the broker's tcp-listen port?");
        return WS_OPEN_FAILED;
    }
    if (!is_type(w, "error")) {
        w->at = 1;
        return WS_OPEN;
    }
    (void)!json_find_text(buf_span(&w->object), "code", code, sizeof(code));
    (void)!json_find_text(buf_span(&w->object), "message", text, sizeof(text));
    bool later = !strcmp(code, "overloaded") || !strcmp(code, "unavailable");
    const char *hint = !w->ask->server->token && !later ? "; give a token with --token or CRIER_TOKEN" : "";
    snprintf(err, errlen, "refused: %s: %s%s", code, text, hint);
    return later ? WS_OPEN_FAILED : WS_OPEN_REFUSED;
}

static enum ws_open_result open_tcp(struct way *w, char *err, size_t errlen)
{
    if (!link_open(&w->link, w->ask->url, w->ask->server, err, errlen)) {
        return WS_OPEN_FAILED;
    }
    if (!say_hello(w)) {
        snprintf(err, errlen, "the connection broke while the hello was sent");
        return WS_OPEN_FAILED;
    }
    return welcomed(w, err, errlen);
}

static bool more_tcp(const struct way *w)
{
    return w->in.len > 0 || link_pending(&w->link);
}

static void end_tcp(struct way *w, unsigned code)
{
    (void)w;
    (void)code;
}

const struct transport way_tcp = {.name = "tcp",
                                  .asks = true,
                                  .msgpack = true,
                                  .open = open_tcp,
                                  .next = next_tcp,
                                  .more = more_tcp,
                                  .send = send_tcp,
                                  .end = end_tcp};
