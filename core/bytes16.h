/*
 * bytes16.h - sixteen bytes at a time, by the compilers' own vectors: the same source on every processor. For scans
 * that are made once a message; private to who needs it.
 */
#ifndef CORE_BYTES16_H
#define CORE_BYTES16_H

#include <endian.h>

#include "core/base.h"

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint64_t words2 __attribute__((vector_size(16)));

/* Sixteen bytes at p, wherever that is. */
static inline bytes16 bytes16_at(const uint8_t *p)
{
    bytes16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The place of the first byte of a comparison's result that is not 0; 16: all are. */
static inline unsigned bytes16_first(bytes16 hits)
{
    words2 w = (words2)hits;
    if (w[0])
        return (unsigned)__builtin_ctzll(le64toh(w[0])) / 8;
    return w[1] ? 8 + (unsigned)__builtin_ctzll(le64toh(w[1])) / 8 : 16;
}

#endif
