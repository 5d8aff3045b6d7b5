/*
 * emit.c - objects for both codecs from one description.
 *
 * Idea: the first append that does not fit turns the emit off, so callers write straight down without a test a line and
 * ask once at the end. A msgpack map's head is one byte, counted up as members come; a list's is the widest, filled in
 * when it is closed, since nobody knows before how long it will be.
 *
 * Any thread; pure. Invariant: until emit_end says true, nothing before `start` has changed and all behind it may go.
 * Lives on the caller's stack; owns nothing.
 */
#include "proto/emit.h"

#include "proto/base64.h"
#include "proto/json.h"
#include "proto/mp.h"
#include "proto/transcode.h"

static void open_map(struct emit *e)
{
    assert(e->depth < EMIT_DEPTH);
    e->list[e->depth] = false;
    e->head[e->depth++] = e->out->len;
    e->first = true;
    e->ok = e->ok && buf_append_byte(e->out, e->codec == CODEC_JSON ? '{' : 0x80);
}

void emit_begin(struct emit *e, enum codec c, struct buf *out)
{
    *e = (struct emit){.codec = c, .out = out, .start = out->len, .ok = true};
    open_map(e);
}

bool emit_end(struct emit *e)
{
    emit_close(e);
    assert(e->depth == 0);
    if (!e->ok)
        e->out->len = e->start;
    return e->ok;
}

void emit_open(struct emit *e, struct span key)
{
    emit_raw(e, key, SPAN_LIT(""));
    open_map(e);
}

void emit_close(struct emit *e)
{
    bool list = e->list[--e->depth];
    e->first = false;
    if (!e->ok)
        return;
    if (e->codec == CODEC_JSON) {
        e->ok = buf_append_byte(e->out, list ? ']' : '}');
    } else if (list) {
        uint8_t *head = e->out->data + e->head[e->depth];
        for (unsigned i = 0; i < 4; i++)
            head[1 + i] = (uint8_t)(e->items[e->depth] >> (24 - 8 * i));
    }
}

void emit_members(struct emit *e, struct span object)
{
    bool json = e->codec == CODEC_JSON;
    size_t around = json ? 2 : 1; /* braces; or the map's head, one byte that counts */
    if (!e->ok || object.n <= around)
        return;
    if (json && !e->first)
        e->ok = buf_append_byte(e->out, ',');
    e->ok = e->ok && buf_append_span(e->out, span_of(object.p + 1, object.n - around));
    if (e->ok && !json)
        e->out->data[e->head[e->depth - 1]] += object.p[0] & 15;
    e->first = false;
}

void emit_list(struct emit *e, struct span key)
{
    static const uint8_t array32[5] = {0xDD};
    emit_raw(e, key, SPAN_LIT(""));
    assert(e->depth < EMIT_DEPTH);
    e->list[e->depth] = true;
    e->items[e->depth] = 0;
    e->head[e->depth++] = e->out->len;
    e->first = true;
    if (e->ok)
        e->ok = e->codec == CODEC_JSON ? buf_append_byte(e->out, '[') : buf_append(e->out, array32, sizeof(array32));
}

static void next_item(struct emit *e)
{
    assert(e->depth > 0 && e->list[e->depth - 1]);
    if (e->codec == CODEC_JSON && !e->first)
        e->ok = e->ok && buf_append_byte(e->out, ',');
    e->items[e->depth - 1]++;
    e->first = false;
}

void emit_item(struct emit *e)
{
    next_item(e);
    open_map(e);
}

void emit_item_str(struct emit *e, struct span value)
{
    next_item(e);
    if (e->ok)
        e->ok = e->codec == CODEC_JSON ? json_write_string(e->out, value) : mp_write_str(e->out, value);
}

void emit_item_raw(struct emit *e, struct span value)
{
    next_item(e);
    e->ok = e->ok && buf_append_span(e->out, value);
}

/* The JSON form of a key with what stands around it, in one piece. */
static bool json_key(struct emit *e, struct span key)
{
    size_t n = key.n + (e->first ? 3 : 4);
    uint8_t *p = buf_reserve(e->out, n);
    if (p == NULL)
        return false;
    if (!e->first)
        *p++ = ',';
    *p++ = '"';
    memcpy(p, key.p, key.n);
    memcpy(p + key.n, "\":", 2);
    buf_commit(e->out, n);
    e->first = false;
    return true;
}

/* Writes the key; false when the emit is off. */
static bool start(struct emit *e, struct span key)
{
    if (!e->ok)
        return false;
    if (e->codec == CODEC_JSON) {
        e->ok = json_key(e, key);
    } else {
        e->ok = mp_write_str(e->out, key);
        if (e->ok)
            e->out->data[e->head[e->depth - 1]]++;
        assert(!e->ok || e->out->data[e->head[e->depth - 1]] < 0x90);
    }
    return e->ok;
}

void emit_str(struct emit *e, struct span key, struct span value)
{
    if (start(e, key))
        e->ok = e->codec == CODEC_JSON ? json_write_string(e->out, value) : mp_write_str(e->out, value);
}

void emit_uint(struct emit *e, struct span key, uint64_t value)
{
    if (start(e, key))
        e->ok = e->codec == CODEC_JSON ? json_write_uint(e->out, value) : mp_write_uint(e->out, value);
}

void emit_double(struct emit *e, struct span key, double value)
{
    if (start(e, key))
        e->ok = e->codec == CODEC_JSON ? json_write_double(e->out, value) : mp_write_double(e->out, value);
}

void emit_bool(struct emit *e, struct span key, bool value)
{
    if (!start(e, key))
        return;
    if (e->codec == CODEC_JSON)
        e->ok = buf_append_span(e->out, value ? SPAN_LIT("true") : SPAN_LIT("false"));
    else
        e->ok = mp_write_bool(e->out, value);
}

void emit_raw(struct emit *e, struct span key, struct span value)
{
    if (start(e, key))
        e->ok = buf_append_span(e->out, value);
}

static bool data_json(struct buf *out, enum data_format format, struct span value)
{
    switch (format) {
    case DATA_JSON:
        return buf_append_span(out, value);
    case DATA_MSGPACK:
        return transcode_msgpack_to_json(value, out);
    case DATA_TEXT:
        return json_write_string(out, value);
    case DATA_BINARY:
        return buf_append_byte(out, '"') && base64_append(out, value) && buf_append_byte(out, '"');
    }
    return false;
}

static bool data_msgpack(struct buf *out, enum data_format format, struct span value)
{
    switch (format) {
    case DATA_JSON:
        return transcode_json_to_msgpack(value, out);
    case DATA_MSGPACK:
        return buf_append_span(out, value);
    case DATA_TEXT:
        return mp_write_str(out, value);
    case DATA_BINARY:
        return mp_write_bin(out, value);
    }
    return false;
}

void emit_data(struct emit *e, struct span key, enum data_format format, struct span value)
{
    if (!start(e, key))
        return;
    bool empty = value.n == 0 && (format == DATA_JSON || format == DATA_MSGPACK);
    if (empty) /* no value at all: nobody checked it; null keeps the object whole */
        e->ok = e->codec == CODEC_JSON ? buf_append_span(e->out, SPAN_LIT("null")) : mp_write_nil(e->out);
    else if (e->codec == CODEC_JSON)
        e->ok = data_json(e->out, format, value);
    else
        e->ok = data_msgpack(e->out, format, value);
}
