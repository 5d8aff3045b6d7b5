/*
 * metrics.h - counters, gauges and one histogram: one X-macro list, one block per thread (one writer, relaxed atomics),
 * summed on read. Any thread may read any block.
 */
#ifndef CORE_METRICS_H
#define CORE_METRICS_H

#include <stdatomic.h>

#include "core/base.h"
#include "core/metrics_list.h"

enum metric {
#define X(id, type, name, labels, help) M_##id,
    METRICS_LIST(X)
#undef X
        M_COUNT
};

#define METRICS_HIST_BUCKETS 20

struct metrics {
    _Atomic uint64_t v[M_COUNT];
    /* publish-to-write latency: bucket i counts values <= 2^i * 10 us; the last one has no bound */
    _Atomic uint64_t latency[METRICS_HIST_BUCKETS + 1];
    _Atomic uint64_t latency_sum_us;
    char name[16]; /* thread: "shard-0", "dispatcher" */
} __attribute__((aligned(64)));

void metrics_init(struct metrics *m, const char *name);

static inline void metric_add(struct metrics *m, enum metric id, uint64_t n)
{
    atomic_store_explicit(&m->v[id], atomic_load_explicit(&m->v[id], memory_order_relaxed) + n, memory_order_relaxed);
}
static inline void metric_sub(struct metrics *m, enum metric id, uint64_t n)
{
    atomic_store_explicit(&m->v[id], atomic_load_explicit(&m->v[id], memory_order_relaxed) - n, memory_order_relaxed);
}
static inline void metric_set(struct metrics *m, enum metric id, uint64_t n)
{
    atomic_store_explicit(&m->v[id], n, memory_order_relaxed);
}
static inline uint64_t metric_get(const struct metrics *m, enum metric id)
{
    return atomic_load_explicit(&m->v[id], memory_order_relaxed);
}
void metric_latency(struct metrics *m, uint64_t us);

struct buf;
/* All blocks as Prometheus text (version 0.0.4). Lines listed PER_THREAD carry a thread label, the others are summed.
 */
bool metrics_render(struct metrics *const *blocks, unsigned n, struct buf *out) MUST_CHECK;

#endif
