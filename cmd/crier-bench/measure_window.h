/*
 * measure_window.h - the two moments between which something is measured, and what every result line says about them.
 * For the first process.
 */
#ifndef BENCH_MEASURE_WINDOW_H
#define BENCH_MEASURE_WINDOW_H

#include "report.h"
#include "run.h"

struct moment {
    struct tally tally;
    uint64_t published;
    struct cpu_sample server, other;
};

/* Big (CPU samples): kept off the stack. */
struct window {
    struct moment a, b;
    struct tally end; /* after the drain, before anything is taken down */
    struct hist latency;
};

/* 0, or -1 after a sentence on standard error. */
int moment_take(struct run *r, struct moment *m) MUST_CHECK;
double window_secs(const struct window *w);
/* Microseconds for each of n; 0 when n is 0. */
double window_per(uint64_t ns, uint64_t n);
/* CPU-us of the server in the window for each of n. */
double window_cost(const struct window *w, uint64_t n);
void window_put_head(struct report *rep, const struct run *r, const char *bench);
/* CPU for each of `n` things, in all, user and system, wake-ups a second, by process and by thread. */
void window_put_cpu(struct report *rep, const struct window *w, const char *key, uint64_t n);
void window_put_latency(struct report *rep, const struct hist *h);

#endif
