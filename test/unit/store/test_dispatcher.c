/*
 * test_dispatcher.c - the dispatcher's thread, run for real, with inboxes that the test reads in the shards' stead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four above */
#include <cmocka.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/hash.h"
#include "core/inbox.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/msg.h"
#include "store/dispatcher.h"
#include "store/redis_proc.h"

enum { SHARDS = 3, MAIN = SHARDS, ALL = SHARDS + 1, LANE = 64, MAX_GOT = 20000 };

static struct redis_proc server;
static const char *backend_url;
static unsigned serial;

struct seen {
    unsigned n;
    struct item got[MAX_GOT];
};

struct stage {
    struct config cfg;
    struct inbox *in, *shards[SHARDS], *main;
    struct metrics metrics;
    uint64_t key[2];
    _Atomic bool ready;
    struct dispatcher *d;
    struct seen seen[ALL]; /* of the shards, and of main */
};

static void take(void *arg, struct item it)
{
    struct seen *s = arg;
    assert_true(s->n < MAX_GOT);
    s->got[s->n++] = it;
}

static struct inbox *inbox_of(struct stage *s, unsigned who)
{
    return who == MAIN ? s->main : s->shards[who];
}

static void drain(struct stage *s, unsigned who)
{
    inbox_drain(inbox_of(s, who), 1000, take, &s->seen[who]);
}

/* Waits until the shard (or main) has got its n-th item of a kind; returns it. */
static struct item *wait_item(struct stage *s, unsigned who, enum msg_kind kind, unsigned nth)
{
    uint64_t give_up = clock_mono_ms() + 10000;
    for (;;) {
        unsigned found = 0;
        for (unsigned i = 0; i < s->seen[who].n; i++) {
            if (s->seen[who].got[i].kind == kind && found++ == nth)
                return &s->seen[who].got[i];
        }
        if (clock_mono_ms() > give_up)
            fail_msg("item %u of kind %d never came to %u", nth, kind, who);
        struct pollfd p = {inbox_fd(inbox_of(s, who)), POLLIN, 0};
        poll(&p, 1, 1000);
        drain(s, who);
    }
}

static unsigned count(struct stage *s, unsigned who, enum msg_kind kind)
{
    unsigned n = 0;
    drain(s, who);
    for (unsigned i = 0; i < s->seen[who].n; i++)
        n += s->seen[who].got[i].kind == kind;
    return n;
}

#define WAIT(cond)                                                                                                     \
    do {                                                                                                               \
        uint64_t give_up_ = clock_mono_ms() + 10000;                                                                   \
        while (!(cond)) {                                                                                              \
            if (clock_mono_ms() > give_up_)                                                                            \
                fail_msg("waited too long for: %s", #cond);                                                            \
            poll(NULL, 0, 1);                                                                                          \
        }                                                                                                              \
    } while (0)

static void post(struct stage *s, unsigned lane, struct item it)
{
    WAIT(inbox_push(s->in, lane, it));
}

static void post_op(struct stage *s, struct op *op)
{
    post(s, op->shard, (struct item){MSG_OP, 0, op});
}

static int setup(void **state)
{
    struct stage *s = calloc(1, sizeof(*s));
    char err[200] = "";
    config_init(&s->cfg);
    s->cfg.linger_ms = 50;
    s->cfg.redis = backend_url ? strdup(backend_url) : NULL;
    free(s->cfg.prefix);
    s->cfg.prefix = malloc(32);
    snprintf(s->cfg.prefix, 32, "d%u:", serial++);
    metrics_init(&s->metrics, "dispatcher");
    random_bytes(s->key, sizeof(s->key));
    s->in = inbox_new(SHARDS + 2, LANE);
    s->main = inbox_new(SHARDS + 2, LANE);
    for (unsigned i = 0; i < SHARDS; i++) {
        s->shards[i] = inbox_new(SHARDS + 2, LANE);
        inbox_set_wake(s->shards[i], SHARDS, s->in);
    }
    inbox_set_wake(s->main, SHARDS, s->in);
    struct dispatcher_env env = {.cfg = &s->cfg,
                                 .node = "node-1.abc",
                                 .nshards = SHARDS,
                                 .inbox = s->in,
                                 .shards = s->shards,
                                 .main = s->main,
                                 .metrics = &s->metrics,
                                 .owner_key = s->key,
                                 .ready = &s->ready};
    s->d = dispatcher_start(&env, err, sizeof(err));
    if (!s->d)
        fail_msg("%s", err);
    for (unsigned i = 0; i < ALL; i++) {
        unsigned nth = 0; /* Redis may be reported away first */
        while (wait_item(s, i, MSG_STORE_STATE, nth)->arg == 0)
            nth++;
    }
    WAIT(atomic_load(&s->ready));
    *state = s;
    return 0;
}

static void stop(struct stage *s)
{
    post(s, MAIN + 1, (struct item){MSG_STOP, STOP_NOW, NULL});
    dispatcher_join(s->d);
    s->d = NULL;
}

static int teardown(void **state)
{
    struct stage *s = *state;
    if (s->d)
        stop(s);
    for (unsigned i = 0; i < ALL; i++) {
        for (unsigned k = 0; k < s->seen[i].n; k++)
            msg_drop(NULL, s->seen[i].got[k]);
        inbox_free(inbox_of(s, i), msg_drop, NULL);
    }
    inbox_free(s->in, msg_drop, NULL);
    config_fini(&s->cfg);
    free(s);
    return 0;
}

/* ---- ops ---- */

static struct op *push_op(unsigned shard, enum target_kind kind, const char *name, const char *payload)
{
    struct op *op = op_new(OP_PUSH);
    op->shard = shard;
    op->push.ntargets = 1;
    op->push.targets = calloc(1, sizeof(struct op_target));
    op->push.targets[0].kind = kind;
    op->push.targets[0].name = strdup(name);
    op->push.payload = (uint8_t *)strdup(payload);
    op->push.payload_len = strlen(payload);
    op->push.ttl_s = UINT32_MAX;
    return op;
}

static struct op *interest_op(unsigned shard, const char *room, bool on)
{
    struct op *op = op_new(OP_INTEREST);
    op->shard = shard;
    op->interest.room = strdup(room);
    op->interest.on = on;
    return op;
}

static struct op *reply(struct stage *s, unsigned shard, unsigned nth)
{
    return wait_item(s, shard, MSG_OP, nth)->ptr;
}

static unsigned owner(struct stage *s, const char *user)
{
    return (unsigned)(siphash13(s->key, span_str(user)) % SHARDS);
}

static void attach(struct stage *s, const char *user)
{
    struct op *op = op_new(OP_ATTACH);
    op->shard = owner(s, user);
    op->attach.user = strdup(user);
    op->attach.device = strdup("d");
    unsigned before = count(s, op->shard, MSG_OP);
    post_op(s, op);
    assert_ptr_equal(reply(s, op->shard, before), op);
    assert_int_equal(op->status, OP_OK);
}

/* ---- where things go ---- */

static void a_users_message_goes_to_the_owner_alone(void **state)
{
    struct stage *s = *state;
    unsigned own = owner(s, "alice"), other = (own + 1) % SHARDS;
    attach(s, "alice");
    post_op(s, push_op(other, TARGET_USER, "alice", "1"));
    assert_int_equal(reply(s, other, 0)->push.targets[0].online, 1);
    struct job *j = wait_item(s, own, MSG_JOB, 0)->ptr;
    assert_true(j->head.seq > 0);
    for (unsigned i = 0; i < SHARDS; i++)
        assert_int_equal(count(s, i, MSG_JOB), i == own);
}

static void a_rooms_message_goes_where_interest_is(void **state)
{
    struct stage *s = *state;
    post_op(s, interest_op(0, "news", true));
    post_op(s, interest_op(2, "news", true));
    assert_int_equal(reply(s, 0, 0)->status, OP_OK);
    assert_int_equal(reply(s, 2, 0)->status, OP_OK);
    post_op(s, push_op(1, TARGET_ROOM, "news", "1"));
    post_op(s, push_op(1, TARGET_ALL, "", "2"));
    struct job *one = wait_item(s, 0, MSG_JOB, 0)->ptr, *two = wait_item(s, 2, MSG_JOB, 0)->ptr;
    assert_ptr_equal(one, two); /* shared */
    for (unsigned i = 0; i < SHARDS; i++) {
        struct job *all = wait_item(s, i, MSG_JOB, i == 1 ? 0 : 1)->ptr;
        assert_int_equal(all->head.kind, TARGET_ALL);
    }
    post_op(s, interest_op(0, "news", false));
    post_op(s, push_op(0, TARGET_ROOM, "news", "3"));
    wait_item(s, 2, MSG_JOB, 2);
    assert_int_equal(count(s, 0, MSG_JOB), 2);
}

static void the_last_to_leave_starts_the_linger(void **state)
{
    struct stage *s = *state;
    uint64_t base = metric_get(&s->metrics, M_CHANNELS);
    post_op(s, interest_op(0, "a", true));
    post_op(s, interest_op(0, "b", true));
    reply(s, 0, 1);
    assert_int_equal(metric_get(&s->metrics, M_CHANNELS), base + 2);
    post_op(s, interest_op(0, "a", false));
    post_op(s, interest_op(0, "b", false));
    post_op(s, interest_op(1, "b", true)); /* back before the linger ends */
    assert_int_equal(reply(s, 1, 0)->status, OP_OK);
    WAIT(metric_get(&s->metrics, M_CHANNELS) == base + 1);
    post_op(s, push_op(2, TARGET_ROOM, "b", "1"));
    wait_item(s, 1, MSG_JOB, 0);
    post_op(s, push_op(2, TARGET_ROOM, "a", "1"));
    assert_int_equal(reply(s, 2, 1)->push.targets[0].online, 0);
}

static void ops_come_back_to_who_asked(void **state)
{
    struct stage *s = *state;
    for (unsigned i = 0; i < SHARDS; i++) {
        struct op *op = push_op(i, TARGET_USER, "bob", "1");
        op->serial = 100 + i;
        op->conn = 7;
        post_op(s, op);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        assert_int_equal(reply(s, i, 0)->serial, 100 + i);
        assert_int_equal(reply(s, i, 0)->conn, 7);
    }
    struct op *stray = push_op(0, TARGET_USER, "bob", "1");
    stray->shard = 99;
    post(s, 0, (struct item){MSG_OP, 0, stray}); /* freed: the sanitizer would see it */
}

/* ---- full lanes ---- */

static void a_shard_that_sleeps_finds_its_users_behind(void **state)
{
    struct stage *s = *state;
    enum { SENDS = 300 };
    unsigned own = owner(s, "alice"), other = (own + 1) % SHARDS;
    attach(s, "alice");
    unsigned items = s->seen[own].n;
    uint64_t top = 0;
    for (unsigned i = 0; i < SENDS; i++) {
        post_op(s, push_op(other, TARGET_USER, "alice", "1"));
        top = reply(s, other, i)->push.targets[0].seq;
    }
    WAIT(metric_get(&s->metrics, M_LANE_FULL) >= SENDS - LANE);
    struct behind *b = NULL; /* those that found room came; for the rest there is one word, or a later one */
    for (unsigned i = 0; !b || b->seq < top; i++)
        b = wait_item(s, own, MSG_BEHIND, i)->ptr;
    assert_string_equal(b->user, "alice");
    assert_int_equal(b->seq, top);
    assert_true(s->seen[own].n - items >= LANE);
    assert_int_equal(metric_get(&s->metrics, M_DROP_LANE), 0);
}

static void replies_wait_for_a_shard_that_sleeps(void **state)
{
    struct stage *s = *state;
    enum { OPS = 500 };
    for (unsigned i = 0; i < OPS; i++) {
        struct op *op = push_op(0, TARGET_USER, "bob", "1");
        op->serial = i;
        post_op(s, op);
    }
    for (unsigned i = 0; i < OPS; i++)
        assert_int_equal(reply(s, 0, i)->serial, i);
}

/* ---- the end ---- */

static void draining_serves_on_and_is_not_ready(void **state)
{
    struct stage *s = *state;
    post(s, MAIN + 1, (struct item){MSG_STOP, STOP_DRAIN, NULL});
    WAIT(!atomic_load(&s->ready));
    post_op(s, push_op(1, TARGET_USER, "bob", "1"));
    assert_int_equal(reply(s, 1, 0)->status, OP_OK);
    post(s, 1, (struct item){MSG_STOPPED, 1, NULL});
    assert_int_equal(wait_item(s, MAIN, MSG_STOPPED, 0)->arg, 1);
}

static void what_was_posted_before_the_end_is_carried_out(void **state)
{
    struct stage *s = *state;
    attach(s, "alice");
    unsigned own = owner(s, "alice");
    post_op(s, push_op(own, TARGET_USER, "alice", "1"));
    uint64_t seq = reply(s, own, 1)->push.targets[0].seq;
    struct op *op = op_new(OP_DETACH);
    op->shard = own;
    op->detach.user = strdup("alice");
    op->detach.device = strdup("d");
    op->detach.last = true;
    op->detach.acked = seq;
    post_op(s, op);
    stop(s);
    assert_false(atomic_load(&s->ready));
    if (!backend_url)
        return;
    redisReply *r = redisCommand(server.c, "EXISTS %s{52}:q:alice", s->cfg.prefix);
    assert_int_equal(r->integer, 0);
    freeReplyObject(r);
    r = redisCommand(server.c, "HLEN %s{c}:nodes", s->cfg.prefix);
    assert_int_equal(r->integer, 0);
    freeReplyObject(r);
}

static void a_wrong_url_is_one_sentence(void **state)
{
    (void)state;
    struct config cfg;
    char err[200] = "";
    config_init(&cfg);
    cfg.redis = strdup("redis://");
    struct metrics m;
    metrics_init(&m, "d");
    struct inbox *in = inbox_new(3, 4), *shard = inbox_new(3, 4);
    _Atomic bool ready = false;
    struct dispatcher_env env = {.cfg = &cfg,
                                 .node = "n",
                                 .nshards = 1,
                                 .inbox = in,
                                 .shards = &shard,
                                 .main = in,
                                 .metrics = &m,
                                 .owner_key = (const uint64_t[]){1, 2},
                                 .ready = &ready};
    assert_null(dispatcher_start(&env, err, sizeof(err)));
    assert_non_null(strstr(err, "URL"));
    env.nshards = 65;
    assert_null(dispatcher_start(&env, err, sizeof(err)));
    inbox_free(in, NULL, NULL);
    inbox_free(shard, NULL, NULL);
    config_fini(&cfg);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    log_setup(LOG_ERROR, false, "test");
    const struct CMUnitTest tests[] = {
        T(a_users_message_goes_to_the_owner_alone),    T(a_rooms_message_goes_where_interest_is),
        T(the_last_to_leave_starts_the_linger),        T(ops_come_back_to_who_asked),
        T(a_shard_that_sleeps_finds_its_users_behind), T(replies_wait_for_a_shard_that_sleeps),
        T(draining_serves_on_and_is_not_ready),        T(what_was_posted_before_the_end_is_carried_out),
        cmocka_unit_test(a_wrong_url_is_one_sentence),
    };
    int bad = cmocka_run_group_tests_name("dispatcher, embedded store", tests, NULL, NULL);
    redis_proc_start(&server);
    backend_url = server.url;
    bad += cmocka_run_group_tests_name("dispatcher, redis", tests, NULL, NULL);
    redis_proc_stop(&server);
    return bad;
}
