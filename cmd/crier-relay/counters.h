/*
 * counters.h - what the relay counts: for Prometheus, and for the worker's own line in Redis. Pure.
 */
#ifndef CMD_CRIER_RELAY_COUNTERS_H
#define CMD_CRIER_RELAY_COUNTERS_H

#include "cmd/crier-relay/outcome.h"
#include "proto/names.h"

struct buf;

struct counters {
    uint64_t outcome[3][RELAY_CHANNELS]; /* by enum outcome */
    uint64_t token_refreshes[RELAY_CHANNELS];
    uint64_t cancelled;
    uint64_t pending;  /* gauge: what waits in all partitions, when they were last asked */
    uint64_t inflight; /* gauge */
};

/* Prometheus text, version 0.0.4. False at the buffer's ceiling. */
bool counters_render(const struct counters *c, struct buf *out) MUST_CHECK;

/* {"host","pid","started","sent","again","failed","cancelled","inflight"}: sums over the channels; started in ms since
 * 1970. */
struct worker_info {
    const char *host;
    long pid;
    uint64_t started_ms;
};
bool counters_status(const struct counters *c, const struct worker_info *w, struct buf *out) MUST_CHECK;

#endif
