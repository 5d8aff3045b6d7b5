/*
 * measure.c - messages: what is measured, over what window. The rule of all: connect everything first, warm up, then
 * take the counters and the server's CPU at two moments; what lies between is the result. Loss and duplicates are
 * counted over the whole run, after a drain. The floors are the same against a server of this program's own. The first
 * process only.
 */
#include "measure.h"

#include "alone.h"
#include "measure_window.h"

#include <stdio.h>
#include <stdlib.h>

int measure_needs(const char *value, const char *name)
{
    if (!value)
        fprintf(stderr, "crier-bench: --%s is needed\n", name);
    return value ? 0 : -1;
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
    uint64_t n = w->b.tally.deliveries - w->a.tally.deliveries, reads = w->b.tally.reads - w->a.tally.reads;
    double secs = window_secs(w);
    report_count(rep, "size", o->size);
    report_count(rep, "rooms", o->rooms);
    report_count(rep, "rate", o->rate);
    report_count(rep, "burst", o->burst);
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
    report_number(rep, "deliveries_per_read", (double)n / (double)(reads ? reads : 1), 2);
    window_put_latency(rep, &w->latency);
    window_put_cpu(rep, w, "cpu_us_per_delivery", n);
}

static void say_messages(const struct run *r, const struct window *w, uint64_t lost, const char *bench)
{
    uint64_t n = w->b.tally.deliveries - w->a.tally.deliveries;
    fprintf(stderr, "%-8s %-16s %8.3f CPU-us a delivery  %9.0f deliveries/s  p50 %.2f ms  p99 %.2f ms  lost %llu\n",
            bench, r->o->label, window_cost(w, n), (double)n / window_secs(w),
            hist_quantile_us(&w->latency, 0.5) / 1000, hist_quantile_us(&w->latency, 0.99) / 1000,
            (unsigned long long)lost);
}

/* Of each message. */
static uint64_t receivers(const struct options *o, bool unicast)
{
    return unicast ? 1 : o->spread ? o->subs / o->rooms : o->subs;
}

/* Clients are forked and connecting: to the end of the drain. */
static int watch_messages(struct run *r, struct window *w, bool unicast)
{
    if (run_ready(r) || run_publisher(r, unicast ? AIM_TURN : AIM_ROOM))
        return -1;
    board_set_phase(r->board, PHASE_WARM);
    if (run_sleep(r, r->o->warm) || moment_take(r, &w->a))
        return -1;
    board_set_phase(r->board, PHASE_MEASURE);
    if (run_sleep(r, r->o->secs) || moment_take(r, &w->b))
        return -1;
    board_set_phase(r->board, PHASE_DRAIN);
    if (run_drain(r, 0, receivers(r->o, unicast)))
        return -1;
    w->end = board_tally(r->board);
    return 0;
}

/* With clients forked: measures, ends all, reports. */
static int finish_messages(struct run *r, const char *bench, bool unicast)
{
    struct report *rep = malloc(sizeof *rep);
    struct window *w = calloc(1, sizeof *w);
    uint64_t each = receivers(r->o, unicast);
    bool failed = !rep || !w || watch_messages(r, w, unicast);
    uint64_t deliveries = failed ? 0 : w->b.tally.deliveries - w->a.tally.deliveries;
    if (!failed && deliveries == 0) {
        fprintf(stderr, "crier-bench: nothing was delivered in the measured window\n");
        failed = true;
    }
    int status = run_stop(r, failed) ? 1 : 0;
    if (status == 0) {
        for (unsigned i = 0; i < r->board->procs; i++)
            hist_merge(&w->latency, &r->board->slots[i].latency[0]);
        window_put_head(rep, r, bench);
        put_messages(rep, r, w, each);
        report_end(rep);
        if (r->o->human)
            say_messages(r, w, all_lost(r, w, each), bench);
    }
    free(w);
    free(rep);
    return status;
}

int messages_run(struct run *r, const char *bench, bool unicast)
{
    if (run_clients(r) == 0)
        return finish_messages(r, bench, unicast);
    (void)!run_stop(r, true);
    return 1;
}

/* A transport other than the WebSocket is a scenario of its own. */
static int measure_messages(const struct options *o, const char *bench, bool unicast)
{
    struct run r;
    if (measure_needs(o->url, "url") || measure_needs(o->publish, "publish") ||
        measure_needs(o->server_pid, "server-pid") || run_init(&r, o))
        return 1;
    int status = messages_run(&r, bench, unicast);
    run_fini(&r);
    return status;
}

int measure_fanout(const struct options *o)
{
    return measure_messages(o, strcmp(o->protocol, "sse") == 0 ? "sse" : "fanout", false);
}

int measure_unicast(const struct options *o)
{
    return measure_messages(o, strcmp(o->protocol, "poll") == 0 ? "longpoll" : "unicast", true);
}

static int run_floor_measure(struct run *r, const char *what)
{
    if (strcmp(what, "idle") == 0)
        return connections_run(r, CONNECTIONS_IDLE);
    if (strcmp(what, "heartbeats") == 0)
        return connections_run(r, CONNECTIONS_BEAT);
    if (strcmp(what, "connect") == 0)
        return connections_run(r, CONNECTIONS_CONNECT);
    if (strcmp(what, "handshake") == 0)
        return connections_run(r, CONNECTIONS_HANDSHAKE);
    return messages_run(r, what, strcmp(what, "unicast") == 0);
}

int measure_floor(const struct options *o)
{
    struct options mine = *o;
    struct run r;
    char url[64], feed[64];
    unsigned port = 0;
    bool tls = strcmp(o->mode, "tls") == 0;
    if (strcmp(o->mode, "alone") == 0)
        return alone_run(o);
    if (tls && (measure_needs(o->cert, "cert") || measure_needs(o->key, "key")))
        return 1;
    mine.url = url;
    mine.publish = feed;
    mine.protocol = tls ? "tls" : "plain";
    mine.server_pid = mine.room = mine.ports = NULL;
    if (run_init(&r, &mine))
        return 1;
    int status = 1;
    if (run_floor(&r, &port) == 0) {
        snprintf(url, sizeof url, "%s://127.0.0.1:%u/?user={}", tls ? "wss" : "ws", port);
        snprintf(feed, sizeof feed, "feed://127.0.0.1:%u", port);
        status = run_floor_measure(&r, o->what);
    } else {
        (void)!run_stop(&r, true);
    }
    run_fini(&r);
    return status;
}
