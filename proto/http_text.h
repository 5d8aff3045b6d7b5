/*
 * http_text.h - what the http_*.c files and ws_ext.c share: character classes, numbers, names and comma-separated lists
 * (RFC 9110 section 5.6). Private to them; the public face is http_head.h.
 */
#ifndef PROTO_HTTP_TEXT_H
#define PROTO_HTTP_TEXT_H

#include "proto/http_head.h"

enum { HTTP_CHAR_TOKEN = 1, HTTP_CHAR_VALUE = 2, HTTP_CHAR_HOST = 4 };
extern const uint8_t http_char_class[256];

/* tchar: methods, field names, list tokens. */
static inline bool http_is_token(uint8_t c)
{
    return (http_char_class[c] & HTTP_CHAR_TOKEN) != 0;
}

/* Inside a field value: VCHAR, obs-text, SP, HTAB. */
static inline bool http_is_value(uint8_t c)
{
    return (http_char_class[c] & HTTP_CHAR_VALUE) != 0;
}

/* unreserved or sub-delims of RFC 3986: a host name, but for its percent escapes. */
static inline bool http_is_host(uint8_t c)
{
    return (http_char_class[c] & HTTP_CHAR_HOST) != 0;
}

static inline bool http_is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* The value of a hexadecimal digit, -1 when it is none. */
static inline int http_hex(uint8_t c)
{
    if (http_is_digit(c)) {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Equal but for the case of ASCII letters; in full, or at the beginning. */
bool http_name_is(struct span s, const char *name);
bool http_starts_with(struct span s, const char *prefix);
/* Without the SP and HTAB at both ends; p stays inside the input, also when nothing is left. */
struct span http_trim(struct span s);
/* 1 to 19 digits and nothing else, at most INT64_MAX. */
bool http_decimal(struct span s, uint64_t *out) MUST_CHECK;

/* Walks the elements of a list field over all lines of that name: trimmed, empty ones skipped, commas in quotes kept.
 * Borrows h and name. */
struct http_list {
    const struct http_head *head;
    const char *name;
    unsigned next;    /* the field to look at when rest is used up */
    struct span rest; /* of the current line */
};
void http_list_start(struct http_list *l, const struct http_head *h, const char *name);
bool http_list_next(struct http_list *l, struct span *element) MUST_CHECK;

#endif
