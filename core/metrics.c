/*
 * metrics.c - the counters as Prometheus text (exposition format 0.0.4).
 *
 * Each block has one writer thread; anybody reads it with relaxed loads. A gauge that one thread raises and another
 * lowers (a connection that moved) wraps in each block but is right in the sum. What is read is not one instant of all
 * threads, and need not be.
 */
#include "core/metrics.h"

#include <inttypes.h>

#include "core/buf.h"

#ifndef CRIER_VERSION
#define CRIER_VERSION "unknown"
#endif

enum kind { C, G, T }; /* counter, gauge, per thread: as in metrics_list.h */

struct row {
    enum kind kind;
    const char *name, *labels, *help;
};

static const struct row rows[] = {
#define X(id, type, name, labels, help) {type, name, labels, help},
    METRICS_LIST(X)
#undef X
};

void metrics_init(struct metrics *m, const char *name)
{
    for (unsigned i = 0; i < M_COUNT; i++)
        atomic_init(&m->v[i], 0);
    for (unsigned i = 0; i < ARRAY_LEN(m->latency); i++)
        atomic_init(&m->latency[i], 0);
    atomic_init(&m->latency_sum_us, 0);
    memset(m->name, 0, sizeof(m->name));
    memcpy(m->name, name, strnlen(name, sizeof(m->name) - 1));
}

/* One writer: a load and a store do, no read-modify-write. */
static void bump(_Atomic uint64_t *v, uint64_t n)
{
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + n, memory_order_relaxed);
}

void metric_latency(struct metrics *m, uint64_t us)
{
    uint64_t tens = us ? (us - 1) / 10 : 0; /* bucket i ends at 10 << i */
    unsigned i = tens ? 64 - (unsigned)__builtin_clzll(tens) : 0;
    bump(&m->latency[i < METRICS_HIST_BUCKETS ? i : METRICS_HIST_BUCKETS], 1);
    bump(&m->latency_sum_us, us);
}

static bool is_counter(const struct row *r)
{
    size_t n = strlen(r->name);
    return r->kind == C || (n > 6 && strcmp(r->name + n - 6, "_total") == 0);
}

static bool head(struct buf *out, const char *name, const char *help, const char *type)
{
    return buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A gauge may for a moment read below zero across threads: printed with its sign. */
static bool value(struct buf *out, bool counter, uint64_t v)
{
    return counter ? buf_printf(out, " %" PRIu64 "\n", v) : buf_printf(out, " %" PRId64 "\n", (int64_t)v);
}

static bool summed(const struct row *r, unsigned id, struct metrics *const *blocks, unsigned n, struct buf *out)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += metric_get(blocks[i], id);
    bool labelled = r->labels[0] != '\0';
    return buf_printf(out, "%s%s%s%s", r->name, labelled ? "{" : "", r->labels, labelled ? "}" : "") &&
           value(out, is_counter(r), sum);
}

static bool per_thread(const struct row *r, unsigned id, struct metrics *const *blocks, unsigned n, struct buf *out)
{
    bool good = true;
    for (unsigned i = 0; good && i < n; i++)
        good = buf_printf(out, "%s{%s%sthread=\"%s\"}", r->name, r->labels, r->labels[0] ? "," : "", blocks[i]->name) &&
               value(out, is_counter(r), metric_get(blocks[i], id));
    return good;
}

static bool histogram(struct metrics *const *blocks, unsigned n, struct buf *out)
{
    static const char name[] = "crier_publish_to_write_seconds";
    uint64_t count = 0, sum_us = 0;
    bool good =
        head(out, name, "Time from a message's arrival at this node to its write to a connection.", "histogram");
    for (unsigned b = 0; good && b <= METRICS_HIST_BUCKETS; b++) {
        for (unsigned i = 0; i < n; i++)
            count += atomic_load_explicit(&blocks[i]->latency[b], memory_order_relaxed);
        if (b < METRICS_HIST_BUCKETS)
            good =
                buf_printf(out, "%s_bucket{le=\"%.5f\"} %" PRIu64 "\n", name, (double)((uint64_t)10 << b) / 1e6, count);
    }
    for (unsigned i = 0; i < n; i++)
        sum_us += atomic_load_explicit(&blocks[i]->latency_sum_us, memory_order_relaxed);
    return good && buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count) &&
           buf_printf(out, "%s_sum %.6f\n%s_count %" PRIu64 "\n", name, (double)sum_us / 1e6, name, count);
}

bool metrics_render(struct metrics *const *blocks, unsigned n, struct buf *out)
{
    size_t before = out->len;
    bool good = head(out, "crier_build_info", "Always 1; the version is in the label.", "gauge") &&
                buf_append_str(out, "crier_build_info{version=\"" CRIER_VERSION "\"} 1\n");
    for (unsigned id = 0; good && id < M_COUNT; id++) {
        const struct row *r = &rows[id];
        if (id == 0 || strcmp(r->name, rows[id - 1].name) != 0)
            good = head(out, r->name, r->help, is_counter(r) ? "counter" : "gauge");
        if (good)
            good = r->kind == T ? per_thread(r, id, blocks, n, out) : summed(r, id, blocks, n, out);
    }
    good = good && histogram(blocks, n, out);
    if (!good)
        out->len = before;
    return good;
}
