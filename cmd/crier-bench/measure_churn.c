/*
 * measure_churn.c - N connections held while users come and go, `total` in all, each a new one. What a connect costs at
 * the start and at the end, and what the server's memory is with the same N connections before and after: the two
 * figures in which a leak, a table that only grows, or a list that is walked would show. A tenth of the total comes
 * before anything is counted, so that allocators and tables have reached their size. The first process only.
 */
#include "measure.h"
#include "measure_window.h"

#include <stdio.h>
#include <stdlib.h>

struct churn {
    struct window first, last; /* a tenth of the total each */
    struct mem_sample before, after;
    uint64_t start_ns, end_ns;
};

/* Lets the clients make connects up to `quota` in all, and waits until all are ready again. */
static int go_to(struct run *r, uint64_t quota)
{
    uint64_t seen = 0, since = run_now_ns();
    quota -= quota % r->board->procs;
    atomic_store_explicit(&r->board->quota, quota, memory_order_relaxed);
    for (;;) {
        struct tally t = board_tally(r->board);
        if (t.connects >= quota && t.ready >= r->o->subs)
            return 0;
        if (t.connects != seen) {
            seen = t.connects;
            since = run_now_ns();
        }
        if (t.gone || run_now_ns() - since > r->o->deadline * 1000000000ull) {
            fprintf(stderr, "crier-bench: churn stopped after %llu connects, %llu failed\n",
                    (unsigned long long)t.connects, (unsigned long long)t.gone);
            return -1;
        }
        if (run_sleep(r, 0.002))
            return -1;
    }
}

static int watch_churn(struct run *r, struct churn *c)
{
    uint64_t n = r->o->total, tenth = n / 10, warm = r->o->subs + tenth;
    if (run_clients(r) || go_to(r, warm) || run_sleep(r, r->o->warm) || mem_read(&r->server, &c->before))
        return -1;
    c->start_ns = run_now_ns();
    if (moment_take(r, &c->first.a) || go_to(r, warm + tenth) || moment_take(r, &c->first.b) ||
        go_to(r, warm + n - tenth) || moment_take(r, &c->last.a) || go_to(r, warm + n) || moment_take(r, &c->last.b))
        return -1;
    c->end_ns = run_now_ns();
    return run_sleep(r, r->o->warm) || mem_read(&r->server, &c->after) ? -1 : 0;
}

static double cost_of(const struct window *w)
{
    return window_cost(w, w->b.tally.connects - w->a.tally.connects);
}

static void put_churn(struct report *rep, const struct run *r, const struct churn *c)
{
    window_put_head(rep, r, "churn");
    report_count(rep, "connects", r->o->total);
    report_number(rep, "connects_per_s", r->o->total * 1e9 / (double)(c->end_ns - c->start_ns), 0);
    report_count(rep, "anon_before", c->before.anon);
    report_count(rep, "anon_after", c->after.anon);
    report_number(rep, "memory_ratio", (double)c->after.anon / (double)c->before.anon, 4);
    report_number(rep, "cpu_us_first", cost_of(&c->first), 2);
    report_number(rep, "cpu_us_last", cost_of(&c->last), 2);
    report_number(rep, "cpu_ratio", cost_of(&c->last) / cost_of(&c->first), 4);
    report_end(rep);
}

int measure_churn(const struct options *o)
{
    struct run r;
    if (measure_needs(o->url, "url") || measure_needs(o->server_pid, "server-pid") || run_init(&r, o))
        return 1;
    struct report *rep = malloc(sizeof *rep);
    struct churn *c = calloc(1, sizeof *c);
    atomic_store_explicit(&r.board->quota, o->procs, memory_order_relaxed);
    bool failed = !rep || !c || watch_churn(&r, c);
    int status = run_stop(&r, failed) ? 1 : 0;
    if (status == 0) {
        put_churn(rep, &r, c);
        if (o->human)
            fprintf(stderr, "churn    %-16s %u connects, %.1f then %.1f CPU-us each, memory %.3f of before\n", o->label,
                    o->total, cost_of(&c->first), cost_of(&c->last), (double)c->after.anon / (double)c->before.anon);
    }
    free(c);
    free(rep);
    run_fini(&r);
    return status;
}
