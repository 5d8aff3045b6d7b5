/*
 * hist.c - log-linear buckets: 32 to each power of two of nanoseconds/64. Lives in shared memory: the process that owns
 * it writes, the first process reads after that one has ended.
 */
#include "hist.h"

static unsigned index_of(uint64_t ns)
{
    uint64_t v = ns >> 6;
    if (v < HIST_SUB)
        return (unsigned)v;
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - 5u;
    unsigned i = (shift + 1) * HIST_SUB + (unsigned)(v >> shift) - HIST_SUB;
    return i < HIST_BUCKETS ? i : HIST_BUCKETS - 1;
}

/* The middle of a bucket. */
static double value_us(unsigned i)
{
    unsigned row = i / HIST_SUB, shift = row ? row - 1 : 0;
    double low = row ? (double)((uint64_t)(HIST_SUB + i % HIST_SUB) << shift) : (double)i;
    return (low + 0.5 * (double)(1ull << shift)) * 64.0 / 1000.0;
}

void hist_add(struct hist *h, uint64_t ns)
{
    h->count++;
    h->bucket[index_of(ns)]++;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    into->count += from->count;
    if (from->max_ns > into->max_ns)
        into->max_ns = from->max_ns;
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
}

double hist_quantile_us(const struct hist *h, double q)
{
    double want = q * (double)h->count;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HIST_BUCKETS && h->count; i++) {
        seen += h->bucket[i];
        if (h->bucket[i] && (double)seen >= want)
            return value_us(i);
    }
    return 0;
}
