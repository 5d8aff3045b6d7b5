/*
 * test_addr_table.c - connections counted by address: the limit, what counts as one address, crowds, threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "net/addr_table.h"

static struct span v4(uint8_t out[4], uint32_t n)
{
    for (unsigned i = 0; i < 4; i++)
        out[i] = (uint8_t)(n >> (8 * i));
    return span_of(out, 4);
}

static void the_limit_is_exact(void **state)
{
    struct addr_table *t = addr_table_new(3);
    uint8_t a[4], b[4];
    (void)state;
    assert_non_null(t);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++)
            assert_true(addr_enter(t, v4(a, 1)));
        for (int i = 0; i < 10; i++)
            assert_false(addr_enter(t, v4(a, 1))); /* refusals do not count */
        assert_true(addr_enter(t, v4(b, 2)));
        addr_leave(t, v4(b, 2));
        addr_leave(t, v4(a, 1));
        assert_true(addr_enter(t, v4(a, 1)));
        assert_false(addr_enter(t, v4(a, 1)));
        for (int i = 0; i < 3; i++)
            addr_leave(t, v4(a, 1));
    }
    addr_table_free(t);
}

static void what_is_one_address(void **state)
{
    struct addr_table *t = addr_table_new(1);
    static const uint8_t host[16] = {0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 9, 9},
                         same_net[16] = {0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 7},
                         other_net[16] = {0x20, 1, 0xd, 0xb8, 0, 1, 0, 3, 9, 9},
                         mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1},
                         mapped_other[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2},
                         plain[4] = {10, 0, 0, 1};
    (void)state;
    assert_non_null(t);
    assert_true(addr_enter(t, span_of(host, 16)));
    assert_false(addr_enter(t, span_of(same_net, 16)));
    assert_true(addr_enter(t, span_of(other_net, 16)));
    assert_true(addr_enter(t, span_of(mapped, 16)));
    assert_true(addr_enter(t, span_of(mapped_other, 16)));
    assert_false(addr_enter(t, span_of(plain, 4)));
    addr_leave(t, span_of(mapped, 16));
    assert_true(addr_enter(t, span_of(plain, 4)));
    addr_table_free(t);
}

/* A crowd of addresses with one connection each keeps hardly anybody out. */
static void crowds(void **state)
{
    struct addr_table *t = addr_table_new(8);
    uint8_t a[4];
    unsigned refused = 0;
    (void)state;
    assert_non_null(t);
    for (uint32_t i = 0; i < 100000; i++)
        refused += !addr_enter(t, v4(a, i));
    assert_true(refused < 10);
    for (uint32_t i = 0; i < 1000; i++) { /* and each may have more */
        for (int k = 0; k < 2; k++)
            refused += !addr_enter(t, v4(a, i));
    }
    assert_true(refused < 100);
    addr_table_free(t);
}

struct worker {
    struct addr_table *t;
    atomic_int *inside;
    uint32_t addr;
    unsigned got;
    bool over;
};

static void *come_and_go(void *arg)
{
    struct worker *w = arg;
    uint8_t a[4];
    for (int i = 0; i < 50000; i++) {
        if (!addr_enter(w->t, v4(a, w->addr)))
            continue;
        if (atomic_fetch_add(w->inside, 1) >= 2)
            w->over = true;
        w->got++;
        atomic_fetch_sub(w->inside, 1);
        addr_leave(w->t, v4(a, w->addr));
    }
    return NULL;
}

/* Never more than the limit inside, and in the end nobody. */
static void threads(void **state)
{
    struct addr_table *t = addr_table_new(2);
    atomic_int inside = 0;
    struct worker w[4];
    pthread_t thread[4];
    uint8_t a[4];
    (void)state;
    assert_non_null(t);
    for (unsigned i = 0; i < 4; i++) {
        w[i] = (struct worker){.t = t, .inside = &inside, .addr = 7};
        assert_int_equal(pthread_create(&thread[i], NULL, come_and_go, &w[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    unsigned got = 0; /* not each: who is stopped inside keeps the others out */
    for (unsigned i = 0; i < 4; i++) {
        assert_false(w[i].over);
        got += w[i].got;
    }
    assert_true(got > 0);
    assert_true(addr_enter(t, v4(a, 7)));
    assert_true(addr_enter(t, v4(a, 7)));
    assert_false(addr_enter(t, v4(a, 7)));
    addr_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_is_exact),
        cmocka_unit_test(what_is_one_address),
        cmocka_unit_test(crowds),
        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
