/*
 * way_poll.c - long polls as a way. Each question brings the cursor of the answer before it, which acknowledges what
 * that one held; so nothing is lost when an answer is, and the next poll may go to any node. The objects of an answer
 * are given one at a time out of `text`.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/crierctl/http.h"
#include "cmd/crierctl/json_find.h"
#include "cmd/crierctl/way.h"

enum { MAX_PATH = 32 * 1024, WAIT_S = 25, MOST = 100 };

static bool build_path(const struct way *w, unsigned wait_s, uint64_t limit, struct buf *b)
{
    const struct way_ask *a = w->ask;
    bool ok = buf_printf(b, "/poll?ack=explicit&wait=%u&limit=%u", wait_s, (unsigned)(limit < MOST ? limit : MOST)) &&
              way_append_who(a, b, '&') && way_append_rooms(a, b);
    if (ok && w->place) {
        ok = buf_append_str(b, "&after=") && append_escaped(b, w->place);
    } else if (ok && a->since) {
        ok = buf_printf(b, "&after=%llu", (unsigned long long)a->since);
    }
    return ok && buf_append_byte(b, '\0');
}

/* `text` becomes a list of what the answer says, the gaps first. */
static bool take_answer(struct way *w, struct span body)
{
    struct json_value list, v;
    char cursor[1024];
    w->text.len = w->at = 0;
    if (!json_find(body, "messages", &list) || !json_find_text(body, "cursor", cursor, sizeof(cursor))) {
        return false;
    }
    way_set_place(w, span_str(cursor));
    bool ok = buf_append_byte(&w->text, '[');
    if (json_find(body, "gap", &v) && v.kind == JSON_OBJECT) {
        ok = ok && buf_append_str(&w->text, "{\"type\":\"gap\",") &&
             buf_append_span(&w->text, span_of(v.raw.p + 1, v.raw.n - 1)) && buf_append_byte(&w->text, ',');
    }
    if (json_find(body, "gaps", &v) && v.kind == JSON_ARRAY && v.raw.n > 2) {
        ok = ok && buf_append_span(&w->text, span_of(v.raw.p + 1, v.raw.n - 2)) && buf_append_byte(&w->text, ',');
    }
    return ok && buf_append_span(&w->text, span_of(list.raw.p + 1, list.raw.n - 1));
}

enum asked { ANSWERED, REFUSED, FAILED };

static enum asked ask(struct way *w, unsigned wait_s, uint64_t limit, char *err, size_t errlen)
{
    struct server s = *w->ask->server;
    struct buf path;
    struct http_reply reply;
    enum asked result = FAILED;
    s.timeout_s += wait_s; /* the answer is that much later */
    if (w->link.fd < 0 && !link_open(&w->link, w->ask->url, w->ask->server, err, errlen)) {
        return FAILED;
    }
    buf_init(&path, MAX_PATH);
    http_reply_init(&reply);
    if (!build_path(w, wait_s, limit, &path)) {
        snprintf(err, errlen, "out of memory");
    } else if (http_call(&w->link, w->ask->url, &s, "GET", (const char *)path.data, s.token, span_str(NULL), &reply,
                         err, errlen)) {
        if (reply.status != 200) {
            result = way_judge(w, &reply, err, errlen) == WS_OPEN_REFUSED ? REFUSED : FAILED;
        } else if (take_answer(w, buf_span(&reply.body))) {
            result = ANSWERED;
        } else {
            snprintf(err, errlen, "the answer is not that of a Crier broker");
            result = REFUSED;
        }
    }
    if (result != ANSWERED) {
        link_close(&w->link);
    }
    http_reply_fini(&reply);
    buf_fini(&path);
    return result;
}

static enum ws_open_result open_poll(struct way *w, char *err, size_t errlen)
{
    switch (ask(w, 0, w->ask->count, err, errlen)) {
    case ANSWERED:
        return WS_OPEN;
    case REFUSED:
        return WS_OPEN_REFUSED;
    case FAILED:
        break;
    }
    return WS_OPEN_FAILED;
}

/* The next object of the answer in hand. */
static bool take_object(struct way *w)
{
    struct json_reader r;
    struct json_value v;
    if (w->at >= w->text.len) {
        return false;
    }
    /* From where the last one ended: "[" or "," and the rest of the list. */
    w->text.data[w->at] = '[';
    json_reader_init(&r, span_of(w->text.data + w->at, w->text.len - w->at), JSON_MAX_DEPTH);
    if (json_next(&r, &v) != JSON_T_OPEN_ARRAY || !json_element(&r, &v)) {
        w->at = w->text.len;
        return false;
    }
    w->at = (size_t)(v.raw.p + v.raw.n - w->text.data);
    w->object.len = 0;
    return buf_append_span(&w->object, v.raw);
}

static enum ws_event next_poll(struct way *w, unsigned timeout_ms)
{
    char err[1024];
    (void)timeout_ms;
    while (!take_object(w)) {
        switch (ask(w, WAIT_S, w->ask->count, err, sizeof(err))) {
        case ANSWERED:
            break;
        case REFUSED:
            return way_closed(w, 1008, err);
        case FAILED:
            return way_closed(w, 1006, err);
        }
    }
    return WS_MESSAGE;
}

static bool more_poll(const struct way *w)
{
    return w->at + 1 < w->text.len;
}

/* The next question does; there is none when this was all that was wanted. */
static bool ack_poll(struct way *w, uint64_t seq)
{
    char err[512];
    (void)seq;
    return w->ask->count > 0 || ask(w, 0, 1, err, sizeof(err)) == ANSWERED;
}

static void end_poll(struct way *w, unsigned code)
{
    (void)w;
    (void)code;
}

const struct transport way_poll = {
    .name = "poll", .open = open_poll, .next = next_poll, .more = more_poll, .ack = ack_poll, .end = end_poll};
