/* The wheel against a naive model: random delays up to several rounds, stalls, callbacks that arm and cancel. */
#include "core/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rng.h"

enum { TIMERS = 200 };
#define NEVER UINT64_MAX

struct model {
    struct wheel wheel;
    struct timer timers[TIMERS];
    uint64_t due_ms[TIMERS]; /* as asked for, or NEVER */
    uint64_t now;
    struct rng rng;
    unsigned fired;
    bool meddle; /* callbacks arm and cancel */
};

static void arm(struct model *m, unsigned i, uint32_t delay)
{
    wheel_arm(&m->wheel, &m->timers[i], m->now, delay);
    m->due_ms[i] = m->now + delay;
}

static void cancel(struct model *m, unsigned i)
{
    wheel_cancel(&m->timers[i], &m->wheel);
    m->due_ms[i] = NEVER;
}

/* Mostly within a round (51.2 s), some far beyond, some at once. */
static uint32_t some_delay(struct rng *r)
{
    switch (rng_below(r, 5)) {
    case 0:
        return rng_below(r, 3);
    case 1:
        return rng_below(r, 500);
    case 2:
        return 51000 + rng_below(r, 400); /* around one round */
    case 3:
        return rng_below(r, 400000);
    default:
        return rng_below(r, 60000);
    }
}

static void fire(void *arg, struct timer *t)
{
    struct model *m = arg;
    unsigned i = (unsigned)(t - m->timers);
    assert_false(timer_armed(t));
    assert_true(m->due_ms[i] != NEVER);  /* armed, and not cancelled since */
    assert_true(m->now >= m->due_ms[i]); /* never early */
    m->due_ms[i] = NEVER;
    m->fired++;
    if (!m->meddle)
        return;
    if (rng_below(&m->rng, 3) == 0)
        arm(m, i, some_delay(&m->rng));
    if (rng_below(&m->rng, 3) == 0)
        cancel(m, rng_below(&m->rng, TIMERS));
    if (rng_below(&m->rng, 3) == 0)
        arm(m, rng_below(&m->rng, TIMERS), some_delay(&m->rng));
}

static void check(const struct model *m)
{
    size_t armed = 0;
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < TIMERS; i++) {
        assert_int_equal(timer_armed(&m->timers[i]), m->due_ms[i] != NEVER);
        if (m->due_ms[i] == NEVER)
            continue;
        armed++;
        assert_true(m->due_ms[i] + WHEEL_TICK_MS > m->now); /* late by less than a tick */
        if (m->due_ms[i] < first)
            first = m->due_ms[i];
    }
    assert_int_equal(m->wheel.armed, armed);
    int next = wheel_next_ms(&m->wheel, m->now);
    if (armed == 0) {
        assert_int_equal(next, -1);
        return;
    }
    assert_true(next >= 0);
    assert_true(m->now + (uint64_t)next < (first > m->now ? first : m->now) + WHEEL_TICK_MS + 1);
}

static struct model *model_new(uint64_t start, uint64_t seed, bool meddle)
{
    struct model *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    m->now = start;
    for (unsigned i = 0; i < TIMERS; i++)
        m->due_ms[i] = NEVER;
    m->rng.s = seed;
    m->meddle = meddle;
    wheel_init(&m->wheel, start);
    return m;
}

static void run_model(uint64_t start, uint64_t seed, bool meddle)
{
    struct model *m = model_new(start, seed, meddle);
    for (unsigned step = 0; step < 30000; step++) {
        unsigned i = rng_below(&m->rng, TIMERS);
        if (rng_below(&m->rng, 3) == 0)
            cancel(m, i);
        else
            arm(m, i, some_delay(&m->rng));
        unsigned kind = rng_below(&m->rng, 100);
        m->now += kind == 0 ? rng_below(&m->rng, 200000) : kind < 30 ? 0 : rng_below(&m->rng, 250);
        unsigned before = m->fired;
        unsigned said = wheel_turn(&m->wheel, m->now, fire, m);
        assert_int_equal(said, m->fired - before);
        check(m);
    }
    assert_true(m->fired > 1000);
    free(m);
}

static void against_a_model(void **state)
{
    (void)state;
    run_model(0, 11, false);
    run_model(123456789, 12, false);
}

static void callbacks_that_meddle(void **state)
{
    (void)state;
    run_model(5, 13, true);
    run_model(987654321012, 14, true);
}

/* Sleeping exactly as long as the wheel says: everything fires, nothing early, and few turns fire nothing. */
static void sleeping_as_told(void **state)
{
    struct model *m = model_new(1000, 15, false);
    unsigned empty = 0;
    (void)state;
    for (unsigned i = 0; i < TIMERS; i++)
        arm(m, i, some_delay(&m->rng));
    while (m->wheel.armed) {
        int next = wheel_next_ms(&m->wheel, m->now);
        assert_true(next >= 0);
        if (next > 1) { /* not a moment earlier */
            m->now += (uint64_t)next - 1;
            assert_int_equal(wheel_turn(&m->wheel, m->now, fire, m), 0);
            m->now++;
        } else {
            m->now += (uint64_t)next;
        }
        empty += wheel_turn(&m->wheel, m->now, fire, m) == 0;
        check(m);
    }
    assert_int_equal(m->fired, TIMERS);
    assert_true(empty <= TIMERS * 8); /* a later round's timer may wake us once a round: at most 8 rounds in 400 s */
    assert_int_equal(wheel_next_ms(&m->wheel, m->now), -1);
    free(m);
}

static void far_timers_wait(void **state)
{
    struct model *m = model_new(0, 16, false);
    uint32_t round = WHEEL_SLOTS * WHEEL_TICK_MS;
    (void)state;
    arm(m, 0, round * 3);
    arm(m, 1, 0);
    arm(m, 2, UINT32_MAX);
    for (; m->now < (uint64_t)round * 3; m->now += 50) {
        (void)wheel_turn(&m->wheel, m->now, fire, m);
        check(m);
        assert_true(timer_armed(&m->timers[0]));
    }
    assert_int_equal(m->fired, 1);
    m->now += WHEEL_TICK_MS;
    assert_int_equal(wheel_turn(&m->wheel, m->now, fire, m), 1);
    m->now = UINT32_MAX; /* 49 days later */
    m->now += WHEEL_TICK_MS;
    assert_int_equal(wheel_turn(&m->wheel, m->now, fire, m), 1);
    assert_int_equal(m->wheel.armed, 0);
    free(m);
}

static void rearm_moves(void **state)
{
    struct model *m = model_new(0, 17, false);
    (void)state;
    cancel(m, 0); /* fine if not armed */
    for (unsigned i = 0; i < 100; i++) {
        arm(m, 0, 1000); /* a connection that keeps talking never times out */
        m->now += 500;
        assert_int_equal(wheel_turn(&m->wheel, m->now, fire, m), 0);
        assert_int_equal(m->wheel.armed, 1);
    }
    assert_int_equal(wheel_turn(&m->wheel, m->now - 400, fire, m), 0); /* a clock that stands still or errs back */
    cancel(m, 0);
    assert_int_equal(wheel_next_ms(&m->wheel, m->now), -1);
    for (unsigned i = 0; i < WHEEL_SLOTS / 64; i++)
        assert_int_equal(m->wheel.used[i], 0);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_a_model), cmocka_unit_test(callbacks_that_meddle), cmocka_unit_test(sleeping_as_told),
        cmocka_unit_test(far_timers_wait), cmocka_unit_test(rearm_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
