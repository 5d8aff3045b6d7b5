/*
 * store_bench.h - a store on an event loop in the test's own thread, and everything it says, recorded.
 */
#ifndef TEST_STORE_BENCH_H
#define TEST_STORE_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four above */
#include <cmocka.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/msg.h"
#include "store/store.h"

#define MAX_SEEN 4096

struct bench {
    struct config cfg;
    struct event_base *base;
    struct event *beat; /* turns the loop while a condition is waited for */
    struct metrics metrics;
    struct store *store;
    char node[64];
    unsigned njobs, ndone, nbehind, nstates;
    struct job *jobs[MAX_SEEN];
    struct op *done[MAX_SEEN];
    char behind_user[128];
    uint64_t behind_seq;
    bool state, ready;
    char room_behind[128];
    uint64_t room_behind_seq;
    unsigned nroom_behind, nchanges;
    struct presence *changes[MAX_SEEN];
    char renamed[256];
    unsigned naudits;
};

static inline void bench_job(void *arg, struct job *j)
{
    struct bench *b = arg;
    assert_true(b->njobs < MAX_SEEN);
    b->jobs[b->njobs++] = j;
}

static inline void bench_done(void *arg, struct op *op)
{
    struct bench *b = arg;
    assert_true(b->ndone < MAX_SEEN);
    b->done[b->ndone++] = op;
}

static inline void bench_state(void *arg, bool on)
{
    struct bench *b = arg;
    b->state = on;
    b->nstates++;
}

static inline void bench_ready(void *arg, bool on)
{
    ((struct bench *)arg)->ready = on;
}

static inline void bench_behind(void *arg, struct span user, uint64_t seq)
{
    struct bench *b = arg;
    snprintf(b->behind_user, sizeof(b->behind_user), "%.*s", SPAN_ARG(user));
    b->behind_seq = seq;
    b->nbehind++;
}

static inline void bench_renamed(void *arg, const char *name)
{
    struct bench *b = arg;
    snprintf(b->renamed, sizeof(b->renamed), "%s", name);
}

static inline void bench_audit(void *arg)
{
    ((struct bench *)arg)->naudits++;
}

static inline void bench_about(void *arg, struct store_about *out)
{
    const struct bench *b = arg;
    *out = (struct store_about){.address = "127.0.0.1:1",
                                .since_ms = 1000,
                                .clients = 3,
                                .users = 2,
                                .stored = metric_get(&b->metrics, M_STORED)};
}

static inline void bench_room_behind(void *arg, struct span room, uint64_t seq)
{
    struct bench *b = arg;
    snprintf(b->room_behind, sizeof(b->room_behind), "%.*s", SPAN_ARG(room));
    b->room_behind_seq = seq;
    b->nroom_behind++;
}

static inline void bench_presence(void *arg, struct presence *p)
{
    struct bench *b = arg;
    assert_true(b->nchanges < MAX_SEEN);
    b->changes[b->nchanges++] = p;
}

static inline void bench_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
}

/* Everything but the store. url NULL: embedded. */
static inline void bench_init(struct bench *b, const char *url, const char *prefix, const char *node)
{
    memset(b, 0, sizeof(*b));
    config_init(&b->cfg);
    b->cfg.redis = url ? strdup(url) : NULL;
    free(b->cfg.prefix);
    b->cfg.prefix = strdup(prefix);
    snprintf(b->node, sizeof(b->node), "%s", node);
    metrics_init(&b->metrics, "test");
    struct event_config *ec = event_config_new();
    event_config_set_flag(ec, EVENT_BASE_FLAG_NOLOCK);
    b->base = event_base_new_with_config(ec);
    event_config_free(ec);
    b->beat = event_new(b->base, -1, EV_PERSIST, bench_tick, NULL);
    struct timeval tv = {0, 5000};
    event_add(b->beat, &tv);
}

static inline void bench_open(struct bench *b)
{
    struct store_up up = {.arg = b,
                          .job = bench_job,
                          .done = bench_done,
                          .state = bench_state,
                          .ready = bench_ready,
                          .room_behind = bench_room_behind,
                          .presence = bench_presence,
                          .behind = bench_behind,
                          .about = bench_about,
                          .audit = bench_audit,
                          .renamed = bench_renamed};
    char err[160] = "";
    b->state = b->ready = false;
    b->store = b->cfg.redis ? store_redis_new(&b->cfg, b->base, &b->metrics, b->node, &up, err, sizeof(err))
                            : store_memory_new(&b->cfg, b->base, &b->metrics, b->node, &up, err, sizeof(err));
    if (!b->store)
        fail_msg("%s", err);
}

static inline void bench_forget(struct bench *b)
{
    for (unsigned i = 0; i < b->njobs; i++)
        job_unref(b->jobs[i]);
    for (unsigned i = 0; i < b->ndone; i++)
        op_free(b->done[i]);
    for (unsigned i = 0; i < b->nchanges; i++)
        free(b->changes[i]);
    b->njobs = b->ndone = b->nchanges = 0;
}

static inline void bench_close(struct bench *b)
{
    b->store->ops->free(b->store);
    bench_forget(b);
    event_free(b->beat);
    event_base_free(b->base);
    config_fini(&b->cfg);
}

/* Turns the loop until cond holds; fails after 10 s. */
#define BENCH_WAIT(b, cond)                                                                                            \
    do {                                                                                                               \
        uint64_t give_up_ = clock_mono_ms() + 10000;                                                                   \
        while (!(cond)) {                                                                                              \
            if (clock_mono_ms() > give_up_)                                                                            \
                fail_msg("waited too long for: %s", #cond);                                                            \
            event_base_loop((b)->base, EVLOOP_ONCE);                                                                   \
        }                                                                                                              \
    } while (0)

/* ---- ops ---- */

static inline char *text(const char *s)
{
    return s ? strdup(s) : NULL;
}

/* Submits and waits; the op stays recorded until bench_forget. */
static inline struct op *bench_run(struct bench *b, struct op *op)
{
    b->store->ops->submit(b->store, op);
    for (;;) {
        for (unsigned i = 0; i < b->ndone; i++) {
            if (b->done[i] == op)
                return op;
        }
        unsigned before = b->ndone;
        BENCH_WAIT(b, b->ndone > before);
    }
}

static inline struct op *push_op(enum target_kind kind, const char *name, const char *payload, const char *id,
                                 uint32_t ttl_s)
{
    struct op *op = op_new(OP_PUSH);
    op->push.ntargets = 1;
    op->push.targets = calloc(1, sizeof(struct op_target));
    op->push.targets[0].kind = kind;
    op->push.targets[0].name = text(name);
    op->push.payload = (uint8_t *)text(payload);
    op->push.payload_len = strlen(payload);
    op->push.id = text(id);
    op->push.ttl_s = ttl_s;
    op->push.priority = PRIO_NORMAL;
    return op;
}

static inline struct op_target *bench_push(struct bench *b, enum target_kind kind, const char *name,
                                           const char *payload, const char *id, uint32_t ttl_s)
{
    return &bench_run(b, push_op(kind, name, payload, id, ttl_s))->push.targets[0];
}

static inline struct op *attach_op(const char *user, const char *device, bool named, bool has_since, uint64_t since)
{
    struct op *op = op_new(OP_ATTACH);
    op->attach.user = text(user);
    op->attach.device = text(device);
    op->attach.named = named;
    op->attach.has_since = has_since;
    op->attach.since = since;
    return op;
}

static inline struct op_attach *bench_attach(struct bench *b, const char *user, const char *device)
{
    struct op *op = bench_run(b, attach_op(user, device, true, false, 0));
    assert_int_equal(op->status, OP_OK);
    return &op->attach;
}

static inline struct op_page *bench_fetch(struct bench *b, const char *user, uint64_t from)
{
    struct op *op = op_new(OP_FETCH);
    op->fetch.user = text(user);
    op->fetch.from = from;
    bench_run(b, op);
    assert_int_equal(op->status, OP_OK);
    return &op->fetch.page;
}

static inline struct op *ack_op(const char *user, const char *device, uint64_t seq)
{
    struct op *op = op_new(OP_ACK);
    op->ack.n = 1;
    op->ack.v = calloc(1, sizeof(*op->ack.v));
    op->ack.v[0].user = text(user);
    op->ack.v[0].device = text(device);
    op->ack.v[0].named = true;
    op->ack.v[0].seq = seq;
    return op;
}

static inline void bench_ack(struct bench *b, const char *user, const char *device, uint64_t seq)
{
    assert_int_equal(bench_run(b, ack_op(user, device, seq))->status, OP_OK);
}

static inline void bench_detach(struct bench *b, const char *user, const char *device, bool last, uint64_t acked)
{
    struct op *op = op_new(OP_DETACH);
    op->detach.user = text(user);
    op->detach.device = text(device);
    op->detach.named = true;
    op->detach.last = last;
    op->detach.acked = acked;
    bench_run(b, op);
}

static inline bool span_says(struct span s, const char *t)
{
    return span_eq(s, span_str(t));
}

#endif
