/*
 * source.h - the publisher's process: saturating within a window, or at a rate.
 */
#ifndef BENCH_SOURCE_H
#define BENCH_SOURCE_H

#include "board.h"
#include "options.h"

/* Publishes from PHASE_WARM to PHASE_DRAIN, then says publish_done. The exit status of the process. */
int source_run(const struct options *o, struct board *b, unsigned run, bool unicast) MUST_CHECK;

#endif
