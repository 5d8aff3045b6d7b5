/*
 * costs.c - what each step of a stored message costs the broker and Redis, apart, and what it takes in Redis' memory.
 *
 * The steps follow each other on one broker that nobody else uses: messages to users who are away, one a call and BATCH
 * a call (which also fills inboxes, so memory is read around them); clients connect to empty inboxes; messages to
 * those; their acknowledgements, all at once; clients connect to full inboxes. Each is CPU and memory at two moments,
 * divided by how often the step was done in between. The second moment is when the result is there: the answer of the
 * last push, the last message received, the last inbox gone.
 *
 * The first process only; clients are crowds of their own (crowd.c), one after the other.
 */
#include "costs.h"

#include "ask.h"
#include "report.h"
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH = 16, EACH = 10, FULL = 100, SETTLE_S = 2 };

struct moment {
    struct cpu_sample server, other;
    double bytes, keys;
};

struct costs {
    const struct options *o;
    struct ask broker, redis;
    struct pids server, other;
    struct moment a, b;
    struct report report;
    struct options crowd_options;
    struct run crowd;
    char url[700];
};

static int take(struct costs *c, struct moment *m)
{
    return ask_memory(&c->redis, &m->bytes) || ask_keys(&c->redis, &m->keys) || cpu_read(&c->server, &m->server) ||
                   cpu_read(&c->other, &m->other)
               ? -1
               : 0;
}

/* One line: the step `n` times between the two moments. keeps: how many things stay in Redis' memory, 0: none. */
static void put(struct costs *c, const char *step, unsigned n, unsigned keeps)
{
    struct report *r = &c->report;
    double broker = (double)(c->b.server.total_ns - c->a.server.total_ns) / 1000 / n;
    double redis = (double)(c->b.other.total_ns - c->a.other.total_ns) / 1000 / n;
    report_begin(r, "costs");
    report_text(r, "label", step);
    report_count(r, "round", c->o->round);
    report_count(r, "subs", c->o->subs);
    report_count(r, "size", c->o->size);
    report_count(r, "times", n);
    report_number(r, "cpu_us", broker, 3);
    report_number(r, "redis_us", redis, 3);
    if (keeps)
        report_number(r, "bytes", (c->b.bytes - c->a.bytes) / keeps, 1);
    report_end(r);
    if (c->o->human)
        fprintf(stderr, "costs    %-34s broker %7.2f CPU-us  Redis %7.2f  %.0f bytes\n", step, broker, redis,
                keeps ? (c->b.bytes - c->a.bytes) / keeps : 0);
}

/* ---- conditions ---- */

static bool all_received(struct costs *c, uint64_t n)
{
    return board_tally(c->crowd.board).others >= n;
}

/* The inboxes of `n` users are gone. */
static bool all_acked(struct costs *c, uint64_t n)
{
    double keys = 0;
    return ask_keys(&c->redis, &keys) == 0 && keys + (double)n <= c->a.keys;
}

static int until(struct costs *c, bool (*is)(struct costs *c, uint64_t n), uint64_t n, const char *what)
{
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (!is(c, n)) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec > (time_t)c->o->deadline) {
            fprintf(stderr, "crier-bench: costs: %s: not after %u s\n", what, c->o->deadline);
            return -1;
        }
        if (run_sleep(&c->crowd, 0.05))
            return -1;
    }
    return 0;
}

/* ---- steps ---- */

static int push_all(struct costs *c, const char *prefix, unsigned n, unsigned of, unsigned batch)
{
    for (unsigned i = 0; i < n; i += batch)
        if (ask_push(&c->broker, prefix, i, n - i < batch ? n - i : batch, of, c->o->size))
            return -1;
    return 0;
}

static int away(struct costs *c, const char *step, const char *prefix, unsigned batch)
{
    unsigned n = c->o->count;
    if (take(c, &c->a) || push_all(c, prefix, n, n / EACH, batch) || take(c, &c->b))
        return -1;
    put(c, step, n, n);
    return 0;
}

static int open_crowd(struct costs *c, const char *prefix, unsigned n, const char *query)
{
    c->crowd_options = *c->o;
    snprintf(c->url, sizeof c->url, "%s%s", c->o->url, query);
    c->crowd_options.url = c->url;
    c->crowd_options.user_prefix = prefix;
    c->crowd_options.subs = n;
    c->crowd_options.room = NULL;
    return run_init(&c->crowd, &c->crowd_options) || run_clients(&c->crowd) || run_ready(&c->crowd) ? -1 : 0;
}

static int close_crowd(struct costs *c, bool failed)
{
    int r = c->crowd.board ? run_stop(&c->crowd, failed) : 0;
    run_fini(&c->crowd);
    return r;
}

static int online(struct costs *c, const char *step, unsigned batch)
{
    unsigned n = c->o->count;
    uint64_t had = board_tally(c->crowd.board).others;
    if (take(c, &c->a) || push_all(c, "e", n, c->o->subs, batch) || until(c, all_received, had + n, step) ||
        take(c, &c->b))
        return -1;
    put(c, step, n, 0);
    return 0;
}

static int acks(struct costs *c)
{
    unsigned users = c->o->count < c->o->subs ? c->o->count : c->o->subs;
    if (take(c, &c->a))
        return -1;
    board_set_phase(c->crowd.board, PHASE_DRAIN); /* each client acknowledges what it has */
    if (until(c, all_acked, users, "acks") || take(c, &c->b))
        return -1;
    put(c, "ack of a user, flushed", users, 0);
    return 0;
}

static int empty_inboxes(struct costs *c)
{
    if (take(c, &c->a) || open_crowd(c, "e", c->o->subs, "?ack=explicit") || take(c, &c->b))
        return -1;
    put(c, "connect, empty inbox", c->o->subs, c->o->subs);
    return online(c, "to a user online, 1 a call", 1) || online(c, "to a user online, 16 a call", BATCH) || acks(c) ? -1
                                                                                                                    : 0;
}

static int full_inboxes(struct costs *c)
{
    unsigned users = c->o->subs / EACH;
    if (push_all(c, "f", users * FULL, users, BATCH) || take(c, &c->a) || open_crowd(c, "f", users, "") ||
        until(c, all_received, (uint64_t)users * FULL, "full inboxes") || take(c, &c->b))
        return -1;
    put(c, "connect, 100 waiting", users, 0);
    return 0;
}

static int open_all(struct costs *c)
{
    char http[700];
    const struct options *o = c->o;
    if (!o->url || strncmp(o->url, "ws://", 5) != 0 || !o->publish || !o->server_pid || !o->other_pid) {
        fprintf(stderr, "crier-bench: costs wants --url ws://, --publish redis://, --server-pid and --other-pid\n");
        return -1;
    }
    if (o->subs < EACH * o->procs || o->count < EACH * BATCH || o->size > 4096) {
        fprintf(stderr, "crier-bench: costs wants %u --subs a process, %u --count, --size up to 4096\n", EACH,
                EACH * BATCH);
        return -1;
    }
    snprintf(http, sizeof http, "http://%.690s", o->url + 5);
    return pids_parse(&c->server, o->server_pid) || pids_parse(&c->other, o->other_pid) || ask_open(&c->broker, http) ||
                   ask_open(&c->redis, o->publish)
               ? -1
               : 0;
}

/* Lets the broker deal with what the clients left behind. */
static int settle(void)
{
    struct timespec ts = {.tv_sec = SETTLE_S};
    return nanosleep(&ts, NULL);
}

static int measure(struct costs *c)
{
    if (open_all(c))
        return -1;
    int r = empty_inboxes(c);
    if (close_crowd(c, r != 0) || r || settle() || away(c, "to a user away, 1 a call", "o", 1) ||
        away(c, "to a user away, 16 a call", "p", BATCH))
        return -1;
    r = full_inboxes(c);
    return close_crowd(c, r != 0) || r ? -1 : 0;
}

int measure_costs(const struct options *o)
{
    struct costs *c = calloc(1, sizeof *c);
    if (!c)
        return 1;
    c->o = o;
    c->broker.fd = c->redis.fd = -1;
    int r = measure(c);
    ask_close(&c->broker);
    ask_close(&c->redis);
    free(c);
    return r ? 1 : 0;
}
