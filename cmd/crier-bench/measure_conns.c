/*
 * measure_conns.c - what connections cost rather than messages: made (connect, handshake), held (idle), made and ended
 * a million times (churn), asked in vain (poll), and what a server does when there is nothing at all to do (still). The
 * first process only.
 */
#include "measure.h"
#include "measure_window.h"

#include <stdio.h>
#include <stdlib.h>

/* After the last connection is ready: what a server does behind its answer (a ticket, an attach) is its cost too. */
#define SETTLE_SECS 0.3

struct memory {
    struct mem_sample before, after;
};

static const char *const NAMES[] = {"idle", "heartbeats", "connect", "handshake"};

struct held {
    struct window connect, idle;
    struct memory memory;
    double ready_secs;
};

static void put_connects(struct report *rep, const struct run *r, const struct held *h)
{
    report_number(rep, "connect_secs", h->ready_secs, 3);
    report_number(rep, "connects_per_s", r->o->subs / h->ready_secs, 0);
    report_count(rep, "resumed", h->connect.b.tally.resumed);
    window_put_cpu(rep, &h->connect, "cpu_us_per_connect", r->o->subs);
}

static void put_idle(struct report *rep, const struct run *r, const struct held *h)
{
    double n = r->o->subs;
    const struct memory *m = &h->memory;
    report_number(rep, "rss_per_conn", ((double)m->after.rss - (double)m->before.rss) / n, 1);
    report_number(rep, "pss_per_conn", ((double)m->after.pss - (double)m->before.pss) / n, 1);
    report_count(rep, "rss", m->after.rss);
    report_count(rep, "pss", m->after.pss);
    report_number(rep, "secs", window_secs(&h->idle), 3);
    report_count(rep, "reads", h->idle.b.tally.reads - h->idle.a.tally.reads); /* heartbeats that the clients saw */
    window_put_cpu(rep, &h->idle, "cpu_us_per_conn", r->o->subs);
}

static int watch_held(struct run *r, struct held *h, bool hold)
{
    if (mem_read(&r->server, &h->memory.before) || moment_take(r, &h->connect.a) || run_clients(r) || run_ready(r))
        return -1;
    h->ready_secs = (double)(run_now_ns() - h->connect.a.server.at_ns) / 1e9;
    if (run_sleep(r, SETTLE_SECS) || moment_take(r, &h->connect.b))
        return -1;
    if (!hold)
        return 0;
    if (run_sleep(r, r->o->warm) || mem_read(&r->server, &h->memory.after) || moment_take(r, &h->idle.a) ||
        run_sleep(r, r->o->secs) || moment_take(r, &h->idle.b))
        return -1;
    return 0;
}

static void say_held(const struct run *r, const struct held *h, enum connections kind)
{
    unsigned n = r->o->subs;
    fprintf(stderr, "%-8s %-16s %u connections, %.1f CPU-us a connect, %.0f connects/s", NAMES[kind], r->o->label, n,
            window_cost(&h->connect, n), n / h->ready_secs);
    if (kind <= CONNECTIONS_BEAT)
        fprintf(stderr, ", %.2f KiB resident each, %.2f %% of a core idle",
                ((double)h->memory.after.pss - (double)h->memory.before.pss) / 1024 / n,
                window_cost(&h->idle, 1) / 1e4 / window_secs(&h->idle));
    fprintf(stderr, "\n");
}

int connections_run(struct run *r, enum connections kind)
{
    struct report *rep = malloc(sizeof *rep);
    struct held *h = calloc(1, sizeof *h);
    bool failed = !rep || !h || watch_held(r, h, kind <= CONNECTIONS_BEAT);
    uint64_t gone = board_tally(r->board).gone;
    int status = run_stop(r, failed) ? 1 : 0;
    if (status == 0) {
        window_put_head(rep, r, NAMES[kind]);
        report_count(rep, "gone", gone);
        if (kind <= CONNECTIONS_BEAT)
            put_idle(rep, r, h);
        else
            put_connects(rep, r, h);
        report_end(rep);
        if (r->o->human)
            say_held(r, h, kind);
    }
    free(h);
    free(rep);
    return status;
}

static int measure_connections(const struct options *o, enum connections kind)
{
    struct run r;
    if (measure_needs(o->url, "url") || measure_needs(o->server_pid, "server-pid") || run_init(&r, o))
        return 1;
    int status = connections_run(&r, kind);
    run_fini(&r);
    return status;
}

int measure_idle(const struct options *o)
{
    return measure_connections(o, CONNECTIONS_IDLE);
}

int measure_heartbeats(const struct options *o)
{
    return measure_connections(o, CONNECTIONS_BEAT);
}

int measure_connect(const struct options *o)
{
    return measure_connections(o, CONNECTIONS_CONNECT);
}

int measure_handshake(const struct options *o)
{
    struct options mine = *o;
    mine.protocol = "tls";
    return measure_connections(&mine, CONNECTIONS_HANDSHAKE);
}

/* ---- still ---- */

int measure_still(const struct options *o)
{
    struct run r;
    if (measure_needs(o->server_pid, "server-pid") || run_init(&r, o))
        return 1;
    struct report *rep = malloc(sizeof *rep);
    struct window *w = calloc(1, sizeof *w);
    bool failed = !rep || !w || moment_take(&r, &w->a) || run_sleep(&r, o->secs) || moment_take(&r, &w->b);
    if (!failed) {
        window_put_head(rep, &r, "still");
        report_number(rep, "secs", window_secs(w), 3);
        window_put_cpu(rep, w, "cpu_us", 1);
        report_end(rep);
        if (o->human)
            fprintf(stderr, "still    %-16s %.2f wake-ups a second\n", o->label,
                    (double)(w->b.server.waits - w->a.server.waits) / window_secs(w));
    }
    free(w);
    free(rep);
    run_fini(&r);
    return failed ? 1 : 0;
}

/* ---- polls that find nothing ---- */

static int watch_polls(struct run *r, struct window *w)
{
    if (run_clients(r) || run_ready(r) || run_sleep(r, r->o->warm) || moment_take(r, &w->a) ||
        run_sleep(r, r->o->secs) || moment_take(r, &w->b))
        return -1;
    if (w->b.tally.answers > w->a.tally.answers && w->b.tally.gone == 0)
        return 0;
    fprintf(stderr, "crier-bench: the polls were not answered\n");
    return -1;
}

int measure_poll(const struct options *o)
{
    struct options mine = *o;
    struct run r;
    mine.protocol = "poll";
    if (measure_needs(o->url, "url") || measure_needs(o->server_pid, "server-pid") || run_init(&r, &mine))
        return 1;
    struct report *rep = malloc(sizeof *rep);
    struct window *w = calloc(1, sizeof *w);
    bool failed = !rep || !w || watch_polls(&r, w);
    int status = run_stop(&r, failed) ? 1 : 0;
    if (status == 0) {
        uint64_t n = w->b.tally.answers - w->a.tally.answers;
        window_put_head(rep, &r, "poll");
        report_number(rep, "secs", window_secs(w), 3);
        report_number(rep, "polls_per_s", (double)n / window_secs(w), 0);
        report_number(rep, "bytes_per_answer", (double)(w->b.tally.bytes - w->a.tally.bytes) / (double)n, 1);
        window_put_cpu(rep, w, "cpu_us_per_poll", n);
        report_end(rep);
        if (o->human)
            fprintf(stderr, "poll     %-16s %8.3f CPU-us an empty poll  %9.0f polls/s\n", o->label, window_cost(w, n),
                    (double)n / window_secs(w));
    }
    free(w);
    free(rep);
    run_fini(&r);
    return status;
}
