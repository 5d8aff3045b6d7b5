/*
 * costs.h - what stored messages cost: one line of JSON for each kind of step.
 */
#ifndef BENCH_COSTS_H
#define BENCH_COSTS_H

#include "options.h"

/* The exit status. */
int measure_costs(const struct options *o);

#endif
