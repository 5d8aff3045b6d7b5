/*
 * Inboxes. First alone, rule by rule; then under stress, meant for ThreadSanitizer too: flood, an idle producer, full
 * lanes, many producers.
 *
 * Nobody spins and nobody sleeps by the clock: whoever has nothing to do is in poll(2) on its doorbell, as in the
 * broker. A wake-up that is lost leaves a thread there until PATIENCE_MS is over, which is the failure. Threads only
 * note failures; the test's own thread asserts.
 */
#include "core/inbox.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rng.h"

enum { PATIENCE_MS = 20000, MAX_LANES = 6 };

static bool rung(const struct inbox *in, int wait_ms)
{
    struct pollfd p = {.fd = inbox_fd(in), .events = POLLIN};
    return poll(&p, 1, wait_ms) == 1;
}

static struct item number(uint32_t n)
{
    return (struct item){.kind = n, .arg = ~n, .ptr = NULL};
}

/* ---- alone ---- */

struct got {
    unsigned n;
    uint32_t kinds[64];
};

static void collect(void *arg, struct item it)
{
    struct got *g = arg;
    assert_int_equal(it.arg, ~it.kind);
    if (g->n < ARRAY_LEN(g->kinds))
        g->kinds[g->n] = it.kind;
    g->n++;
}

static void in_and_out(void **state)
{
    struct inbox *in = inbox_new(2, 4);
    struct got got = {0};
    (void)state;
    assert_non_null(in);
    assert_int_equal(inbox_lanes(in), 2);
    assert_false(rung(in, 0));
    assert_int_equal(inbox_drain(in, 10, collect, &got), 0);
    for (uint32_t round = 0; round < 10; round++) { /* more than once around the ring */
        for (uint32_t i = 0; i < 3; i++)
            assert_true(inbox_push(in, 1, number(round * 3 + i)));
        assert_int_equal(inbox_room(in, 1), 1);
        assert_int_equal(inbox_depth(in, 1), 3);
        assert_int_equal(inbox_depth(in, 0), 0);
        assert_true(rung(in, 0));
        got.n = 0;
        assert_int_equal(inbox_drain(in, 10, collect, &got), 3);
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(got.kinds[i], round * 3 + i);
        assert_false(rung(in, 0)); /* all taken: silent */
    }
    inbox_free(in, NULL, NULL);
}

static void pushed_quietly_rings_when_told(void **state)
{
    struct inbox *in = inbox_new(1, 4);
    struct got got = {0};
    (void)state;
    assert_non_null(in);
    assert_true(inbox_put(in, 0, number(0)));
    assert_true(inbox_put(in, 0, number(1)));
    assert_false(rung(in, 0));
    inbox_ring(in);
    assert_true(rung(in, 0));
    assert_int_equal(inbox_drain(in, 10, collect, &got), 2);
    inbox_free(in, NULL, NULL);
}

static void a_part_drained_rings_again(void **state)
{
    struct inbox *in = inbox_new(1, 64);
    struct got got = {0};
    (void)state;
    for (uint32_t i = 0; i < 50; i++)
        assert_true(inbox_push(in, 0, number(i)));
    for (unsigned left = 50; left > 0; left -= 10) {
        assert_true(rung(in, 0));
        assert_int_equal(inbox_drain(in, 10, collect, &got), 10);
    }
    assert_false(rung(in, 0)); /* stopped at the limit, but nothing was left */
    assert_int_equal(got.n, 50);
    assert_true(inbox_push(in, 0, number(0)));
    assert_int_equal(inbox_drain(in, 0, collect, &got), 0);
    assert_true(rung(in, 0));
    inbox_ring(in);
    assert_int_equal(inbox_drain(in, 5, collect, &got), 1);
    inbox_ring(in); /* without an item */
    assert_true(rung(in, 0));
    assert_int_equal(inbox_drain(in, 5, collect, &got), 0);
    assert_false(rung(in, 0));
    inbox_free(in, NULL, NULL);
}

static void a_full_lane_wakes_its_producer(void **state)
{
    struct inbox *in = inbox_new(2, 8), *producer = inbox_new(1, 2);
    struct got got = {0};
    (void)state;
    inbox_set_wake(in, 0, producer);
    for (uint32_t i = 0; i < 8; i++)
        assert_true(inbox_push(in, 0, number(i)));
    assert_int_equal(inbox_drain(in, 8, collect, &got), 8);
    assert_false(rung(producer, 0)); /* it never found the lane full */
    for (uint32_t i = 0; i < 8; i++)
        assert_true(inbox_push(in, 0, number(i)));
    assert_false(inbox_push(in, 0, number(8)));
    assert_int_equal(inbox_room(in, 0), 0);
    assert_true(inbox_push(in, 1, number(1))); /* its neighbour is not disturbed */
    got.n = 0;
    while (!rung(producer, 0))
        assert_true(inbox_drain(in, 1, collect, &got) > 0);
    assert_true(inbox_room(in, 0) >= 4); /* woken for more than one item */
    assert_int_equal(inbox_drain(producer, 1, collect, &got), 0);
    assert_true(inbox_push(in, 0, number(8)));
    (void)inbox_drain(in, 100, collect, &got);
    assert_false(rung(producer, 0)); /* woken once */
    inbox_free(in, NULL, NULL);
    inbox_free(producer, NULL, NULL);
}

static void lanes_take_turns(void **state)
{
    struct inbox *in = inbox_new(3, 256);
    unsigned seen[3] = {0};
    struct got got = {0};
    (void)state;
    for (uint32_t lane = 0; lane < 3; lane++)
        for (uint32_t i = 0; i < 256; i++)
            assert_true(inbox_push(in, lane, number(lane)));
    for (unsigned call = 0; call < 12; call++) {
        got.n = 0;
        assert_int_equal(inbox_drain(in, 8, collect, &got), 8); /* a small limit: the next call goes on elsewhere */
        for (unsigned i = 0; i < 8; i++)
            seen[got.kinds[i]]++;
    }
    for (unsigned lane = 0; lane < 3; lane++)
        assert_int_equal(seen[lane], 32);
    inbox_free(in, NULL, NULL);
}

static void what_is_left_is_dropped(void **state)
{
    struct inbox *in = inbox_new(2, 4);
    struct got got = {0};
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        assert_true(inbox_push(in, i % 2, number(i)));
    inbox_free(in, collect, &got);
    assert_int_equal(got.n, 3);
    inbox_free(NULL, collect, &got);
}

static void bad_sizes(void **state)
{
    (void)state;
    assert_null(inbox_new(0, 4));
    assert_null(inbox_new(1, 0));
    assert_null(inbox_new(1, 1));
    assert_null(inbox_new(1, 6));
    assert_null(inbox_new(1, 1u << 31));
}

/* ---- stress ---- */

/* One producer thread: pushes 0, 1, 2, ... in bursts; on a full lane it sleeps at its own doorbell. */
struct producer {
    struct inbox *to, *own;
    unsigned lane;
    uint32_t items;
    unsigned burst;   /* items at a time; 0: all at once */
    bool wait_answer; /* after each burst: fall idle until the consumer has answered it */
    uint32_t answered;
    unsigned full; /* times the lane was full */
    bool lost;     /* a wake-up did not come */
    struct rng rng;
};

/* The consumer: checks the order of each lane, answers bursts that ask for it. */
struct consumer {
    struct inbox *in;
    struct producer *producers;
    uint32_t next[MAX_LANES];
    uint64_t taken;
    bool disorder, lost;
};

static void note_answer(void *arg, struct item it)
{
    struct producer *p = arg;
    p->answered = it.kind;
}

static bool sleep_at_doorbell(struct producer *p)
{
    if (!rung(p->own, PATIENCE_MS)) {
        p->lost = true;
        return false;
    }
    (void)inbox_drain(p->own, 16, note_answer, p);
    return true;
}

static void *produce(void *arg)
{
    struct producer *p = arg;
    for (uint32_t i = 0; i < p->items;) {
        uint32_t n = p->burst ? 1 + rng_below(&p->rng, p->burst) : p->items;
        for (; n > 0 && i < p->items; n--, i++) {
            bool last = n == 1 || i + 1 == p->items;
            struct item it = {.kind = i, .arg = last && p->wait_answer, .ptr = p};
            while (!inbox_push(p->to, p->lane, it)) {
                p->full++;
                if (!sleep_at_doorbell(p))
                    return NULL;
            }
        }
        while (p->wait_answer && p->answered != i)
            if (!sleep_at_doorbell(p))
                return NULL;
    }
    return NULL;
}

static void check_order(void *arg, struct item it)
{
    struct consumer *c = arg;
    struct producer *p = it.ptr;
    if (it.kind != c->next[p->lane])
        c->disorder = true;
    c->next[p->lane] = it.kind + 1;
    c->taken++;
    if (it.arg) /* room is sure: the producer waits for this very answer */
        c->disorder |= !inbox_push(p->own, 0, (struct item){.kind = it.kind + 1});
}

/* Takes all the producers' items, asleep whenever the doorbell is silent; `max` items a turn. */
static void consume(struct consumer *c, uint64_t total, unsigned max)
{
    while (c->taken < total && !c->lost) {
        if (rung(c->in, PATIENCE_MS))
            (void)inbox_drain(c->in, max, check_order, c);
        else
            c->lost = true;
    }
}

struct plan {
    unsigned producers, capacity, max;
    uint32_t items; /* a producer */
    unsigned burst;
    bool wait_answer;
};

static unsigned run(const struct plan *plan)
{
    pthread_t threads[MAX_LANES];
    struct producer p[MAX_LANES];
    struct consumer c = {.in = inbox_new(plan->producers, plan->capacity), .producers = p};
    unsigned full = 0;
    assert_non_null(c.in);
    for (unsigned i = 0; i < plan->producers; i++) {
        p[i] = (struct producer){.to = c.in, .lane = i, .items = plan->items, .burst = plan->burst};
        p[i].own = inbox_new(1, 4);
        p[i].rng.s = i + 1;
        p[i].wait_answer = plan->wait_answer;
        assert_non_null(p[i].own);
        inbox_set_wake(c.in, i, p[i].own);
    }
    for (unsigned i = 0; i < plan->producers; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &p[i]), 0);
    consume(&c, (uint64_t)plan->producers * plan->items, plan->max);
    for (unsigned i = 0; i < plan->producers; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_false(c.lost);
    assert_false(c.disorder);
    for (unsigned i = 0; i < plan->producers; i++) {
        assert_false(p[i].lost);
        assert_int_equal(c.next[i], plan->items);
        full += p[i].full;
        inbox_free(p[i].own, NULL, NULL);
    }
    inbox_free(c.in, NULL, NULL);
    return full;
}

static void flood(void **state)
{
    (void)state;
    (void)run(&(struct plan){.producers = 1, .capacity = 1024, .max = 256, .items = 400000});
}

/* Bursts and silence: a doorbell cleared after draining instead of before shows here and nowhere else. */
static void idle_producer(void **state)
{
    (void)state;
    (void)run(
        &(struct plan){.producers = 1, .capacity = 64, .max = 16, .items = 60000, .burst = 4, .wait_answer = true});
    (void)run(
        &(struct plan){.producers = 3, .capacity = 64, .max = 2, .items = 20000, .burst = 5, .wait_answer = true});
}

/* The narrowest lanes: every few items the producer starves and must be woken. */
static void full_lanes(void **state)
{
    (void)state;
    assert_true(run(&(struct plan){.producers = 1, .capacity = 2, .max = 1, .items = 50000}) > 100);
    assert_true(run(&(struct plan){.producers = 1, .capacity = 4, .max = 100, .items = 50000}) > 100);
    assert_true(run(&(struct plan){.producers = 2, .capacity = 8, .max = 3, .items = 50000, .burst = 20}) > 100);
}

static void many_producers(void **state)
{
    (void)state;
    (void)run(&(struct plan){.producers = MAX_LANES, .capacity = 16, .max = 7, .items = 20000, .burst = 40});
    (void)run(&(struct plan){.producers = MAX_LANES, .capacity = 256, .max = 64, .items = 40000});
}

/* Two threads that are each other's consumer and both starve: neither may wait for a lane, or both would. */
struct peer {
    struct inbox *in, *out;
    uint32_t sent, got, items;
    bool disorder, lost;
};

static void take_from_peer(void *arg, struct item it)
{
    struct peer *p = arg;
    p->disorder |= it.kind != p->got++;
}

static void *talk(void *arg)
{
    struct peer *p = arg;
    for (;;) {
        while (p->sent < p->items && inbox_push(p->out, 0, number(p->sent)))
            p->sent++;
        if (p->sent == p->items && p->got == p->items)
            break;
        if (!rung(p->in, PATIENCE_MS)) {
            p->lost = true;
            break;
        }
        (void)inbox_drain(p->in, 5, take_from_peer, p);
    }
    return NULL;
}

static void both_ways(void **state)
{
    struct inbox *a = inbox_new(1, 4), *b = inbox_new(1, 4);
    struct peer here = {.in = a, .out = b, .items = 60000}, there = {.in = b, .out = a, .items = 60000};
    pthread_t thread;
    (void)state;
    inbox_set_wake(a, 0, b);
    inbox_set_wake(b, 0, a);
    assert_int_equal(pthread_create(&thread, NULL, talk, &there), 0);
    (void)talk(&here);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_false(here.lost || there.lost);
    assert_false(here.disorder || there.disorder);
    assert_int_equal(here.got, 60000);
    assert_int_equal(there.got, 60000);
    inbox_free(a, NULL, NULL);
    inbox_free(b, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_and_out),
        cmocka_unit_test(pushed_quietly_rings_when_told),
        cmocka_unit_test(a_part_drained_rings_again),
        cmocka_unit_test(a_full_lane_wakes_its_producer),
        cmocka_unit_test(lanes_take_turns),
        cmocka_unit_test(what_is_left_is_dropped),
        cmocka_unit_test(bad_sizes),
        cmocka_unit_test(flood),
        cmocka_unit_test(idle_producer),
        cmocka_unit_test(full_lanes),
        cmocka_unit_test(many_producers),
        cmocka_unit_test(both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
