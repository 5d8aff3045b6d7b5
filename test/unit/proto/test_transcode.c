/*
 * test_transcode.c - JSON to msgpack and back: a table of what becomes what, random values there and back, every
 * ceiling, every prefix, and the public suite when it is beside the project.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/json.h"
#include "proto/mp.h"
#include "proto/transcode.h"
#include "random_value.h"
#include "suite_files.h"

enum { LARGE = 1 << 20 };

typedef bool transcoder(struct span in, struct buf *out);

/* The whole output at its exact size; and at each ceiling below, false with what was there before left alone. */
static void expect_becomes(transcoder *fn, struct span in, struct span want)
{
    struct guard g;
    struct buf b;
    struct span guarded = guard_copy(&g, in);
    buf_init(&b, LARGE);
    assert_true(buf_append_byte(&b, '#'));
    assert_true(fn(guarded, &b));
    assert_int_equal(b.len, want.n + 1);
    assert_memory_equal(b.data + 1, want.p, want.n);
    buf_fini(&b);
    for (size_t max = 1; max <= want.n; max++) {
        buf_init(&b, max);
        assert_true(buf_append_byte(&b, '#'));
        assert_false(fn(guarded, &b));
        assert_int_equal(b.len, 1);
        buf_fini(&b);
    }
    guard_free(&g);
}

#define TO_MP(json, mp)   expect_becomes(transcode_json_to_msgpack, SPAN_LIT(json), SPAN_LIT(mp))
#define TO_JSON(mp, json) expect_becomes(transcode_msgpack_to_json, SPAN_LIT(mp), SPAN_LIT(json))

static void test_numbers_to_msgpack(void **state)
{
    (void)state;
    TO_MP("0", "\x00");
    TO_MP("-1", "\xff");
    TO_MP("128", "\xcc\x80");
    TO_MP("-129", "\xd1\xff\x7f");
    TO_MP("9223372036854775808", "\xcf\x80\x00\x00\x00\x00\x00\x00\x00");
    TO_MP("18446744073709551615", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    TO_MP("-9223372036854775808", "\xd3\x80\x00\x00\x00\x00\x00\x00\x00");
    /* Past 64 bits, with a fraction or an exponent: doubles. */
    TO_MP("18446744073709551616", "\xcb\x43\xf0\x00\x00\x00\x00\x00\x00");
    TO_MP("-9223372036854775809", "\xcb\xc3\xe0\x00\x00\x00\x00\x00\x00");
    TO_MP("123456789012345678901234567890", "\xcb\x45\xf8\xee\x90\xff\x6c\x37\x3e");
    TO_MP("1.0", "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00");
    TO_MP("1e2", "\xcb\x40\x59\x00\x00\x00\x00\x00\x00");
    TO_MP("-0", "\xcb\x80\x00\x00\x00\x00\x00\x00\x00");
    TO_MP("1e400", "\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00");
}

/* A number longer than any stack buffer. */
static void test_long_number(void **state)
{
    char text[5000];
    struct buf b;
    struct mp_reader r;
    struct mp_value v;
    (void)state;
    memset(text, '0', sizeof text);
    memcpy(text, "1.5", 3);
    buf_init(&b, LARGE);
    assert_true(transcode_json_to_msgpack(span_of(text, sizeof text), &b));
    mp_reader_init(&r, buf_span(&b));
    assert_true(mp_read(&r, &v));
    assert_true(v.kind == MP_FLOAT && v.d == 1.5 && r.p == r.end);
    buf_fini(&b);
}

static void test_json_to_msgpack(void **state)
{
    (void)state;
    TO_MP(" null ", "\xc0");
    TO_MP("[true,false]", "\x92\xc3\xc2");
    TO_MP("\"\"", "\xa0");
    TO_MP("\"a\xC3\xA9\"", "\xa3"
                           "a\xC3\xA9");
    TO_MP("{}", "\x80");
    TO_MP("[]", "\x90");
    TO_MP("{\"b\":1,\"a\":[],\"b\":{\"c\":[2]}}", "\x83\xa1"
                                                  "b\x01\xa1"
                                                  "a\x90\xa1"
                                                  "b\x81\xa1"
                                                  "c\x91\x02");
    TO_MP("[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14]", "\x9f\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e");
    TO_MP("[[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15],7]",
          "\x92\xdc\x00\x10\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x07");
}

/* Escaped strings get the head their decoded length asks for. The room they are decoded in is larger than the result,
 * so ceilings are only tried for not breaking anything. */
static void test_escaped_strings(void **state)
{
    static const size_t lengths[] = {1, 31, 32, 255, 256, 65535, 65536};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct buf json, mp;
        struct mp_reader r;
        struct mp_value v;
        buf_init(&json, LARGE);
        buf_init(&mp, LARGE);
        assert_true(buf_append_str(&json, "\"\\n"));
        for (size_t n = 1; n < lengths[i]; n++)
            assert_true(buf_append_byte(&json, 'x'));
        assert_true(buf_append_byte(&json, '"'));
        assert_true(transcode_json_to_msgpack(buf_span(&json), &mp));
        mp_reader_init(&r, buf_span(&mp));
        assert_true(mp_read(&r, &v) && r.p == r.end);
        assert_int_equal(v.kind, MP_STR);
        assert_int_equal(v.s.n, lengths[i]);
        assert_int_equal(v.s.p[0], '\n');
        struct buf twin;
        buf_init(&twin, LARGE);
        assert_true(mp_write_str(&twin, v.s));
        assert_true(span_eq(buf_span(&twin), buf_span(&mp)));
        buf_fini(&twin);
        buf_fini(&json);
        buf_fini(&mp);
    }
    struct buf b;
    buf_init(&b, LARGE);
    assert_true(transcode_json_to_msgpack(SPAN_LIT("\"\\ud800x\\ud83d\\ude00\""), &b));
    assert_true(SPAN_IS(buf_span(&b), "\xa8\xEF\xBF\xBDx\xF0\x9F\x98\x80"));
    buf_fini(&b);
}

/* Heads of 2 and 4 bytes for the count. */
static void test_large_containers(void **state)
{
    static const uint32_t counts[] = {16, 65535, 65536};
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(counts); i++) {
        bool object = i % 2 == 1;
        uint32_t count = counts[i / 2];
        struct buf json, mp, back;
        struct mp_reader r;
        struct mp_value v;
        buf_init(&json, LARGE);
        buf_init(&mp, LARGE);
        buf_init(&back, LARGE);
        for (uint32_t n = 0; n < count; n++)
            assert_true(buf_append_byte(&json, n == 0 ? (object ? '{' : '[') : ',') &&
                        buf_append_str(&json, object ? "\"k\":1" : "1"));
        assert_true(buf_append_byte(&json, object ? '}' : ']'));
        assert_true(transcode_json_to_msgpack(buf_span(&json), &mp));
        assert_int_equal(mp_check(buf_span(&mp), MP_MAX_DEPTH), MP_OK);
        mp_reader_init(&r, buf_span(&mp));
        assert_true(mp_read(&r, &v));
        assert_int_equal(v.count, count);
        assert_int_equal(r.p - mp.data, count > UINT16_MAX ? 5 : 3);
        assert_true(transcode_msgpack_to_json(buf_span(&mp), &back));
        assert_true(span_eq(buf_span(&back), buf_span(&json)));
        buf_fini(&json);
        buf_fini(&mp);
        buf_fini(&back);
    }
}

static void test_msgpack_to_json(void **state)
{
    (void)state;
    TO_JSON("\xc0", "null");
    TO_JSON("\x93\xc3\xc2\x05", "[true,false,5]");
    TO_JSON("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615");
    TO_JSON("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808");
    TO_JSON("\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1");
    TO_JSON("\xca\x3d\xcc\xcc\xcd", "0.10000000149011612");
    TO_JSON("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null");
    TO_JSON("\xca\xff\x80\x00\x00", "null");
    TO_JSON("\xa4\"\\\n\x01", "\"\\\"\\\\\\n\\u0001\"");
    TO_JSON("\xa3"
            "a\xff"
            "b",
            "\"a\xEF\xBF\xBD"
            "b\"");
    TO_JSON("\xc4\x03\x00\xff\x01", "\"AP8B\"");
    TO_JSON("\x91\xd4\xff\x01", "[{\"ext\":-1,\"data\":\"AQ==\"}]");
    TO_JSON("\xc7\x00\x07", "{\"ext\":7,\"data\":\"\"}");
    TO_JSON("\xdf\x00\x00\x00\x00", "{}");
    TO_JSON("\x82\xa1"
            "a\x90\xa1"
            "a\x81\xa0\x80",
            "{\"a\":[],\"a\":{\"\":{}}}");
}

static void test_keys(void **state)
{
    struct buf b;
    (void)state;
    TO_JSON("\x87\x07\x01\xff\x02\xc3\x03\xc0\x04\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00\x05\xc4\x01z\x06\xa1k\x07",
            "{\"7\":1,\"-1\":2,\"true\":3,\"null\":4,\"0.5\":5,\"eg==\":6,\"k\":7}");
    TO_JSON("\x81\xca\x7f\xc0\x00\x00\x01", "{\"null\":1}");
    buf_init(&b, LARGE);
    assert_false(transcode_msgpack_to_json(SPAN_LIT("\x81\x90\x01"), &b));
    assert_false(transcode_msgpack_to_json(SPAN_LIT("\x81\x80\x01"), &b));
    assert_false(transcode_msgpack_to_json(SPAN_LIT("\x81\xd4\x01\x01\x01"), &b));
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void test_bad_input(void **state)
{
    uint8_t deep[MP_MAX_DEPTH + 2];
    struct buf b;
    (void)state;
    buf_init(&b, LARGE);
    assert_false(transcode_json_to_msgpack(SPAN_LIT(""), &b));
    assert_false(transcode_json_to_msgpack(SPAN_LIT("[1,"), &b));
    assert_false(transcode_json_to_msgpack(SPAN_LIT("1 2"), &b));
    assert_false(transcode_json_to_msgpack(SPAN_LIT("\"\xff\""), &b));
    assert_false(transcode_msgpack_to_json(SPAN_LIT(""), &b));
    assert_false(transcode_msgpack_to_json(SPAN_LIT("\x92\x01"), &b));
    assert_false(transcode_msgpack_to_json(SPAN_LIT("\x01\x01"), &b));
    assert_false(transcode_msgpack_to_json(SPAN_LIT("\xc1"), &b));
    memset(deep, 0x91, sizeof deep);
    deep[sizeof deep - 1] = 0x01;
    assert_false(transcode_msgpack_to_json(span_of(deep, sizeof deep), &b));
    memset(deep, '[', sizeof deep);
    assert_false(transcode_json_to_msgpack(span_of(deep, sizeof deep), &b));
    assert_int_equal(b.len, 0);
    assert_true(transcode_msgpack_to_json(SPAN_LIT("\x01"), &b));
    buf_fini(&b);
}

static void random_round_trip(uint64_t *seed, struct guard *g)
{
    struct buf json, mp, back, tight;
    buf_init(&json, LARGE);
    buf_init(&mp, LARGE);
    buf_init(&back, LARGE);
    assert_true(random_json(seed, 4, &json));
    assert_true(transcode_json_to_msgpack(guard_load(g, buf_span(&json)), &mp));
    assert_int_equal(mp_check(buf_span(&mp), MP_MAX_DEPTH), MP_OK);
    assert_true(transcode_msgpack_to_json(guard_load(g, buf_span(&mp)), &back));
    assert_true(span_eq(buf_span(&back), buf_span(&json)));

    struct span cut = guard_load(g, span_of(mp.data, random_next(seed) % mp.len));
    back.len = 0;
    assert_false(transcode_msgpack_to_json(cut, &back));

    buf_init(&tight, random_next(seed) % mp.len);
    assert_false(transcode_json_to_msgpack(guard_load(g, buf_span(&json)), &tight));
    buf_fini(&tight);
    buf_init(&tight, random_next(seed) % json.len);
    assert_false(transcode_msgpack_to_json(guard_load(g, buf_span(&mp)), &tight));
    buf_fini(&tight);
    buf_fini(&json);
    buf_fini(&mp);
    buf_fini(&back);
}

static void test_random(void **state)
{
    uint64_t seed = 2024;
    struct guard g;
    (void)state;
    guard_open(&g, LARGE);
    for (int i = 0; i < 400; i++)
        random_round_trip(&seed, &g);
    guard_free(&g);
}

static void suite_case(void *arg, struct span kind, struct json_value want, struct span bytes, bool first)
{
    struct buf got, again, mp;
    (void)arg;
    buf_init(&got, LARGE);
    buf_init(&again, LARGE);
    buf_init(&mp, LARGE);
    assert_true(transcode_msgpack_to_json(bytes, &got));
    if (SPAN_IS(kind, "bignum")) {
        /* Those encoded as floats may be written with fewer digits. */
        assert_true(span_eq(buf_span(&got), suite_text(want)) || bytes.p[0] == 0xCA || bytes.p[0] == 0xCB);
    } else if (SPAN_IS(kind, "binary") || SPAN_IS(kind, "ext") || SPAN_IS(kind, "timestamp")) {
        struct json_value v;
        assert_int_equal(json_parse(buf_span(&got), JSON_MAX_DEPTH, &v), JSON_OK);
        assert_int_equal(v.kind, SPAN_IS(kind, "binary") ? JSON_STRING : JSON_OBJECT);
    } else {
        /* Through msgpack once more, so that the suite's spelling of the value does not matter. */
        assert_true(transcode_json_to_msgpack(want.raw, &mp));
        assert_true(transcode_msgpack_to_json(buf_span(&mp), &again));
        assert_true(span_eq(buf_span(&got), buf_span(&again)));
        assert_true(!first || mp.len <= bytes.n || bytes.p[0] == 0xCA);
    }
    buf_fini(&got);
    buf_fini(&again);
    buf_fini(&mp);
}

static void test_suite(void **state)
{
    (void)state;
    if (suite_msgpack(suite_case, NULL) == 0) {
        print_message("msgpack-test-suite is not beside the project (" SUITE_FOLDER "): skipped\n");
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_to_msgpack),
        cmocka_unit_test(test_long_number),
        cmocka_unit_test(test_json_to_msgpack),
        cmocka_unit_test(test_escaped_strings),
        cmocka_unit_test(test_large_containers),
        cmocka_unit_test(test_msgpack_to_json),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_suite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
