/*
 * hist.h - a histogram of times with a relative error of at most 1/32, fixed size, one writer.
 */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include "core/base.h"

#define HIST_SUB     32
#define HIST_BUCKETS (HIST_SUB * 36)

struct hist {
    uint64_t count, max_ns;
    uint32_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t ns);
void hist_merge(struct hist *into, const struct hist *from);
/* Microseconds below which a share q (0 to 1) lies; 0 when empty. */
double hist_quantile_us(const struct hist *h, double q);

#endif
