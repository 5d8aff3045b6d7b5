/* Growable buffers: ceilings, that a failure changes nothing, and giving bytes away. */
#include "core/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rng.h"

static bool holds(const struct buf *b, const char *text)
{
    return span_eq(buf_span(b), span_str(text));
}

static void grows(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1000);
    assert_true(buf_append_str(&b, "one "));
    assert_true(buf_append_span(&b, SPAN_LIT("two ")));
    assert_true(buf_append_byte(&b, '3'));
    assert_true(buf_append(&b, NULL, 0));
    assert_true(buf_printf(&b, " %s=%d", "four", 5));
    assert_true(holds(&b, "one two 3 four=5"));
    buf_consume(&b, 4);
    assert_true(holds(&b, "two 3 four=5"));
    buf_consume(&b, 0);
    buf_consume(&b, b.len);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
    assert_true(buf_append_str(&b, "again"));
    assert_int_equal(b.max, 1000);
    buf_fini(&b);
}

/* Every ceiling from 0 up: exactly max bytes fit, one more changes nothing. */
static void ceilings(void **state)
{
    (void)state;
    for (size_t max = 0; max < 300; max++) {
        struct buf b;
        buf_init(&b, max);
        for (size_t i = 0; i < max; i++)
            assert_true(buf_append_byte(&b, (uint8_t)i));
        assert_false(buf_append_byte(&b, 'x'));
        assert_false(buf_append_str(&b, "xy"));
        assert_false(buf_printf(&b, "%c", 'x'));
        assert_true(buf_printf(&b, "%s", ""));
        assert_null(buf_reserve(&b, 1));
        assert_int_equal(b.len, max);
        assert_true(b.cap <= max + 1);
        for (size_t i = 0; i < max; i++)
            assert_int_equal(b.data[i], (uint8_t)i);
        buf_fini(&b);
    }
}

static void printf_to_the_brim(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 5);
    assert_false(buf_printf(&b, "%s", "123456"));
    assert_int_equal(b.len, 0);
    assert_true(buf_printf(&b, "%s", "12345")); /* its NUL does not count */
    assert_true(holds(&b, "12345"));
    assert_false(buf_append_byte(&b, '6'));
    buf_fini(&b);
}

static void huge_requests(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, SIZE_MAX);
    assert_true(buf_append_str(&b, "x"));
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_null(buf_reserve(&b, SIZE_MAX - 1));
    assert_true(holds(&b, "x"));
    buf_fini(&b);
}

static void reserve_and_steal(void **state)
{
    struct buf b;
    size_t n = 99;
    (void)state;
    buf_init(&b, 64);
    assert_null(buf_steal(&b, &n));
    assert_int_equal(n, 0);
    uint8_t *room = buf_reserve(&b, 10);
    assert_non_null(room);
    memcpy(room, "0123456789", 10);
    assert_int_equal(b.len, 0);
    buf_commit(&b, 7);
    assert_true(holds(&b, "0123456"));
    uint8_t *mine = buf_steal(&b, &n);
    assert_int_equal(n, 7);
    assert_memory_equal(mine, "0123456", 7);
    free(mine);
    assert_int_equal(b.len, 0);
    assert_true(buf_append_str(&b, "new"));
    assert_true(holds(&b, "new"));
    buf_fini(&b);
}

/* Random appends and consumes against a plain array. */
static void against_a_model(void **state)
{
    static uint8_t model[5000], bytes[600];
    size_t len = 0;
    struct rng r = {7};
    struct buf b;
    (void)state;
    buf_init(&b, sizeof(model));
    for (int step = 0; step < 20000; step++) {
        size_t n = rng_below(&r, sizeof(bytes));
        if (rng_below(&r, 2)) {
            for (size_t i = 0; i < n; i++)
                bytes[i] = (uint8_t)rng_next(&r);
            bool fits = len + n <= sizeof(model);
            assert_int_equal(buf_append(&b, bytes, n), fits);
            if (fits) {
                memcpy(model + len, bytes, n);
                len += n;
            }
        } else {
            n = n < len ? n : len;
            buf_consume(&b, n);
            memmove(model, model + n, len - n);
            len -= n;
        }
        assert_true(span_eq(buf_span(&b), span_of(model, len)));
    }
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows),         cmocka_unit_test(ceilings),          cmocka_unit_test(printf_to_the_brim),
        cmocka_unit_test(huge_requests), cmocka_unit_test(reserve_and_steal), cmocka_unit_test(against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
