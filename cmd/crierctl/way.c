/*
 * way.c - what the transports share, and the WebSocket as one of them.
 */
#include "cmd/crierctl/way.h"

#include <stdio.h>
#include <stdlib.h>

#include "cmd/crierctl/http.h"
#include "cmd/crierctl/json_find.h"
#include "proto/transcode.h"

enum { MAX_OBJECT = 64 * 1024 * 1024, MAX_IN = 64 * 1024 * 1024, MAX_PATH = 32 * 1024 };

const struct transport *way_find(const char *name)
{
    static const struct transport *const all[] = {&way_ws, &way_sse, &way_poll, &way_tcp};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (!strcmp(all[i]->name, name)) {
            return all[i];
        }
    }
    return NULL;
}

void way_init(struct way *w, const struct transport *t, const struct way_ask *ask)
{
    *w = (struct way){.t = t, .ask = ask, .link = {.fd = -1}};
}

enum ws_open_result way_open(struct way *w, char *err, size_t errlen)
{
    buf_init(&w->object, MAX_OBJECT);
    buf_init(&w->in, MAX_IN);
    buf_init(&w->text, MAX_IN);
    w->scanned = w->at = w->id_len = 0;
    w->chunked = false;
    w->close_code = 0;
    w->close_reason[0] = '\0';
    enum ws_open_result r = w->t->open(w, err, errlen);
    if (r != WS_OPEN) {
        way_end(w, 0);
    }
    return r;
}

void way_end(struct way *w, unsigned code)
{
    w->t->end(w, code);
    link_close(&w->link);
    buf_fini(&w->object);
    buf_fini(&w->in);
    buf_fini(&w->text);
}

void way_fini(struct way *w)
{
    free(w->place);
    w->place = NULL;
}

bool way_append_who(const struct way_ask *a, struct buf *b, char first)
{
    bool ok = true;
    if (!a->server->token && a->user) {
        ok = buf_printf(b, "%cuser=", first) && append_escaped(b, a->user);
        first = '&';
    }
    if (ok && a->device[0]) {
        ok = buf_printf(b, "%cdevice=", first) && append_escaped(b, a->device);
    }
    return ok;
}

bool way_append_rooms(const struct way_ask *a, struct buf *b)
{
    bool ok = true;
    for (unsigned i = 0; i < a->rooms->n && ok; i++) {
        ok = buf_append_str(b, i ? "," : "&rooms=") && append_escaped(b, a->rooms->v[i]);
    }
    return ok;
}

enum ws_event way_closed(struct way *w, unsigned code, const char *reason)
{
    w->close_code = code;
    snprintf(w->close_reason, sizeof(w->close_reason), "%s", reason);
    return WS_CLOSED;
}

enum ws_event way_broken(struct way *w)
{
    return w->close_code ? WS_CLOSED : way_closed(w, 1006, "the connection broke");
}

void way_note(struct way *w, struct span object)
{
    char type[16];
    uint64_t code;
    if (json_find_text(object, "type", type, sizeof(type)) && !strcmp(type, "closing") &&
        json_find_uint(object, "code", &code) && code < 5000) {
        w->close_code = (unsigned)code;
        (void)!json_find_text(object, "reason", w->close_reason, sizeof(w->close_reason));
    }
}

enum ws_open_result way_judge(const struct way *w, const struct http_reply *r, char *err, size_t errlen)
{
    const char *hint = "";
    if (r->status == 401 || r->status == 403) {
        hint = w->ask->server->token ? "" : "; give a token with --token or CRIER_TOKEN (crierctl token makes one)";
    }
    char text[700];
    http_error_text(r, text, sizeof(text));
    snprintf(err, errlen, "refused: %s%s", text, hint);
    bool later = r->status == 429 || (r->status >= 502 && r->status <= 504);
    return later ? WS_OPEN_FAILED : WS_OPEN_REFUSED;
}

void way_set_place(struct way *w, struct span place)
{
    char *copy = place.n ? span_dup(place) : NULL;
    if (copy) {
        free(w->place);
        w->place = copy;
    }
}

/* ---- the WebSocket ---- */

static enum ws_open_result open_ws(struct way *w, char *err, size_t errlen)
{
    const struct way_ask *a = w->ask;
    struct buf path;
    buf_init(&path, MAX_PATH);
    enum ws_open_result r = WS_OPEN_REFUSED;
    if (buf_append_str(&path, "/ws?ack=explicit") && way_append_who(a, &path, '&') &&
        (!a->since || buf_printf(&path, "&since=%llu", (unsigned long long)a->since)) && buf_append_byte(&path, '\0')) {
        r = ws_open(&w->ws, a->url, a->server, (const char *)path.data,
                    a->codec == CODEC_JSON ? "crier.v1.json" : "crier.v1.msgpack", err, errlen);
    } else {
        snprintf(err, errlen, "out of memory");
    }
    buf_fini(&path);
    return r;
}

static enum ws_event next_ws(struct way *w, unsigned timeout_ms)
{
    enum ws_event e = ws_next(&w->ws, timeout_ms);
    if (e == WS_CLOSED) {
        return way_closed(w, w->ws.close_code, w->ws.close_reason);
    }
    if (e == WS_MESSAGE) {
        struct span m = buf_span(&w->ws.message);
        w->object.len = 0;
        if (!(w->ask->codec == CODEC_JSON ? buf_append_span(&w->object, m)
                                          : transcode_msgpack_to_json(m, &w->object))) {
            return way_closed(w, 1007, "the server sent a frame that is no msgpack value");
        }
    }
    return e;
}

static bool more_ws(const struct way *w)
{
    return ws_more(&w->ws);
}

static bool send_ws(struct way *w, struct span command)
{
    struct buf b;
    if (w->ask->codec == CODEC_JSON) {
        return ws_send(&w->ws, WS_TEXT, command);
    }
    buf_init(&b, MAX_PATH);
    bool ok = transcode_json_to_msgpack(command, &b) && ws_send(&w->ws, WS_BINARY, buf_span(&b));
    buf_fini(&b);
    return ok;
}

static bool ping_ws(struct way *w)
{
    return ws_send(&w->ws, WS_PING, span_str(NULL));
}

static void end_ws(struct way *w, unsigned code)
{
    ws_end(&w->ws, code);
}

const struct transport way_ws = {.name = "ws",
                                 .asks = true,
                                 .msgpack = true,
                                 .open = open_ws,
                                 .next = next_ws,
                                 .more = more_ws,
                                 .send = send_ws,
                                 .ping = ping_ws,
                                 .end = end_ws};
