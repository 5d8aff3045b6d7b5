/*
 * test_outlane.c - what becomes of items when the lane to a shard is full.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four above */
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/job.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/msg.h"
#include "proto/job_codec.h"
#include "store/outlane.h"

enum { CAPACITY = 4 };

struct shard {
    struct inbox *inbox;
    struct metrics metrics;
    struct outlane lane;
    unsigned n;
    struct item got[4096];
};

static int setup(void **state)
{
    struct shard *s = calloc(1, sizeof(*s));
    s->inbox = inbox_new(1, CAPACITY);
    metrics_init(&s->metrics, "test");
    outlane_init(&s->lane, s->inbox, 0, &s->metrics);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct shard *s = *state;
    outlane_fini(&s->lane);
    for (unsigned i = 0; i < s->n; i++)
        msg_drop(NULL, s->got[i]);
    inbox_free(s->inbox, msg_drop, NULL);
    free(s);
    return 0;
}

static struct job *make(enum target_kind kind, const char *name, uint64_t seq, enum priority priority)
{
    struct job *j = job_pack(&(struct job_head){.kind = kind,
                                                .target = span_str(name),
                                                .seq = seq,
                                                .id = SPAN_LIT("id"),
                                                .priority = priority,
                                                .data = SPAN_LIT("1")});
    assert_non_null(j);
    return j;
}

static void take(void *arg, struct item it)
{
    struct shard *s = arg;
    s->got[s->n++] = it;
}

/* The shard drains, the dispatcher flushes, until nothing comes any more. */
static void drain_all(struct shard *s)
{
    unsigned before;
    do {
        before = s->n;
        inbox_drain(s->inbox, 256, take, s);
        outlane_flush(&s->lane);
    } while (s->n > before);
    assert_false(outlane_waiting(&s->lane));
}

static void fill(struct shard *s)
{
    for (unsigned i = 0; i < CAPACITY; i++)
        outlane_job(&s->lane, make(TARGET_ALL, "", 0, PRIO_NORMAL));
    assert_false(outlane_waiting(&s->lane));
    assert_int_equal(inbox_room(s->inbox, 0), 0);
}

static void stored_messages_become_one_mark_a_user(void **state)
{
    struct shard *s = *state;
    fill(s);
    outlane_job(&s->lane, make(TARGET_USER, "alice", 5, PRIO_LOW));
    outlane_job(&s->lane, make(TARGET_USER, "bob", 6, PRIO_HIGH));
    outlane_job(&s->lane, make(TARGET_USER, "alice", 9, PRIO_NORMAL));
    outlane_job(&s->lane, make(TARGET_USER, "alice", 7, PRIO_NORMAL));
    outlane_behind(&s->lane, SPAN_LIT("carol"), 3);
    drain_all(s);
    assert_int_equal(s->n, CAPACITY + 3);
    unsigned seen = 0;
    for (unsigned i = CAPACITY; i < s->n; i++) {
        assert_int_equal(s->got[i].kind, MSG_BEHIND);
        struct behind *b = s->got[i].ptr;
        if (strcmp(b->user, "alice") == 0 && b->seq == 9)
            seen |= 1;
        if (strcmp(b->user, "bob") == 0 && b->seq == 6)
            seen |= 2;
        if (strcmp(b->user, "carol") == 0 && b->seq == 3)
            seen |= 4;
    }
    assert_int_equal(seen, 7);
    assert_int_equal(metric_get(&s->metrics, M_DROP_LANE), 0);
    assert_int_equal(metric_get(&s->metrics, M_LANE_FULL), 4);
}

static void live_messages_go_by_priority(void **state)
{
    struct shard *s = *state;
    fill(s);
    outlane_job(&s->lane, make(TARGET_ROOM, "r", 0, PRIO_LOW));
    outlane_job(&s->lane, make(TARGET_USER, "alice", 0, PRIO_NORMAL));
    for (unsigned i = 0; i < OUTLANE_URGENT + 10; i++)
        outlane_job(&s->lane, make(TARGET_ROOM, "r", 0, PRIO_HIGH));
    assert_int_equal(metric_get(&s->metrics, M_DROP_LANE), 12);
    drain_all(s);
    assert_int_equal(s->n, CAPACITY + OUTLANE_URGENT);
    assert_int_equal(((struct job *)s->got[CAPACITY].ptr)->head.priority, PRIO_HIGH);
}

static void replies_and_state_are_never_lost(void **state)
{
    struct shard *s = *state;
    fill(s);
    for (unsigned i = 0; i < 20; i++) {
        struct op *op = op_new(OP_FETCH);
        op->serial = i;
        outlane_reply(&s->lane, op);
    }
    outlane_state(&s->lane, false);
    outlane_state(&s->lane, true);
    drain_all(s);
    assert_int_equal(s->n, CAPACITY + 21);
    assert_int_equal(s->got[CAPACITY].kind, MSG_STORE_STATE); /* the last one only */
    assert_int_equal(s->got[CAPACITY].arg, 1);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(((struct op *)s->got[CAPACITY + 1 + i].ptr)->serial, i);
}

static void what_waits_goes_first(void **state)
{
    struct shard *s = *state;
    fill(s);
    outlane_reply(&s->lane, op_new(OP_ACK));
    inbox_drain(s->inbox, 256, take, s);
    outlane_job(&s->lane, make(TARGET_ALL, "", 0, PRIO_NORMAL));
    inbox_drain(s->inbox, 256, take, s);
    assert_int_equal(s->n, CAPACITY + 2);
    assert_int_equal(s->got[CAPACITY].kind, MSG_OP);
    assert_int_equal(s->got[CAPACITY + 1].kind, MSG_JOB);
}

static void what_still_waits_is_freed(void **state)
{
    struct shard *s = *state;
    fill(s);
    outlane_reply(&s->lane, op_new(OP_ACK));
    outlane_job(&s->lane, make(TARGET_USER, "alice", 5, PRIO_LOW));
    outlane_job(&s->lane, make(TARGET_ROOM, "r", 0, PRIO_HIGH));
    assert_true(outlane_waiting(&s->lane)); /* the sanitizer sees whether teardown frees all of it */
}

static bool rung(struct shard *s)
{
    struct pollfd p = {.fd = inbox_fd(s->inbox), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void the_doorbell_is_rung_once_a_turn(void **state)
{
    struct shard *s = *state;
    outlane_ring(&s->lane);
    assert_false(rung(s)); /* nothing to tell */
    outlane_job(&s->lane, make(TARGET_ROOM, "r", 0, PRIO_NORMAL));
    outlane_reply(&s->lane, op_new(OP_ACK));
    assert_false(rung(s));
    outlane_ring(&s->lane);
    assert_true(rung(s));
    drain_all(s);
    assert_false(rung(s));
    outlane_ring(&s->lane);
    assert_false(rung(s)); /* it was told already */
    /* A lane that fills before the turn is over does not wait for its end. */
    for (unsigned i = 0; i < CAPACITY; i++)
        outlane_job(&s->lane, make(TARGET_ROOM, "r", 0, PRIO_NORMAL));
    assert_false(rung(s));
    outlane_reply(&s->lane, op_new(OP_ACK));
    assert_true(rung(s));
    drain_all(s);
    assert_int_equal(s->n, 2 + CAPACITY + 1);
}

static void a_long_turn_rings_before_its_end(void **state)
{
    struct shard *s = *state;
    outlane_fini(&s->lane);
    inbox_free(s->inbox, NULL, NULL);
    s->inbox = inbox_new(1, 1024);
    outlane_init(&s->lane, s->inbox, 0, &s->metrics);
    for (unsigned i = 0; i < OUTLANE_UNRUNG - 1; i++)
        outlane_job(&s->lane, make(TARGET_ROOM, "r", 0, PRIO_NORMAL));
    assert_false(rung(s));
    outlane_job(&s->lane, make(TARGET_ROOM, "r", 0, PRIO_NORMAL));
    assert_true(rung(s));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    log_setup(LOG_ERROR, false, "test");
    const struct CMUnitTest tests[] = {
        T(stored_messages_become_one_mark_a_user),
        T(live_messages_go_by_priority),
        T(replies_and_state_are_never_lost),
        T(what_waits_goes_first),
        T(what_still_waits_is_freed),
        T(the_doorbell_is_rung_once_a_turn),
        T(a_long_turn_rings_before_its_end),
    };
    return cmocka_run_group_tests_name("outlane", tests, NULL, NULL);
}
