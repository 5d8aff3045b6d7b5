/*
 * test_limits.c - token buckets on a clock of the test's own: bursts, refills, the wait that is told, connections and
 * their user, patience, more users than slots.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "core/config.h"
#include "core/hash.h"
#include "net/limits.h"
#include "proto/codec.h"

#define NOW 1000000u /* ms: a machine that has been up for a while */

static const struct span nobody;

struct set {
    struct config cfg;
    struct limits *l;
};

static void begin(struct set *s, unsigned messages, unsigned bytes, unsigned subscribes, unsigned user)
{
    config_init(&s->cfg);
    s->cfg.rate_messages = messages;
    s->cfg.rate_bytes = bytes;
    s->cfg.rate_subscribes = subscribes;
    s->cfg.rate_user = user;
    s->cfg.max_rooms = 5;
    s->cfg.max_message = 1000;
    s->l = limits_new(&s->cfg);
    assert_non_null(s->l);
}

static void end(struct set *s)
{
    limits_free(s->l);
    config_fini(&s->cfg);
}

static struct rate_cost message(uint32_t bytes)
{
    return limits_cost(&(struct command){.type = CMD_SEND}, bytes);
}

static uint32_t say(struct set *s, uint64_t now, struct rates *r, struct span user, uint32_t bytes)
{
    struct rate_cost cost = message(bytes);
    return limits_take(s->l, now, r, user, &cost);
}

/* How many messages go through at one moment. */
static unsigned burst(struct set *s, uint64_t now, struct rates *r, struct span user)
{
    unsigned n = 0;
    while (n < 10000 && say(s, now, r, user, 1) == 0)
        n++;
    return n;
}

static void off(void **state)
{
    struct set s;
    struct rates r = {0};
    (void)state;
    begin(&s, 0, 0, 0, 4);
    assert_false(limits_wanted(&s.cfg));
    assert_int_equal(burst(&s, NOW, &r, SPAN_LIT("ann")), 10000);
    limits_free(s.l);
    s.l = NULL; /* as a shard without limits has it */
    assert_int_equal(burst(&s, NOW, &r, SPAN_LIT("ann")), 10000);
    end(&s);
    for (unsigned k = 0; k < 3; k++) {
        begin(&s, k == 0, k == 1, k == 2, 4);
        assert_true(limits_wanted(&s.cfg));
        end(&s);
    }
}

static void twice_the_rate_at_once(void **state)
{
    struct set s;
    struct rates r = {0};
    (void)state;
    begin(&s, 10, 0, 0, 0);
    assert_int_equal(burst(&s, NOW, &r, nobody), 20);
    assert_int_equal(say(&s, NOW, &r, nobody, 1), 100); /* ms until there is one again */
    assert_int_equal(say(&s, NOW + 99, &r, nobody, 1), 1);
    assert_int_equal(say(&s, NOW + 100, &r, nobody, 1), 0);
    assert_int_equal(say(&s, NOW + 100, &r, nobody, 1), 100);
    assert_int_equal(burst(&s, NOW + 1100, &r, nobody), 10);
    assert_int_equal(burst(&s, NOW + 3600 * 1000, &r, nobody), 20); /* and never more */
    end(&s);
}

static void a_rate_of_one(void **state)
{
    struct set s;
    struct rates r = {0};
    (void)state;
    begin(&s, 1, 0, 0, 0);
    assert_int_equal(burst(&s, NOW, &r, nobody), 2);
    assert_int_equal(say(&s, NOW, &r, nobody, 1), 1000);
    assert_int_equal(say(&s, NOW + 1000, &r, nobody, 1), 0);
    end(&s);
}

/* A message of the greatest length passes whatever the rate; the next waits for it. */
static void bytes(void **state)
{
    struct set s;
    struct rates r = {0};
    (void)state;
    begin(&s, 0, 100, 0, 0);
    assert_int_equal(say(&s, NOW, &r, nobody, 1000), 0);
    assert_int_equal(say(&s, NOW, &r, nobody, 50), 500);
    assert_int_equal(say(&s, NOW, &r, nobody, 1000), 10000);
    assert_int_equal(say(&s, NOW + 500, &r, nobody, 50), 0);
    assert_int_equal(say(&s, NOW + 500, &r, nobody, 0), 0);            /* costs nothing */
    assert_int_equal(say(&s, NOW + 60000, &r, nobody, UINT32_MAX), 0); /* more than there is: all of it */
    assert_int_equal(say(&s, NOW + 60000, &r, nobody, 1000), 10000);
    end(&s);
}

/* What is refused costs nothing anywhere. */
static void all_or_nothing(void **state)
{
    struct set s;
    struct rates r = {0}, other = {0};
    (void)state;
    begin(&s, 10, 1000, 0, 1);
    assert_int_equal(say(&s, NOW, &r, SPAN_LIT("ann"), 1950), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(say(&s, NOW, &r, SPAN_LIT("ann"), 100), 50);
    assert_int_equal(say(&s, NOW, &r, SPAN_LIT("ann"), 50), 0);
    assert_int_equal(burst(&s, NOW + 2000, &r, SPAN_LIT("ann")), 20); /* messages were not taken by the refused */
    assert_int_equal(burst(&s, NOW + 2000, &other, SPAN_LIT("bob")), 20);
    end(&s);
}

static void subscribes(void **state)
{
    static const struct command join = {.type = CMD_SUBSCRIBE};
    struct set s;
    struct rates r = {0};
    struct rate_cost cost = limits_cost(&join, 10);
    (void)state;
    begin(&s, 0, 0, 1, 0);
    for (int i = 0; i < 5; i++) /* all rooms at once, though the rate is one */
        assert_int_equal(limits_take(s.l, NOW, &r, nobody, &cost), 0);
    assert_int_equal(limits_take(s.l, NOW, &r, nobody, &cost), 1000);
    assert_int_equal(burst(&s, NOW, &r, nobody), 10000); /* other messages are free */
    assert_int_equal(limits_take(s.l, NOW + 1000, &r, nobody, &cost), 0);
    end(&s);
}

/* ack and pong follow from what the broker sends: their number is not held against the client, their bytes are. */
static void what_costs_what(void **state)
{
    static const enum command_type type[] = {CMD_ACK,      CMD_SUBSCRIBE, CMD_UNSUBSCRIBE, CMD_SEND,
                                             CMD_PRESENCE, CMD_HISTORY,   CMD_REFRESH,     CMD_PONG};
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(type); i++) {
        struct rate_cost c = limits_cost(&(struct command){.type = type[i]}, 77);
        assert_int_equal(c.n[RATE_MESSAGES], type[i] != CMD_ACK && type[i] != CMD_PONG);
        assert_int_equal(c.n[RATE_SUBSCRIBES], type[i] == CMD_SUBSCRIBE);
        assert_int_equal(c.n[RATE_BYTES], 77);
    }
    struct rate_cost c = limits_cost(NULL, (size_t)UINT32_MAX + 5);
    assert_int_equal(c.n[RATE_MESSAGES], 1);
    assert_int_equal(c.n[RATE_SUBSCRIBES], 0);
    assert_int_equal(c.n[RATE_BYTES], UINT32_MAX);
}

/* Connections of one user share the user's buckets; other users have their own, and so have those without a name. */
static void users(void **state)
{
    struct set s;
    struct rates r[4] = {{{0}}};
    (void)state;
    begin(&s, 10, 0, 0, 2);
    assert_int_equal(burst(&s, NOW, &r[0], SPAN_LIT("ann")), 20);
    assert_int_equal(burst(&s, NOW, &r[1], SPAN_LIT("ann")), 20);
    assert_int_equal(burst(&s, NOW, &r[2], SPAN_LIT("ann")), 0);
    assert_int_equal(burst(&s, NOW, NULL, SPAN_LIT("ann")), 0);
    assert_int_equal(burst(&s, NOW, &r[2], SPAN_LIT("bob")), 20);
    assert_int_equal(burst(&s, NOW, &r[3], nobody), 20);
    /* a new connection does not make the user new */
    struct rates again = {0};
    assert_int_equal(say(&s, NOW, &again, SPAN_LIT("ann"), 1), 50);
    assert_int_equal(burst(&s, NOW + 1000, &again, SPAN_LIT("ann")), 20);
    assert_int_equal(burst(&s, NOW + 1000, NULL, SPAN_LIT("ann")), 0);
    end(&s);
}

static void patience(void **state)
{
    struct set s;
    struct rates r = {0};
    unsigned n = 0;
    (void)state;
    begin(&s, 10, 0, 0, 0);
    while (limits_refused(s.l, NOW, &r))
        n++;
    assert_in_range(n, 10, 100);
    assert_false(limits_refused(s.l, NOW + 500, &r));
    assert_true(limits_refused(s.l, NOW + 1000, &r)); /* one a second is forgiven */
    assert_false(limits_refused(s.l, NOW + 1000, &r));
    assert_int_equal(burst(&s, NOW, &r, nobody), 20); /* patience is no part of the rate */
    end(&s);
}

/* Never more than burst + rate x time, whoever asks when. */
static void never_more(void **state)
{
    struct set s;
    struct rates r = {0};
    uint64_t said = 0, taken = 0, now = NOW;
    (void)state;
    begin(&s, 7, 3000, 0, 3);
    for (int i = 0; i < 200000; i++) {
        uint32_t n = (uint32_t)random_below(1000);
        now += random_below(3) == 0 ? random_below(40) : 0;
        uint32_t wait = say(&s, now, &r, SPAN_LIT("ann"), n);
        if (wait == 0) {
            said++;
            taken += n;
        } else {
            struct rates copy = r; /* the wait that was told is enough */
            assert_int_equal(say(&s, now + wait, &copy, nobody, n), 0);
        }
        assert_true(said * 1000 <= 14 * 1000 + (now - NOW) * 7);
        assert_true(taken * 1000 <= 6000 * 1000 + (now - NOW) * 3000);
    }
    assert_true(said > (now - NOW) / 1000); /* and it was let through all along */
    end(&s);
}

/* Many more users than slots: those that are busy are remembered as long as there is room. */
static void crowds(void **state)
{
    struct set s;
    char name[16];
    (void)state;
    begin(&s, 10, 0, 0, 1);
    for (unsigned i = 0; i < 2000; i++) {
        struct span user = span_of(name, (size_t)snprintf(name, sizeof name, "u%u", i));
        assert_int_equal(burst(&s, NOW, NULL, user), 20);
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < 2000; i++) {
        struct span user = span_of(name, (size_t)snprintf(name, sizeof name, "u%u", i));
        kept += say(&s, NOW, NULL, user, 1) > 0;
    }
    assert_in_range(kept, 1990, 2000);
    for (unsigned i = 0; i < 100000; i++) {
        struct span user = span_of(name, (size_t)snprintf(name, sizeof name, "v%u", i));
        assert_int_equal(say(&s, NOW + i, NULL, user, 1), 0); /* slots that have filled up are used again */
    }
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(off),
        cmocka_unit_test(twice_the_rate_at_once),
        cmocka_unit_test(a_rate_of_one),
        cmocka_unit_test(bytes),
        cmocka_unit_test(all_or_nothing),
        cmocka_unit_test(subscribes),
        cmocka_unit_test(what_costs_what),
        cmocka_unit_test(users),
        cmocka_unit_test(patience),
        cmocka_unit_test(never_more),
        cmocka_unit_test(crowds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
