/* Spans, thread roles, clocks: the small things. */
#include "core/base.h"

#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/list.h"
#include "core/owner.h"

static void spans(void **state)
{
    (void)state;
    assert_true(span_eq(span_str("abc"), SPAN_LIT("abc")));
    assert_false(span_eq(span_str("abc"), SPAN_LIT("abd")));
    assert_false(span_eq(span_str("abc"), SPAN_LIT("ab")));
    assert_true(span_eq(span_str(NULL), span_of("x", 0)));
    assert_true(SPAN_IS(span_of("GET /", 3), "GET"));

    char *copy = span_dup(span_of("a\0b", 3));
    assert_non_null(copy);
    assert_memory_equal(copy, "a\0b", 4);
    free(copy);
    copy = span_dup((struct span){0});
    assert_string_equal(copy, "");
    free(copy);
    assert_null(span_dup((struct span){NULL, SIZE_MAX}));
}

struct thing {
    int before;
    struct list link;
};

static void lists(void **state)
{
    (void)state;
    struct list head;
    struct thing a = {1, {0}}, b = {2, {0}};
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_pop(&head));
    assert_false(list_linked(&a.link));
    list_push(&head, &a.link);
    list_push(&head, &b.link);
    assert_true(list_linked(&a.link));
    list_unlink(&a.link);
    list_unlink(&a.link); /* once more does no harm */
    struct list *got = list_pop(&head);
    assert_int_equal(CONTAINER_OF(got, struct thing, link)->before, 2);
    assert_true(list_empty(&head));
}

static void *role_elsewhere(void *arg)
{
    (void)arg;
    int before = thread_role();
    thread_role_set(3);
    return before == INT_MIN && thread_role() == 3 ? arg : NULL;
}

static void roles(void **state)
{
    int token;
    void *back;
    pthread_t thread;
    (void)state;
    thread_role_set(ROLE_MAIN);
    assert_int_equal(pthread_create(&thread, NULL, role_elsewhere, &token), 0);
    assert_int_equal(pthread_join(thread, &back), 0);
    assert_ptr_equal(back, &token);
    assert_int_equal(thread_role(), ROLE_MAIN);
    ASSERT_OWNER(ROLE_MAIN);
}

static void clocks(void **state)
{
    (void)state;
    uint64_t a = clock_mono_us(), b = clock_mono_us();
    assert_true(b >= a);
    assert_true(clock_mono_ms() >= a / 1000);
    uint64_t real = clock_real_us() / 1000000, now = (uint64_t)time(NULL);
    assert_true(real <= now + 1 && real + 5 >= now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans),
        cmocka_unit_test(lists),
        cmocka_unit_test(roles),
        cmocka_unit_test(clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
