/* Pieces that come back from other threads, the bound of what is kept, the end in either order. Leaks and races show
 * under ASan and TSan. */
#include "core/pool.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

enum { THREADS = 3, ROUNDS = 30000, SIZE = 100, HANDS = 64 };

static void a_piece_comes_back(void **state)
{
    (void)state;
    struct pool *p = pool_new(SIZE, 10);
    assert_non_null(p);
    uint8_t *a = pool_take(p, SIZE), *b = pool_take(p, 1);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    assert_int_equal((uintptr_t)a % _Alignof(max_align_t), 0);
    memset(a, 1, SIZE);
    memset(b, 2, SIZE); /* a piece is whole, whatever was asked for */
    assert_int_equal(a[SIZE - 1], 1);
    pool_give(a);
    assert_ptr_equal(pool_take(p, SIZE), a);
    pool_give(a);
    pool_give(b);
    pool_give(NULL);
    pool_free(p);
    pool_free(NULL);
}

static void larger_ones_and_no_pool(void **state)
{
    (void)state;
    struct pool *p = pool_new(SIZE, 10);
    uint8_t *large = pool_take(p, SIZE + 1), *none = pool_take(NULL, 5);
    assert_non_null(large);
    assert_non_null(none);
    memset(large, 1, SIZE + 1);
    memset(none, 1, 5);
    assert_null(pool_take(p, SIZE_MAX));
    assert_null(pool_take(NULL, SIZE_MAX - 8));
    pool_give(large);
    pool_give(none);
    pool_free(p);
}

static void what_is_out_may_outlive_the_pool(void **state)
{
    (void)state;
    struct pool *p = pool_new(SIZE, 10);
    void *piece[3];
    for (unsigned i = 0; i < 3; i++)
        assert_non_null(piece[i] = pool_take(p, SIZE));
    pool_give(piece[0]);
    pool_free(p);
    memset(piece[1], 1, SIZE);
    pool_give(piece[1]);
    pool_give(piece[2]);
}

/* One maker, several who let go; each piece says who has it. */
struct hands {
    _Atomic(uint64_t *) slot[HANDS];
    atomic_bool over;
    atomic_uint wrong;
};

static void *let_go(void *arg)
{
    struct hands *h = arg;
    bool last = false;
    while (!last) {
        last = atomic_load(&h->over);
        for (unsigned i = 0; i < HANDS; i++) {
            uint64_t *mem = atomic_exchange(&h->slot[i], NULL);
            if (!mem)
                continue;
            if (mem[0] != i || mem[SIZE / 8 - 1] != ~(uint64_t)i)
                atomic_fetch_add(&h->wrong, 1);
            mem[0] = mem[SIZE / 8 - 1] = 12345; /* it is ours: the maker must not see it before we let go */
            pool_give(mem);
        }
        sched_yield();
    }
    return NULL;
}

static void pass_around(unsigned keep)
{
    struct hands h = {.over = false};
    pthread_t thread[THREADS];
    struct pool *p = pool_new(SIZE, keep);
    assert_non_null(p);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, let_go, &h), 0);
    for (unsigned n = 0; n < ROUNDS; n++) {
        uint64_t *mem = pool_take(p, SIZE), *none = NULL;
        assert_non_null(mem);
        mem[0] = n % HANDS;
        mem[SIZE / 8 - 1] = ~(uint64_t)(n % HANDS);
        while (!atomic_compare_exchange_strong(&h.slot[n % HANDS], &none, mem)) {
            none = NULL;
            sched_yield();
        }
    }
    pool_free(p); /* while some are still out */
    atomic_store(&h.over, true);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(h.wrong, 0);
}

static void from_thread_to_threads(void **state)
{
    (void)state;
    pass_around(1000);
    pass_around(8); /* fewer than are under way: some are freed, some kept */
    pass_around(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_piece_comes_back),
        cmocka_unit_test(larger_ones_and_no_pool),
        cmocka_unit_test(what_is_out_may_outlive_the_pool),
        cmocka_unit_test(from_thread_to_threads),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
