/*
 * json.h - a strict JSON reader (RFC 8259) over bytes in place, and the writer's string and number forms. Pure.
 *
 * The reader checks as it goes: what it has handed out was valid up to there, and a text is valid as a whole once
 * JSON_T_END came. Strings are handed out raw; lone surrogate escapes are fine for the grammar and refused only by
 * json_decode.
 */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include "core/buf.h"

#define JSON_MAX_DEPTH 64 /* containers inside each other */
/* Levels that a message's data may have: one less, so that the message around it stays within JSON_MAX_DEPTH. */
#define JSON_MAX_DATA_DEPTH (JSON_MAX_DEPTH - 1)
#define JSON_MAX_SAFE       ((UINT64_C(1) << 53) - 1)

enum json_kind { JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER, JSON_TRUE, JSON_FALSE, JSON_NULL };
enum json_status { JSON_OK, JSON_SYNTAX, JSON_UTF8, JSON_DEEP };

struct json_value {
    enum json_kind kind;
    struct span raw; /* the value's bytes, a string's with its quotes */
    bool escaped;    /* a string that holds a backslash */
    unsigned depth;  /* levels of containers: 0 for a scalar, 1 for [] */
};

enum json_token {
    JSON_T_OPEN_OBJECT,
    JSON_T_OPEN_ARRAY,
    JSON_T_CLOSE, /* of either */
    JSON_T_KEY,
    JSON_T_SCALAR,
    JSON_T_END,   /* one value, and nothing but white space behind it */
    JSON_T_FAULT, /* see status; stays there */
};

struct json_reader {
    const uint8_t *p, *end;
    uint64_t objects; /* bit d: the container at depth d + 1 is an object */
    unsigned depth;   /* open containers */
    unsigned deepest;
    unsigned max_depth;
    unsigned state;
    enum json_status status;
};

/* Reads one text. Borrows `in`. max_depth at most JSON_MAX_DEPTH. */
void json_reader_init(struct json_reader *r, struct span in, unsigned max_depth);
/* The next token; *v is filled for keys and scalars. */
enum json_token json_next(struct json_reader *r, struct json_value *v) MUST_CHECK;
/* Inside an object (after its JSON_T_OPEN_OBJECT): the next member whole. False at its end, or when r->status is not
 * JSON_OK. */
bool json_member(struct json_reader *r, struct json_value *key, struct json_value *value) MUST_CHECK;
/* The same for the elements of an array. */
bool json_element(struct json_reader *r, struct json_value *value) MUST_CHECK;

/* Is `in` exactly one value (white space around it allowed)? *out: the value without that white space. */
enum json_status json_parse(struct span in, unsigned max_depth, struct json_value *out) MUST_CHECK;

/* The bytes a string stands for (a key or a value of kind JSON_STRING) as UTF-8 into out: the length, -1: half a
 * surrogate pair (lenient: U+FFFD instead), -2: longer than cap. Never longer than raw.n - 2. */
ptrdiff_t json_decode(const struct json_value *v, bool lenient, uint8_t *out, size_t cap) MUST_CHECK;
/* Does the string stand for exactly these ASCII characters (at most 31)? */
bool json_string_is(const struct json_value *v, const char *s) MUST_CHECK;
/* A plain integer 0..2^53-1, without sign, fraction and exponent. */
bool json_uint(const struct json_value *v, uint64_t *u) MUST_CHECK;

/* ---- writing; false at the buffer's ceiling, and then nothing was added ---- */

/* A quoted string. Control characters become \n, \t, ... or \u00XX, broken UTF-8 U+FFFD; all else stays as it is. */
bool json_write_string(struct buf *out, struct span s) MUST_CHECK;
bool json_write_uint(struct buf *out, uint64_t u) MUST_CHECK;
bool json_write_int(struct buf *out, int64_t i) MUST_CHECK;
/* 15 to 17 digits, the first that read back as the same double; infinities and NaN become null. */
bool json_write_double(struct buf *out, double d) MUST_CHECK;

#endif
