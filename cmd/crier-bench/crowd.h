/*
 * crowd.h - a client process: its share of the subscribers on one epoll.
 */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include "board.h"
#include "options.h"

/* Runs slot `n` of the board until PHASE_END. The exit status of the process: 0, or 1 after a sentence on standard
 * error. */
int crowd_run(const struct options *o, struct board *b, unsigned n, unsigned run) MUST_CHECK;

#endif
