/*
 * measure_cluster.c - a cluster as its clients see it: all connect, in turn to each broker; messages to everybody, then
 * messages to single users drawn at random, each part to its last delivery; CPU of all brokers together and of Redis,
 * memory of both. The numbers of a user's own messages follow on those to everybody, so one expected number a
 * connection shows loss and doubles in both parts. The first process only.
 */
#include "measure.h"
#include "measure_window.h"
#include "source.h"

#include <stdio.h>
#include <stdlib.h>

struct part {
    struct window w;
    uint64_t want, published;
};

struct cluster {
    const struct options *given;
    struct options *o; /* what the run sees: changed between the parts */
    char channel[128];
    struct window connect, idle;
    struct mem_sample server[2], other[2];
    uint64_t kernel[2];
    double ready_secs;
    struct part part[STAGES];
};

static int read_memory(struct run *r, struct cluster *c, unsigned i)
{
    c->kernel[i] = mem_kernel();
    return mem_read(&r->server, &c->server[i]) || mem_read(&r->other, &c->other[i]) ? -1 : 0;
}

static int connect_all(struct run *r, struct cluster *c)
{
    if (read_memory(r, c, 0) || moment_take(r, &c->connect.a) || run_clients(r) || run_ready(r))
        return -1;
    c->ready_secs = (double)(run_now_ns() - c->connect.a.server.at_ns) / 1e9;
    if (run_sleep(r, 0.3) || moment_take(r, &c->connect.b) || run_sleep(r, r->o->warm) || read_memory(r, c, 1) ||
        moment_take(r, &c->idle.a) || run_sleep(r, r->o->secs) || moment_take(r, &c->idle.b))
        return -1;
    return 0;
}

static int run_part(struct run *r, struct cluster *c, unsigned stage)
{
    struct part *p = &c->part[stage];
    uint64_t each = stage == 0 ? r->o->subs : 1;
    /* To everybody one at a time: the next when all have had it. */
    snprintf(c->channel, sizeof c->channel, "%s%s", c->given->prefix, stage == 0 ? "all" : "user:{}");
    c->o->channel = c->channel;
    c->o->rate = stage == 0 ? 0 : c->given->rate;
    c->o->window = stage == 0 ? 1 : c->given->window;
    atomic_store_explicit(&r->board->stage, (int)stage, memory_order_relaxed);
    atomic_store_explicit(&r->board->publish_done, 0, memory_order_relaxed);
    atomic_store_explicit(&r->board->published, 0, memory_order_relaxed);
    if (moment_take(r, &p->w.a) || run_publisher(r, stage == 0 ? AIM_EVERYBODY : AIM_RANDOM) ||
        run_drain(r, p->w.a.tally.deliveries, each) || moment_take(r, &p->w.b))
        return -1;
    p->published = board_get(&r->board->published);
    p->want = p->published * each;
    return 0;
}

static int watch_cluster(struct run *r, struct cluster *c)
{
    if (connect_all(r, c))
        return -1;
    board_set_phase(r->board, PHASE_MEASURE);
    for (unsigned stage = 0; stage < STAGES; stage++)
        if (run_part(r, c, stage))
            return -1;
    return 0;
}

static void put_part(struct report *rep, const struct run *r, const struct part *p)
{
    uint64_t n = p->w.b.tally.deliveries - p->w.a.tally.deliveries;
    report_count(rep, "published", p->published);
    report_count(rep, "deliveries", n);
    report_count(rep, "lost", p->want > n ? p->want - n : 0);
    report_count(rep, "duplicates", p->w.b.tally.duplicates - p->w.a.tally.duplicates);
    report_number(rep, "secs", window_secs(&p->w), 3);
    report_number(rep, "deliveries_per_s", (double)n / window_secs(&p->w), 0);
    report_number(rep, "cpu_us_per_delivery", window_cost(&p->w, n), 4);
    report_number(rep, "redis_us_per_message", window_per(p->w.b.other.total_ns - p->w.a.other.total_ns, p->published),
                  3);
    report_number(rep, "bytes_per_delivery", n ? (double)(p->w.b.tally.bytes - p->w.a.tally.bytes) / (double)n : 0, 1);
    report_count(rep, "size", r->o->size);
    window_put_latency(rep, &p->w.latency);
}

static void put_connections(struct report *rep, const struct run *r, const struct cluster *c)
{
    uint64_t n = r->o->subs;
    const struct window *w = &c->connect;
    report_count(rep, "brokers", r->server.n);
    report_count(rep, "ready", c->connect.b.tally.ready);
    report_number(rep, "connect_secs", c->ready_secs, 3);
    report_number(rep, "connects_per_s", (double)n / c->ready_secs, 0);
    report_number(rep, "cpu_us_per_connect", window_cost(w, n), 3);
    report_number(rep, "redis_us_per_connect", window_per(w->b.other.total_ns - w->a.other.total_ns, n), 3);
    report_number(rep, "pss_per_conn", ((double)c->server[1].pss - (double)c->server[0].pss) / (double)n, 1);
    report_count(rep, "pss", c->server[1].pss);
    /* Both ends of each connection are on this machine. */
    report_number(rep, "kernel_bytes_per_conn", ((double)c->kernel[1] - (double)c->kernel[0]) / (double)n, 1);
    report_number(rep, "redis_bytes_per_user", ((double)c->other[1].pss - (double)c->other[0].pss) / (double)n, 1);
    report_count(rep, "redis_pss", c->other[1].pss);
    report_number(rep, "idle_cores", window_cost(&c->idle, 1) / 1e6 / window_secs(&c->idle), 5);
    report_number(rep, "idle_redis_cores",
                  (double)(c->idle.b.other.total_ns - c->idle.a.other.total_ns) / 1e9 / window_secs(&c->idle), 5);
}

static void put_cluster(struct report *rep, struct run *r, struct cluster *c)
{
    static const char *const names[STAGES] = {"everybody", "random_users"};
    window_put_head(rep, r, "cluster");
    put_connections(rep, r, c);
    for (unsigned i = 0; i < STAGES; i++) {
        for (unsigned k = 0; k < r->board->procs; k++)
            hist_merge(&c->part[i].w.latency, &r->board->slots[k].latency[i]);
        report_open(rep, names[i]);
        put_part(rep, r, &c->part[i]);
        report_close(rep);
    }
    report_end(rep);
}

int measure_cluster(const struct options *o)
{
    struct options mine = *o;
    struct run r;
    mine.sample = o->sample ? o->sample : 1;
    if (measure_needs(o->url, "url") || measure_needs(o->publish, "publish") ||
        measure_needs(o->server_pid, "server-pid") || measure_needs(o->other_pid, "other-pid") || run_init(&r, &mine))
        return 1;
    struct report *rep = malloc(sizeof *rep);
    struct cluster *c = calloc(1, sizeof *c);
    if (c) {
        c->given = o;
        c->o = &mine;
    }
    bool failed = !rep || !c || watch_cluster(&r, c);
    uint64_t gone = board_tally(r.board).gone;
    int status = run_stop(&r, failed) ? 1 : 0;
    if (status == 0) {
        put_cluster(rep, &r, c);
        if (gone)
            fprintf(stderr, "crier-bench: %llu connections ended early\n", (unsigned long long)gone);
    }
    free(c);
    free(rep);
    run_fini(&r);
    return status || gone ? 1 : 0;
}
