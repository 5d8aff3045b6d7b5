/*
 * codec_encode.c - what the server says to clients, in either codec.
 *
 * Idea: each message is described once, member by member, and emit.c knows both forms. encode_message is the hot path
 * (once per message, node and codec): it makes room once and prints nothing through printf.
 *
 * Any thread; pure. What does not fit leaves the buffer as it was. Nothing is owned here.
 */
#include "proto/codec.h"

#include "proto/emit.h"

/* Bytes of encode_message's output besides the strings it is given, roughly: only a hint for growing once. */
enum { MESSAGE_OVERHEAD = 160 };

static void begin(struct emit *e, enum codec c, struct buf *out, struct span type)
{
    emit_begin(e, c, out);
    emit_str(e, SPAN_LIT("type"), type);
}

/* The client's own bytes back. */
static void begin_answer(struct emit *e, enum codec c, struct buf *out, struct span type, struct span ref)
{
    begin(e, c, out, type);
    if (ref.n > 0)
        emit_raw(e, SPAN_LIT("ref"), ref);
}

static void target(struct emit *e, const struct job_head *h)
{
    switch (h->kind) {
    case TARGET_USER:
        break;
    case TARGET_ROOM:
        emit_str(e, SPAN_LIT("room"), h->target);
        break;
    case TARGET_ALL:
        emit_bool(e, SPAN_LIT("all"), true);
        break;
    }
}

bool encode_message(enum codec c, const struct job_head *h, struct buf *out)
{
    struct emit e;
    size_t about = MESSAGE_OVERHEAD + h->id.n + h->target.n + h->event.n + h->from.n + h->data.n;
    if (buf_reserve(out, about) == NULL)
        about = 0; /* it may still fit */
    begin(&e, c, out, SPAN_LIT("message"));
    emit_str(&e, SPAN_LIT("id"), h->id);
    if (h->seq > 0)
        emit_uint(&e, SPAN_LIT("seq"), h->seq);
    target(&e, h);
    if (h->event.n > 0)
        emit_str(&e, SPAN_LIT("event"), h->event);
    if (h->from.n > 0)
        emit_str(&e, SPAN_LIT("from"), h->from);
    emit_uint(&e, SPAN_LIT("ts"), h->ts_ms);
    emit_data(&e, SPAN_LIT("data"), h->format, h->data);
    return emit_end(&e);
}

/* A 64-bit number as a string: JavaScript rounds numbers past 2^53. */
static void emit_decimal(struct emit *e, struct span key, uint64_t u)
{
    char text[20], *p = text + sizeof text;
    do {
        *--p = (char)('0' + u % 10);
        u /= 10;
    } while (u > 0);
    emit_str(e, key, span_of(p, (size_t)(text + sizeof text - p)));
}

bool encode_welcome(enum codec c, const struct welcome *w, struct buf *out)
{
    struct emit e;
    begin(&e, c, out, SPAN_LIT("welcome"));
    emit_decimal(&e, SPAN_LIT("conn"), w->conn);
    if (w->user.n > 0) {
        emit_str(&e, SPAN_LIT("user"), w->user);
        emit_str(&e, SPAN_LIT("device"), w->device);
    }
    emit_str(&e, SPAN_LIT("node"), w->node);
    emit_uint(&e, SPAN_LIT("cursor"), w->cursor);
    emit_uint(&e, SPAN_LIT("pending"), w->pending);
    emit_uint(&e, SPAN_LIT("ping"), w->ping_s);
    emit_open(&e, SPAN_LIT("limits"));
    emit_uint(&e, SPAN_LIT("message"), w->max_message);
    emit_uint(&e, SPAN_LIT("payload"), w->max_payload);
    emit_uint(&e, SPAN_LIT("rooms"), w->max_rooms);
    emit_uint(&e, SPAN_LIT("window"), w->window);
    emit_close(&e);
    return emit_end(&e);
}

bool encode_ok(enum codec c, struct span ref, struct buf *out)
{
    struct emit e;
    begin_answer(&e, c, out, SPAN_LIT("ok"), ref);
    return emit_end(&e);
}

bool encode_ok_send(enum codec c, struct span ref, struct span id, uint64_t seq, unsigned online, bool duplicate,
                    struct buf *out)
{
    struct emit e;
    begin_answer(&e, c, out, SPAN_LIT("ok"), ref);
    emit_str(&e, SPAN_LIT("id"), id);
    if (seq > 0)
        emit_uint(&e, SPAN_LIT("seq"), seq);
    emit_uint(&e, SPAN_LIT("online"), online);
    if (duplicate)
        emit_bool(&e, SPAN_LIT("duplicate"), true);
    return emit_end(&e);
}

bool encode_ok_subscribe(enum codec c, struct span ref, const struct ok_subscribe *s, struct buf *out)
{
    struct emit e;
    begin_answer(&e, c, out, SPAN_LIT("ok"), ref);
    emit_str(&e, SPAN_LIT("room"), s->room);
    if (s->has_since)
        emit_bool(&e, SPAN_LIT("recovered"), s->recovered);
    if (s->has_history)
        emit_uint(&e, SPAN_LIT("seq"), s->seq);
    return emit_end(&e);
}

bool encode_ok_with(enum codec c, struct span ref, struct span object, struct buf *out)
{
    struct emit e;
    begin_answer(&e, c, out, SPAN_LIT("ok"), ref);
    emit_members(&e, object);
    return emit_end(&e);
}

bool encode_presence(enum codec c, struct span room, struct span user, bool join, uint64_t seq, struct buf *out)
{
    struct emit e;
    begin(&e, c, out, SPAN_LIT("presence"));
    emit_str(&e, SPAN_LIT("room"), room);
    emit_str(&e, SPAN_LIT("user"), user);
    emit_str(&e, SPAN_LIT("change"), join ? SPAN_LIT("join") : SPAN_LIT("leave"));
    emit_uint(&e, SPAN_LIT("seq"), seq);
    return emit_end(&e);
}

bool encode_unsubscribed(enum codec c, struct span room, struct buf *out)
{
    struct emit e;
    begin(&e, c, out, SPAN_LIT("unsubscribed"));
    emit_str(&e, SPAN_LIT("room"), room);
    return emit_end(&e);
}

bool encode_error(enum codec c, struct span ref, const char *code, const char *message, unsigned retry_after,
                  struct buf *out)
{
    struct emit e;
    begin_answer(&e, c, out, SPAN_LIT("error"), ref);
    emit_str(&e, SPAN_LIT("code"), span_str(code));
    emit_str(&e, SPAN_LIT("message"), span_str(message));
    if (retry_after > 0)
        emit_uint(&e, SPAN_LIT("retry_after"), retry_after);
    return emit_end(&e);
}

bool encode_ping(enum codec c, struct buf *out)
{
    struct emit e;
    begin(&e, c, out, SPAN_LIT("ping"));
    return emit_end(&e);
}

bool encode_expiring(enum codec c, unsigned in_s, struct buf *out)
{
    struct emit e;
    begin(&e, c, out, SPAN_LIT("expiring"));
    emit_uint(&e, SPAN_LIT("in"), in_s);
    return emit_end(&e);
}

bool encode_closing(enum codec c, unsigned code, const char *reason, unsigned retry_after_ms, struct buf *out)
{
    struct emit e;
    begin(&e, c, out, SPAN_LIT("closing"));
    emit_uint(&e, SPAN_LIT("code"), code);
    emit_str(&e, SPAN_LIT("reason"), span_str(reason));
    /* Seconds like everywhere, with a fraction: the jitter of a drain is finer than a second. */
    if (retry_after_ms > 0)
        emit_double(&e, SPAN_LIT("retry_after"), retry_after_ms / 1000.0);
    return emit_end(&e);
}

bool encode_gap(enum codec c, struct span room, uint64_t from, uint64_t to, struct buf *out)
{
    struct emit e;
    begin(&e, c, out, SPAN_LIT("gap"));
    if (room.n)
        emit_str(&e, SPAN_LIT("room"), room);
    emit_uint(&e, SPAN_LIT("from"), from);
    emit_uint(&e, SPAN_LIT("to"), to);
    return emit_end(&e);
}
