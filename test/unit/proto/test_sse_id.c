/*
 * test_sse_id.c - positions written and read back, and what is none of ours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/sse_id.h"

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    struct buf b;
    uint64_t seq = 0;
    buf_init(&b, 1000);
    assert_true(sse_id_write_user(&b, 9007199254740991ull));
    assert_true(sse_id_write_room(&b, SPAN_LIT("news"), 7));
    assert_true(sse_id_write_room(&b, SPAN_LIT("chat"), 1730000012345678ull));
    for (size_t i = 0; i < b.len; i++)
        assert_true(b.data[i] > ' ' && b.data[i] < 0x7f);
    struct guard g;
    struct span id = guard_copy(&g, buf_span(&b));
    assert_true(sse_id_user(id, &seq) && seq == 9007199254740991ull);
    assert_true(sse_id_room(id, SPAN_LIT("news"), &seq) && seq == 7);
    assert_true(sse_id_room(id, SPAN_LIT("chat"), &seq) && seq == 1730000012345678ull);
    assert_false(sse_id_room(id, SPAN_LIT("other"), &seq));
    guard_free(&g);
    buf_fini(&b);
}

static void a_place_that_does_not_fit_is_left_out(void **state)
{
    (void)state;
    for (size_t max = 0; max < 13; max++) {
        struct buf b;
        buf_init(&b, max);
        assert_false(sse_id_write_room(&b, SPAN_LIT("r"), 7));
        assert_int_equal(b.len, 0);
        buf_fini(&b);
    }
}

static void what_is_none_of_ours(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ";", "abc", "-1", "1x", "12345678901234567", " 1", ";4f1d09a2c3=1", "1,2"};
    uint64_t seq = 0;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct guard g;
        struct span id = guard_copy(&g, span_str(bad[i]));
        assert_false(sse_id_user(id, &seq));
        assert_false(sse_id_room(id, SPAN_LIT("r"), &seq));
        guard_free(&g);
    }
}

static void broken_places_are_unknown(void **state)
{
    (void)state;
    struct buf b;
    uint64_t seq = 0;
    buf_init(&b, 1000);
    assert_true(sse_id_write_user(&b, 5) && sse_id_write_room(&b, SPAN_LIT("r"), 7));
    for (size_t n = 1; n < b.len; n++) { /* cut anywhere: the inbox's seq stays, the room's is whole or not there */
        struct guard g;
        struct span id = guard_copy(&g, span_of(b.data, n));
        assert_true(sse_id_user(id, &seq) && seq == 5);
        assert_false(sse_id_room(id, SPAN_LIT("r"), &seq));
        guard_free(&g);
    }
    assert_true(buf_append_str(&b, ";;x;0123456789;0123456789=;0123456789=a"));
    assert_true(sse_id_room(buf_span(&b), SPAN_LIT("r"), &seq) && seq == 7);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(a_place_that_does_not_fit_is_left_out),
        cmocka_unit_test(what_is_none_of_ours),
        cmocka_unit_test(broken_places_are_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
