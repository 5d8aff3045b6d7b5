/*
 * check.h - what fuzz targets hold things to, and inputs copied to allocations of their exact size, so that
 * AddressSanitizer sees one byte too many.
 */
#ifndef TEST_FUZZ_CHECK_H
#define TEST_FUZZ_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "core/buf.h"

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "not so: %s (line %d)\n", #what, __LINE__);                                                \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* More than any output of an input that libFuzzer makes. */
enum { CHECK_LARGE = 64 << 20 };

/* The caller frees .p. */
static inline struct span check_exact(struct span s)
{
    uint8_t *p = malloc(s.n ? s.n : 1);
    CHECK(p != NULL);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return span_of(p, s.n);
}

static inline void check_free(struct span s)
{
    free((void *)(uintptr_t)s.p);
}

#endif
