/*
 * run.h - one measurement's processes: forked, watched, ended. The first process owns it.
 */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "board.h"
#include "options.h"
#include "procfs.h"
#include "source.h"

#include <sys/types.h>

#define RUN_CHILDREN 260

struct run {
    const struct options *o;
    struct board *board;
    unsigned tag; /* in every payload: messages of another run are not counted */
    unsigned n;
    pid_t child[RUN_CHILDREN];
    struct pids server, other;
};

/* All of these: 0, or -1 after a sentence on standard error. */
int run_init(struct run *r, const struct options *o) MUST_CHECK;
/* The client processes; returns once they are forked. */
int run_clients(struct run *r) MUST_CHECK;
int run_publisher(struct run *r, enum aim aim) MUST_CHECK;
/* The bare server; fills `port` and adds it to r->server. */
int run_floor(struct run *r, unsigned *port) MUST_CHECK;
/* Until all connections are ready. */
int run_ready(struct run *r) MUST_CHECK;
/* Sleeps while watching that nobody dies. */
int run_sleep(struct run *r, double secs) MUST_CHECK;
/* Until everything published was received (`each` times, beyond the `base` deliveries before it), or nothing came for a
 * second. */
int run_drain(struct run *r, uint64_t base, uint64_t each) MUST_CHECK;
/* CLOCK_MONOTONIC */
uint64_t run_now_ns(void);
/* PHASE_END, and waits for all children; kills them first when `failed`. */
int run_stop(struct run *r, bool failed) MUST_CHECK;
void run_fini(struct run *r);

#endif
