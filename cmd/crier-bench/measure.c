/*
 * measure.c - what is measured, over what window. The rule of all: connect everything first, warm up, then take the
 * counters and the server's CPU at two moments; what lies between is the result. Loss and duplicates are counted over
 * the whole run, after a drain. The first process only.
 */
#include "measure.h"

#include "report.h"
#include "run.h"

#include <stdio.h>
#include <stdlib.h>

struct moment {
    struct tally tally;
    uint64_t published;
    struct cpu_sample server, other;
};

/* Big (CPU samples): kept off the stack. */
struct window {
    struct moment a, b;
    struct tally end; /* after the drain, before anything is taken down */
    struct hist latency;
};

static int take(struct run *r, struct moment *m)
{
    m->tally = board_tally(r->board);
    m->published = board_get(&r->board->published);
    return cpu_read(&r->server, &m->server) || cpu_read(&r->other, &m->other) ? -1 : 0;
}

static double secs_of(const struct window *w)
{
    return (double)(w->b.server.at_ns - w->a.server.at_ns) / 1e9;
}

static double per(uint64_t ns, uint64_t n)
{
    return n ? (double)ns / 1000.0 / (double)n : 0;
}

static void put_head(struct report *rep, const struct run *r, const char *bench)
{
    const struct options *o = r->o;
    report_begin(rep, bench);
    report_text(rep, "label", o->label);
    report_count(rep, "round", o->round);
    report_count(rep, "subs", o->subs);
    report_count(rep, "procs", o->procs);
    report_text(rep, "tls", strncmp(o->url, "wss:", 4) == 0 ? (o->tls ? o->tls : "any") : "no");
}

/* CPU per `n` things, in all, user, system, and by thread. */
static void put_cpu(struct report *rep, const struct window *w, const char *key, uint64_t n)
{
    const struct cpu_sample *a = &w->a.server, *b = &w->b.server;
    report_number(rep, key, per(b->total_ns - a->total_ns, n), 4);
    report_number(rep, "cpu_user_share",
                  b->user_ns + b->sys_ns > a->user_ns + a->sys_ns
                      ? (double)(b->user_ns - a->user_ns) / (double)(b->user_ns + b->sys_ns - a->user_ns - a->sys_ns)
                      : 0,
                  3);
    report_number(rep, "server_cores", (double)(b->total_ns - a->total_ns) / 1e9 / secs_of(w), 3);
    if (w->b.other.nthreads)
        report_number(rep, "other_cpu_us_per_message",
                      per(w->b.other.total_ns - w->a.other.total_ns, w->b.published - w->a.published), 3);
    report_open(rep, "threads");
    for (unsigned i = 0; i < b->nthreads; i++) {
        char name[48];
        uint64_t ns = cpu_thread_since(a, b, i);
        snprintf(name, sizeof name, "%s/%d", b->threads[i].name, b->threads[i].tid);
        if (ns)
            report_number(rep, name, per(ns, n), 4);
    }
    report_close(rep);
}

/* What was published and not received: numbers skipped, and the tail that never came. */
static uint64_t all_lost(struct run *r, const struct window *w, uint64_t each)
{
    uint64_t want = board_get(&r->board->published) * each, have = w->end.deliveries;
    return want > have ? want - have : 0;
}

static void put_messages(struct report *rep, struct run *r, const struct window *w, uint64_t each)
{
    const struct options *o = r->o;
    uint64_t n = w->b.tally.deliveries - w->a.tally.deliveries;
    double secs = secs_of(w);
    report_count(rep, "size", o->size);
    report_count(rep, "rate", o->rate);
    report_count(rep, o->rate ? "window_unused" : "window", o->window);
    report_number(rep, "secs", secs, 3);
    report_count(rep, "deliveries", n);
    report_number(rep, "deliveries_per_s", (double)n / secs, 0);
    report_number(rep, "messages_per_s", (double)(w->b.published - w->a.published) / secs, 1);
    report_count(rep, "published", board_get(&r->board->published));
    report_count(rep, "lost", all_lost(r, w, each));
    report_count(rep, "duplicates", w->end.duplicates);
    report_count(rep, "gone", w->end.gone);
    report_count(rep, "stalls", board_get(&r->board->stalls));
    report_number(rep, "bytes_per_delivery", n ? (double)(w->b.tally.bytes - w->a.tally.bytes) / (double)n : 0, 1);
    report_number(rep, "deliveries_per_read",
                  (double)n / (double)(w->b.tally.reads - w->a.tally.reads ? w->b.tally.reads - w->a.tally.reads : 1),
                  2);
    report_number(rep, "p50_us", hist_quantile_us(&w->latency, 0.5), 1);
    report_number(rep, "p99_us", hist_quantile_us(&w->latency, 0.99), 1);
    report_number(rep, "p999_us", hist_quantile_us(&w->latency, 0.999), 1);
    report_number(rep, "max_us", (double)w->latency.max_ns / 1000.0, 1);
    put_cpu(rep, w, "cpu_us_per_delivery", n);
}

static void say_messages(const struct run *r, const struct window *w, uint64_t lost, const char *bench)
{
    uint64_t n = w->b.tally.deliveries - w->a.tally.deliveries;
    fprintf(stderr, "%-8s %-16s %8.3f CPU-us a delivery  %9.0f deliveries/s  p50 %.2f ms  p99 %.2f ms  lost %llu\n",
            bench, r->o->label, per(w->b.server.total_ns - w->a.server.total_ns, n), (double)n / secs_of(w),
            hist_quantile_us(&w->latency, 0.5) / 1000, hist_quantile_us(&w->latency, 0.99) / 1000,
            (unsigned long long)lost);
}

/* Clients are forked and connecting: to the end of the drain. */
static int watch_messages(struct run *r, struct window *w, bool unicast)
{
    if (run_ready(r) || run_publisher(r, unicast))
        return -1;
    board_set_phase(r->board, PHASE_WARM);
    if (run_sleep(r, r->o->warm) || take(r, &w->a))
        return -1;
    board_set_phase(r->board, PHASE_MEASURE);
    if (run_sleep(r, r->o->secs) || take(r, &w->b))
        return -1;
    board_set_phase(r->board, PHASE_DRAIN);
    if (run_drain(r, unicast ? 1 : r->o->subs))
        return -1;
    w->end = board_tally(r->board);
    return 0;
}

/* With clients forked: measures, ends all, reports. */
static int finish_messages(struct run *r, const char *bench, bool unicast)
{
    struct report *rep = malloc(sizeof *rep);
    struct window *w = calloc(1, sizeof *w);
    uint64_t each = unicast ? 1 : r->o->subs;
    bool failed = !rep || !w || watch_messages(r, w, unicast);
    uint64_t deliveries = failed ? 0 : w->b.tally.deliveries - w->a.tally.deliveries;
    if (!failed && deliveries == 0) {
        fprintf(stderr, "crier-bench: nothing was delivered in the measured window\n");
        failed = true;
    }
    int status = run_stop(r, failed) ? 1 : 0;
    if (status == 0) {
        for (unsigned i = 0; i < r->board->procs; i++)
            hist_merge(&w->latency, &r->board->slots[i].latency);
        put_head(rep, r, bench);
        put_messages(rep, r, w, each);
        report_end(rep);
        if (r->o->human)
            say_messages(r, w, all_lost(r, w, each), bench);
    }
    free(w);
    free(rep);
    return status;
}

static int needs(const char *value, const char *name)
{
    if (!value)
        fprintf(stderr, "crier-bench: --%s is needed\n", name);
    return value ? 0 : -1;
}

static int measure_messages(const struct options *o, const char *bench, bool unicast)
{
    struct run r;
    if (needs(o->url, "url") || needs(o->publish, "publish") || needs(o->server_pid, "server-pid") || run_init(&r, o))
        return 1;
    int status = 1;
    if (run_clients(&r) == 0)
        status = finish_messages(&r, bench, unicast);
    else
        (void)!run_stop(&r, true);
    run_fini(&r);
    return status;
}

int measure_fanout(const struct options *o)
{
    return measure_messages(o, "fanout", false);
}

int measure_unicast(const struct options *o)
{
    return measure_messages(o, "unicast", true);
}

int measure_floor(const struct options *o)
{
    struct options mine = *o;
    struct run r;
    char url[64], feed[64];
    unsigned port = 0;
    mine.url = url;
    mine.publish = feed;
    mine.protocol = "plain";
    mine.server_pid = mine.room = NULL;
    if (run_init(&r, &mine))
        return 1;
    int status = 1;
    if (run_floor(&r, &port) == 0) {
        snprintf(url, sizeof url, "ws://127.0.0.1:%u/?user={}", port);
        snprintf(feed, sizeof feed, "feed://127.0.0.1:%u", port);
        if (run_clients(&r) == 0)
            status = finish_messages(&r, o->unicast ? "unicast" : "fanout", o->unicast);
        else
            (void)!run_stop(&r, true);
    } else {
        (void)!run_stop(&r, true);
    }
    run_fini(&r);
    return status;
}

/* ---- idle, connect ---- */

struct memory {
    struct mem_sample before, after;
};

static void put_connects(struct report *rep, const struct run *r, const struct window *w)
{
    report_number(rep, "connect_secs", secs_of(w), 3);
    report_number(rep, "connects_per_s", r->o->subs / secs_of(w), 0);
    report_count(rep, "resumed", w->b.tally.resumed);
    put_cpu(rep, w, "cpu_us_per_connect", r->o->subs);
}

static void put_idle(struct report *rep, const struct run *r, const struct window *w, const struct memory *m)
{
    double n = r->o->subs;
    report_number(rep, "rss_per_conn", ((double)m->after.rss - (double)m->before.rss) / n, 1);
    report_number(rep, "pss_per_conn", ((double)m->after.pss - (double)m->before.pss) / n, 1);
    report_count(rep, "rss", m->after.rss);
    report_count(rep, "pss", m->after.pss);
    report_number(rep, "secs", secs_of(w), 3);
    put_cpu(rep, w, "cpu_us_per_conn", r->o->subs);
}

static int watch_idle(struct run *r, struct window *connect, struct window *idle, struct memory *m, bool hold)
{
    if (mem_read(&r->server, &m->before) || take(r, &connect->a) || run_clients(r) || run_ready(r) ||
        take(r, &connect->b))
        return -1;
    if (!hold)
        return 0;
    if (run_sleep(r, r->o->warm) || mem_read(&r->server, &m->after) || take(r, &idle->a) || run_sleep(r, r->o->secs) ||
        take(r, &idle->b))
        return -1;
    return 0;
}

static void say_idle(const struct run *r, const struct window *connect, const struct window *idle,
                     const struct memory *m, bool hold)
{
    fprintf(stderr, "%-8s %-16s %u connections, %.1f CPU-us a connect, %.0f connects/s", hold ? "idle" : "connect",
            r->o->label, r->o->subs, per(connect->b.server.total_ns - connect->a.server.total_ns, r->o->subs),
            r->o->subs / secs_of(connect));
    if (hold)
        fprintf(stderr, ", %.2f KiB resident each, %.2f %% of a core idle",
                ((double)m->after.pss - (double)m->before.pss) / 1024 / r->o->subs,
                (double)(idle->b.server.total_ns - idle->a.server.total_ns) / 1e7 / secs_of(idle));
    fprintf(stderr, "\n");
}

static int measure_connections(const struct options *o, bool hold)
{
    struct run r;
    struct memory m = {{0}, {0}};
    if (needs(o->url, "url") || needs(o->server_pid, "server-pid") || run_init(&r, o))
        return 1;
    struct report *rep = malloc(sizeof *rep);
    struct window *w = calloc(2, sizeof *w);
    bool failed = !rep || !w || watch_idle(&r, &w[0], &w[1], &m, hold);
    uint64_t gone = board_tally(r.board).gone;
    int status = run_stop(&r, failed) ? 1 : 0;
    if (status == 0) {
        put_head(rep, &r, hold ? "idle" : "connect");
        report_count(rep, "gone", gone);
        if (hold)
            put_idle(rep, &r, &w[1], &m);
        else
            put_connects(rep, &r, &w[0]);
        report_end(rep);
        if (o->human)
            say_idle(&r, &w[0], &w[1], &m, hold);
    }
    free(w);
    free(rep);
    run_fini(&r);
    return status;
}

int measure_idle(const struct options *o)
{
    return measure_connections(o, true);
}

int measure_connect(const struct options *o)
{
    return measure_connections(o, false);
}
