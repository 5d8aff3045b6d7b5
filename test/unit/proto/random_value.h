/*
 * random_value.h - a small generator of repeatable random numbers and of random JSON values that survive the way to
 * msgpack and back unchanged (canonical spelling: no white space, shortest numbers and escapes).
 */
#ifndef TEST_UNIT_PROTO_RANDOM_VALUE_H
#define TEST_UNIT_PROTO_RANDOM_VALUE_H

#include "core/buf.h"
#include "proto/json.h"

/* xorshift64*; the state must not be 0. */
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

static inline bool random_string(uint64_t *state, struct buf *out)
{
    static const char *const pieces[] = {"a",
                                         "\"",
                                         "\\",
                                         "/",
                                         "\n",
                                         "\x01",
                                         "\x7f",
                                         "\xC3\xA9",
                                         "\xE2\x80\xA8",
                                         "\xF0\x9F\x98\x80",
                                         "key",
                                         "\xEF\xBF\xBD",
                                         "long enough to fill a word"};
    char text[1024];
    size_t n = 0;
    uint64_t count = random_next(state) % 16;
    if (count == 15)
        count = 40;
    for (; count > 0; count--) {
        const char *piece = pieces[random_next(state) % ARRAY_LEN(pieces)];
        memcpy(text + n, piece, strlen(piece));
        n += strlen(piece);
    }
    return json_write_string(out, span_of(text, n));
}

static inline bool random_number(uint64_t *state, struct buf *out)
{
    uint64_t bits = random_next(state) >> random_next(state) % 64;
    double d;
    switch (random_next(state) % 3) {
    case 0:
        return json_write_uint(out, bits);
    case 1:
        return json_write_int(out, (int64_t)(bits | UINT64_C(1) << 63));
    default:
        memcpy(&d, &bits, sizeof d);
        return json_write_double(out, d * 0.5 + 0.25);
    }
}

/* Appends one value of at most `depth` levels. */
static inline bool random_json(uint64_t *state, unsigned depth, struct buf *out)
{
    uint64_t kind = random_next(state) % (depth > 0 ? 8 : 5);
    if (kind == 0)
        return random_string(state, out);
    if (kind == 1 || kind == 2)
        return random_number(state, out);
    if (kind == 3)
        return buf_append_str(out, random_next(state) % 2 ? "true" : "false");
    if (kind == 4)
        return buf_append_str(out, "null");
    bool object = kind == 5;
    uint64_t count = random_next(state) % 20;
    if (!buf_append_byte(out, object ? '{' : '['))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if ((i > 0 && !buf_append_byte(out, ',')) ||
            (object && !(random_string(state, out) && buf_append_byte(out, ':'))) ||
            !random_json(state, depth > 3 ? 3 : depth - 1, out))
            return false;
    }
    return buf_append_byte(out, object ? '}' : ']');
}

#endif
