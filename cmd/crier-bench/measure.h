/*
 * measure.h - the subcommands. Each returns the exit status after printing one line of JSON, or a sentence on standard
 * error.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "options.h"

int measure_fanout(const struct options *o) MUST_CHECK;
int measure_unicast(const struct options *o) MUST_CHECK;
int measure_floor(const struct options *o) MUST_CHECK;
int measure_idle(const struct options *o) MUST_CHECK;
int measure_connect(const struct options *o) MUST_CHECK;

#endif
