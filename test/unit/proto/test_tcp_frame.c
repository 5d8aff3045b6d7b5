/*
 * test_tcp_frame.c - frames of the bare TCP transport at every split, at the limit and past it, and written ones read
 * back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/tcp_frame.h"

enum { MAX = 8 };

struct want {
    enum tcp_frame_result result;
    struct span object;
    size_t used;
};

/* Whatever prefix has been seen before, the answer to the whole is the same; to each prefix it is "more", or already
 * the fault. */
static void expect_frame(enum codec c, struct span in, struct want want)
{
    struct guard g;
    guard_open(&g, in.n);
    for (size_t first = 0; first <= in.n; first++) {
        size_t scanned = 0, used = 0;
        struct span object = {NULL, 0};
        enum tcp_frame_result r =
            tcp_frame_next(c, guard_load(&g, span_of(in.p, first)), MAX, &scanned, &object, &used);
        if (first < in.n && r != TCP_FRAME_NEED_MORE) {
            assert_int_equal(r, want.result);
            continue;
        }
        if (first < in.n)
            r = tcp_frame_next(c, guard_load(&g, in), MAX, &scanned, &object, &used);
        assert_int_equal(r, want.result);
        if (r == TCP_FRAME_OK) {
            assert_int_equal(used, want.used);
            assert_true(span_eq(object, want.object));
            assert_int_equal(scanned, 0);
        }
    }
    guard_free(&g);
}

static void lines(void **state)
{
    (void)state;
    const struct {
        struct span in;
        struct want want;
    } cases[] = {
        {SPAN_LIT("{}\n"), {TCP_FRAME_OK, SPAN_LIT("{}"), 3}},
        {SPAN_LIT("{}\r\n"), {TCP_FRAME_OK, SPAN_LIT("{}"), 4}},
        {SPAN_LIT("{\r}\n"), {TCP_FRAME_OK, SPAN_LIT("{\r}"), 4}},
        {SPAN_LIT("\n"), {TCP_FRAME_OK, SPAN_LIT(""), 1}},
        {SPAN_LIT("\r\n"), {TCP_FRAME_OK, SPAN_LIT(""), 2}},
        {SPAN_LIT("12345678\n"), {TCP_FRAME_OK, SPAN_LIT("12345678"), 9}},
        {SPAN_LIT("12345678\r\n"), {TCP_FRAME_OK, SPAN_LIT("12345678"), 10}},
        {SPAN_LIT("12345678\r"), {TCP_FRAME_NEED_MORE, SPAN_LIT(""), 0}},
        {SPAN_LIT("123456789"), {TCP_FRAME_NEED_MORE, SPAN_LIT(""), 0}},
        {SPAN_LIT("123456789\n"), {TCP_FRAME_TOO_BIG, SPAN_LIT(""), 0}},
        {SPAN_LIT("1234567890"), {TCP_FRAME_TOO_BIG, SPAN_LIT(""), 0}},
        {SPAN_LIT(""), {TCP_FRAME_NEED_MORE, SPAN_LIT(""), 0}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_frame(CODEC_JSON, cases[i].in, cases[i].want);
    /* What follows a line is not its business. */
    size_t scanned = 0, used = 0;
    struct span object;
    assert_int_equal(tcp_frame_next(CODEC_JSON, SPAN_LIT("{}\n{\"a\":1}\n"), MAX, &scanned, &object, &used),
                     TCP_FRAME_OK);
    assert_int_equal(used, 3);
}

static void lengths(void **state)
{
    (void)state;
    const struct {
        struct span in;
        struct want want;
    } cases[] = {
        {SPAN_LIT("\0\0\0\1\x80"), {TCP_FRAME_OK, SPAN_LIT("\x80"), 5}},
        {SPAN_LIT("\0\0\0\10"
                  "12345678"),
         {TCP_FRAME_OK, SPAN_LIT("12345678"), 12}},
        {SPAN_LIT("\0\0\0\10"
                  "1234567"),
         {TCP_FRAME_NEED_MORE, SPAN_LIT(""), 0}},
        {SPAN_LIT("\0\0\0\11"), {TCP_FRAME_TOO_BIG, SPAN_LIT(""), 0}},
        {SPAN_LIT("\0\0\1\1"), {TCP_FRAME_TOO_BIG, SPAN_LIT(""), 0}},
        {SPAN_LIT("\1\0\0\1"), {TCP_FRAME_TOO_BIG, SPAN_LIT(""), 0}},
        {SPAN_LIT("\xff\xff\xff\xff"), {TCP_FRAME_TOO_BIG, SPAN_LIT(""), 0}},
        {SPAN_LIT("\0\0\0\0"), {TCP_FRAME_EMPTY, SPAN_LIT(""), 0}},
        {SPAN_LIT("\0\0\0"), {TCP_FRAME_NEED_MORE, SPAN_LIT(""), 0}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_frame(CODEC_MSGPACK, cases[i].in, cases[i].want);
}

static void written_ones_are_read_back(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":\r\n1}";
    uint8_t out[64];
    struct span in = span_str(text), object;
    size_t scanned = 0, used = 0;
    for (int c = CODEC_JSON; c <= CODEC_MSGPACK; c++) {
        size_t n = tcp_frame_size((enum codec)c, in);
        tcp_frame_write((enum codec)c, in, out);
        assert_int_equal(tcp_frame_next((enum codec)c, span_of(out, n), 64, &scanned, &object, &used), TCP_FRAME_OK);
        assert_int_equal(used, n);
        assert_true(span_eq(object, c == CODEC_JSON ? SPAN_LIT("{\"a\":  1}") : in));
    }
    assert_int_equal(tcp_frame_codec('{'), CODEC_JSON);
    assert_int_equal(tcp_frame_codec(0), CODEC_MSGPACK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(lengths),
        cmocka_unit_test(written_ones_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
