/*
 * measure_window.c - samples of the board and of /proc at two moments, and their difference in a result line. The first
 * process only; windows die with the measurement that holds them.
 */
#include "measure_window.h"

#include <stdio.h>

int moment_take(struct run *r, struct moment *m)
{
    m->tally = board_tally(r->board);
    m->published = board_get(&r->board->published);
    return cpu_read(&r->server, &m->server) || cpu_read(&r->other, &m->other) ? -1 : 0;
}

double window_secs(const struct window *w)
{
    return (double)(w->b.server.at_ns - w->a.server.at_ns) / 1e9;
}

double window_per(uint64_t ns, uint64_t n)
{
    return n ? (double)ns / 1000.0 / (double)n : 0;
}

double window_cost(const struct window *w, uint64_t n)
{
    return window_per(w->b.server.total_ns - w->a.server.total_ns, n);
}

void window_put_head(struct report *rep, const struct run *r, const char *bench)
{
    const struct options *o = r->o;
    bool secure = o->url && (strncmp(o->url, "wss:", 4) == 0 || strncmp(o->url, "https:", 6) == 0);
    report_begin(rep, bench);
    report_text(rep, "label", o->label);
    report_count(rep, "round", o->round);
    report_count(rep, "subs", o->subs);
    report_count(rep, "procs", o->procs);
    report_text(rep, "tls", secure ? (o->tls ? o->tls : "any") : "no");
    if (*o->key_kind)
        report_text(rep, "key_kind", o->key_kind);
}

/* Of each process where there are several. */
static void put_processes(struct report *rep, const struct window *w, uint64_t n)
{
    const struct cpu_sample *a = &w->a.server, *b = &w->b.server;
    if (b->nprocesses < 2)
        return;
    report_open(rep, "processes");
    for (unsigned i = 0; i < b->nprocesses; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", b->processes[i].pid);
        report_number(rep, name, window_per(b->processes[i].ns - a->processes[i].ns, n), 4);
    }
    report_close(rep);
}

void window_put_cpu(struct report *rep, const struct window *w, const char *key, uint64_t n)
{
    const struct cpu_sample *a = &w->a.server, *b = &w->b.server;
    uint64_t user = b->user_ns - a->user_ns, both = user + b->sys_ns - a->sys_ns;
    report_number(rep, key, window_cost(w, n), 4);
    report_number(rep, "cpu_user_share", both ? (double)user / (double)both : 0, 3);
    report_number(rep, "server_cores", (double)(b->total_ns - a->total_ns) / 1e9 / window_secs(w), 5);
    report_number(rep, "wakeups_per_s", (double)(b->waits - a->waits) / window_secs(w), 2);
    if (w->b.other.nthreads)
        report_number(rep, "other_cpu_us_per_message",
                      window_per(w->b.other.total_ns - w->a.other.total_ns, w->b.published - w->a.published), 3);
    put_processes(rep, w, n);
    report_open(rep, "threads");
    for (unsigned i = 0; i < b->nthreads; i++) {
        char name[48];
        uint64_t ns = cpu_thread_since(a, b, i);
        snprintf(name, sizeof name, "%s/%d", b->threads[i].name, b->threads[i].tid);
        if (ns)
            report_number(rep, name, window_per(ns, n), 4);
    }
    report_close(rep);
}

void window_put_latency(struct report *rep, const struct hist *h)
{
    report_number(rep, "p50_us", hist_quantile_us(h, 0.5), 1);
    report_number(rep, "p99_us", hist_quantile_us(h, 0.99), 1);
    report_number(rep, "p999_us", hist_quantile_us(h, 0.999), 1);
    report_number(rep, "max_us", (double)h->max_ns / 1000.0, 1);
}
