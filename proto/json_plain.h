/*
 * json_plain.h - eight bytes at a time: where is the first one that may not stand in a JSON string as it is? Private to
 * json.c and json_write.c.
 */
#ifndef PROTO_JSON_PLAIN_H
#define PROTO_JSON_PLAIN_H

#include <endian.h>

#include "core/base.h"

#define JSON_ONES UINT64_C(0x0101010101010101)
#define JSON_TOPS (JSON_ONES << 7)

static inline uint64_t json_eight(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof(w));
    return le64toh(w);
}

/* The top bit of each byte that is a quote, a backslash or below a space. Behind the lowest bit that is set others may
 * be set by a borrow: only whether there is one, and the lowest, can be relied on. */
static inline uint64_t json_special(uint64_t w)
{
    uint64_t quote = w ^ (JSON_ONES * '"'), slash = w ^ (JSON_ONES * '\\');
    return (((w - JSON_ONES * 0x20) & ~w) | ((quote - JSON_ONES) & ~quote) | ((slash - JSON_ONES) & ~slash)) &
           JSON_TOPS;
}

#endif
