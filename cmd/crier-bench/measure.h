/*
 * measure.h - the subcommands. Each returns the exit status after printing one line of JSON, or a sentence on standard
 * error.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "options.h"

int measure_fanout(const struct options *o) MUST_CHECK;
int measure_unicast(const struct options *o) MUST_CHECK;
int measure_poll(const struct options *o) MUST_CHECK;
int measure_floor(const struct options *o) MUST_CHECK;
int measure_idle(const struct options *o) MUST_CHECK;
int measure_heartbeats(const struct options *o) MUST_CHECK;
int measure_connect(const struct options *o) MUST_CHECK;
int measure_handshake(const struct options *o) MUST_CHECK;
int measure_still(const struct options *o) MUST_CHECK;
int measure_churn(const struct options *o) MUST_CHECK;
int measure_cluster(const struct options *o) MUST_CHECK;

/* ---- the same with a run at hand, against whatever its options name: shared by the above and the floors ---- */
struct run;
/* fanout and unicast: connects, publishes, drains. */
int messages_run(struct run *r, const char *bench, bool unicast) MUST_CHECK;

enum connections { CONNECTIONS_IDLE, CONNECTIONS_BEAT, CONNECTIONS_CONNECT, CONNECTIONS_HANDSHAKE };
int connections_run(struct run *r, enum connections kind) MUST_CHECK;
/* 0, or -1 after a sentence on standard error: an option is missing. */
int measure_needs(const char *value, const char *name) MUST_CHECK;

#endif
