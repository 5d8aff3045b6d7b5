/*
 * guard.h - inputs for pure codecs, placed so that their last byte is the last readable byte of a page: reading one
 * byte too many ends the test with SIGSEGV. A guard is made per input (a few microseconds) and freed after it.
 *
 *     struct guard g;
 *     struct span in = guard_copy(&g, SPAN_LIT("abc"));
 *     ... parse in ...
 *     guard_free(&g);
 *
 * For many prefixes of one input, guard_open once and guard_load for each: it copies into the same pages.
 */
#ifndef TEST_UNIT_GUARD_H
#define TEST_UNIT_GUARD_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base.h"

struct guard {
    uint8_t *base; /* the mapping: room bytes that can be used, then one page that cannot */
    size_t room;
    size_t mapped;
};

/* Maps space for inputs of up to n bytes; ends the test program when the kernel refuses. */
static inline void guard_open(struct guard *g, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    g->room = (n + page) / page * page;
    g->mapped = g->room + page;
    g->base = mmap(NULL, g->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->base == MAP_FAILED || mprotect(g->base + g->room, page, PROT_NONE) != 0) {
        perror("guard_open");
        abort();
    }
}

/* Copies s so that it ends right at the guard page; the copy lives until the next guard_load or guard_free. */
static inline struct span guard_load(struct guard *g, struct span s)
{
    if (s.n > g->room) {
        fprintf(stderr, "guard_load: %zu bytes do not fit in %zu\n", s.n, g->room);
        abort();
    }
    uint8_t *p = g->base + g->room - s.n;
    if (s.n > 0) {
        memcpy(p, s.p, s.n);
    }
    return span_of(p, s.n);
}

static inline struct span guard_copy(struct guard *g, struct span s)
{
    guard_open(g, s.n);
    return guard_load(g, s);
}

static inline void guard_free(struct guard *g)
{
    munmap(g->base, g->mapped);
    g->base = NULL;
}

#endif
