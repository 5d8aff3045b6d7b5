/*
 * transcode.c - JSON to msgpack and back.
 *
 * Idea: one pass each way, over the readers' tokens, with a small stack instead of recursion. msgpack wants a
 * container's count before its entries, which JSON tells only after them: so a container starts with the one-byte head
 * of small ones, and the few that grow past 15 entries have their bytes moved up when they close.
 *
 * Any thread; pure. Invariant: at most 64 levels on either stack, because the readers stop there. On failure the output
 * is cut back to where it was. Nothing is owned here.
 */
#include "proto/transcode.h"

#include <stdlib.h>

#include "proto/base64.h"
#include "proto/json.h"
#include "proto/mp.h"

/* ---- JSON to msgpack ---- */

struct open {
    size_t head; /* where its head byte is */
    uint32_t count;
    bool object;
};

/* Writes the head of a container that has ended; larger ones need their content moved. */
static bool close_open(struct buf *out, const struct open *o)
{
    if (o->count <= 15) {
        out->data[o->head] = (uint8_t)((o->object ? 0x80 : 0x90) | o->count);
        return true;
    }
    size_t width = o->count <= UINT16_MAX ? 2 : 4, content = o->head + 1;
    if (buf_reserve(out, width) == NULL)
        return false;
    memmove(out->data + content + width, out->data + content, out->len - content);
    buf_commit(out, width);
    out->data[o->head] = (uint8_t)((o->object ? 0xDE : 0xDC) + (width == 4));
    for (size_t i = 0; i < width; i++)
        out->data[content + i] = (uint8_t)(o->count >> 8 * (width - 1 - i));
    return true;
}

static bool string_to_msgpack(const struct json_value *v, struct buf *out)
{
    if (!v->escaped)
        return mp_write_str(out, span_of(v->raw.p + 1, v->raw.n - 2));
    /* Decoded behind the place of the longest head, then joined to the head it really gets. */
    enum { LONGEST_HEAD = 5 };
    uint8_t *at = buf_reserve(out, LONGEST_HEAD + v->raw.n);
    if (at == NULL)
        return false;
    ptrdiff_t n = json_decode(v, true, at + LONGEST_HEAD, v->raw.n);
    if (n < 0 || (size_t)n > UINT32_MAX)
        return false;
    size_t head = n < 32 ? 1 : n <= UINT8_MAX ? 2 : n <= UINT16_MAX ? 3 : 5;
    at[0] = (uint8_t)(head == 1 ? 0xA0 | n : head == 2 ? 0xD9 : head == 3 ? 0xDA : 0xDB);
    for (size_t i = 1; i < head; i++)
        at[i] = (uint8_t)((size_t)n >> 8 * (head - 1 - i));
    memmove(at + head, at + LONGEST_HEAD, (size_t)n);
    buf_commit(out, head + (size_t)n);
    return true;
}

/* A plain integer within 64 bits: its magnitude and sign. */
static bool small_integer(struct span s, bool *negative, uint64_t *magnitude)
{
    uint64_t u = 0;
    *negative = s.p[0] == '-';
    for (size_t i = *negative; i < s.n; i++) {
        unsigned digit = s.p[i] - (unsigned)'0';
        if (digit > 9 || u > (UINT64_MAX - digit) / 10)
            return false;
        u = u * 10 + digit;
    }
    *magnitude = u;
    return *negative ? u > 0 && u <= UINT64_C(1) << 63 : true;
}

static bool number_to_msgpack(struct span s, struct buf *out)
{
    bool negative;
    uint64_t u;
    if (small_integer(s, &negative, &u))
        return negative ? mp_write_int(out, (int64_t)-u) : mp_write_uint(out, u);
    /* strtod wants a NUL behind it; a number of a thousand digits finds the room behind the output. */
    char brief[64], *text = brief;
    if (s.n >= sizeof brief)
        text = (char *)buf_reserve(out, s.n + 1);
    if (text == NULL)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return mp_write_double(out, strtod(text, NULL));
}

static bool scalar_to_msgpack(const struct json_value *v, struct buf *out)
{
    switch (v->kind) {
    case JSON_STRING:
        return string_to_msgpack(v, out);
    case JSON_NUMBER:
        return number_to_msgpack(v->raw, out);
    case JSON_TRUE:
    case JSON_FALSE:
        return mp_write_bool(out, v->kind == JSON_TRUE);
    case JSON_NULL:
        return mp_write_nil(out);
    case JSON_OBJECT:
    case JSON_ARRAY:
        break; /* never scalars */
    }
    return false;
}

static bool json_to_msgpack(struct json_reader *r, struct buf *out)
{
    struct open opens[JSON_MAX_DEPTH + 1] = {{0}}; /* [0] stands for the outside */
    struct open *o = opens;
    for (;;) {
        struct json_value v;
        enum json_token t = json_next(r, &v);
        bool fine = false;
        if (t == JSON_T_KEY || (t != JSON_T_CLOSE && !o->object))
            o->count++;
        switch (t) {
        case JSON_T_OPEN_OBJECT:
        case JSON_T_OPEN_ARRAY:
            *++o = (struct open){.head = out->len, .object = t == JSON_T_OPEN_OBJECT};
            fine = buf_append_byte(out, 0);
            break;
        case JSON_T_CLOSE:
            fine = close_open(out, o--);
            break;
        case JSON_T_KEY:
        case JSON_T_SCALAR:
            fine = scalar_to_msgpack(&v, out);
            break;
        case JSON_T_END:
            return true;
        case JSON_T_FAULT:
            break;
        }
        if (!fine)
            return false;
    }
}

bool transcode_json_to_msgpack(struct span in, struct buf *out)
{
    size_t start = out->len;
    struct json_reader r;
    json_reader_init(&r, in, JSON_MAX_DEPTH);
    if (json_to_msgpack(&r, out))
        return true;
    out->len = start;
    return false;
}

/* ---- msgpack to JSON ---- */

static bool bin_to_json(struct span s, struct buf *out)
{
    return buf_append_byte(out, '"') && base64_append(out, s) && buf_append_byte(out, '"');
}

static bool ext_to_json(const struct mp_value *v, struct buf *out)
{
    return buf_append_str(out, "{\"ext\":") && json_write_int(out, v->ext) && buf_append_str(out, ",\"data\":") &&
           bin_to_json(v->s, out) && buf_append_byte(out, '}');
}

static bool scalar_to_json(const struct mp_value *v, struct buf *out)
{
    switch (v->kind) {
    case MP_NIL:
        return buf_append_str(out, "null");
    case MP_BOOL:
        return buf_append_str(out, v->b ? "true" : "false");
    case MP_UINT:
        return json_write_uint(out, v->u);
    case MP_INT:
        return json_write_int(out, v->i);
    case MP_FLOAT:
        return json_write_double(out, v->d);
    case MP_STR:
        return json_write_string(out, v->s);
    case MP_BIN:
        return bin_to_json(v->s, out);
    case MP_EXT:
        return ext_to_json(v, out);
    case MP_ARRAY:
    case MP_MAP:
        break; /* never scalars */
    }
    return false;
}

static bool key_to_json(const struct mp_value *v, struct buf *out)
{
    if (v->kind == MP_STR || v->kind == MP_BIN)
        return scalar_to_json(v, out);
    return v->kind < MP_STR && buf_append_byte(out, '"') && scalar_to_json(v, out) && buf_append_byte(out, '"');
}

struct level {
    uint64_t left; /* values still to come; in a map an even number stands before a key */
    bool map, any; /* any: something was written, so a comma comes first */
};

/* The punctuation before the next value; *key: it is a map's key. */
static bool punctuate(struct level *l, bool *key, struct buf *out)
{
    *key = l->map && l->left % 2 == 0;
    bool comma = l->any && (*key || !l->map), colon = l->map && !*key;
    l->any = true;
    l->left--;
    if (comma || colon)
        return buf_append_byte(out, comma ? ',' : ':');
    return true;
}

static bool msgpack_to_json(struct mp_reader *r, struct buf *out)
{
    struct level levels[MP_MAX_DEPTH + 1] = {{.left = 1}}; /* [0] is the outside */
    unsigned at = 0;
    for (;;) {
        while (levels[at].left == 0) {
            if (at == 0)
                return r->p == r->end;
            if (!buf_append_byte(out, levels[at--].map ? '}' : ']'))
                return false;
        }
        struct mp_value v;
        bool key;
        if (!punctuate(&levels[at], &key, out) || !mp_read(r, &v))
            return false;
        if (key || v.kind < MP_ARRAY) {
            if (!(key ? key_to_json(&v, out) : scalar_to_json(&v, out)))
                return false;
            continue;
        }
        bool map = v.kind == MP_MAP;
        if (at == MP_MAX_DEPTH || !buf_append_byte(out, map ? '{' : '['))
            return false;
        levels[++at] = (struct level){.left = (uint64_t)v.count * (map ? 2 : 1), .map = map};
    }
}

bool transcode_msgpack_to_json(struct span in, struct buf *out)
{
    size_t start = out->len;
    struct mp_reader r;
    mp_reader_init(&r, in);
    if (msgpack_to_json(&r, out))
        return true;
    out->len = start;
    return false;
}
