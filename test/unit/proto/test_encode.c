/*
 * test_encode.c - each server message in both codecs: the JSON text exactly, the msgpack map transcoded back to that
 * text, all or nothing at every ceiling; data byte for byte within a codec and converted between them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "proto/codec.h"
#include "proto/json.h"
#include "proto/mp.h"
#include "proto/transcode.h"
#include "random_value.h"

/* What is there for the writers of one case: a message of one kind with its arguments. */
typedef bool writer(enum codec c, const void *arg, struct buf *out);

/* out is what fn writes; every smaller ceiling refuses and leaves what was there. */
static void write_tight(writer *fn, enum codec c, const void *arg, struct buf *out)
{
    buf_init(out, 1 << 20);
    assert_true(fn(c, arg, out));
    for (size_t max = 1; max <= out->len && out->len < 4096; max++) {
        struct buf tight;
        buf_init(&tight, max);
        assert_true(buf_append_byte(&tight, '#'));
        assert_false(fn(c, arg, &tight));
        assert_int_equal(tight.len, 1);
        assert_int_equal(tight.data[0], '#');
        buf_fini(&tight);
    }
}

static void expect_json(writer *fn, const void *arg, const char *want)
{
    struct buf out;
    struct json_value v;
    write_tight(fn, CODEC_JSON, arg, &out);
    if (!span_eq(buf_span(&out), span_str(want)))
        fail_msg("wrote %.*s\nwanted %s", SPAN_ARG(buf_span(&out)), want);
    assert_int_equal(json_parse(buf_span(&out), JSON_MAX_DEPTH, &v), JSON_OK);
    buf_fini(&out);
}

/* The map, seen through JSON. */
static void expect_msgpack(writer *fn, const void *arg, const char *want)
{
    struct buf out, json;
    write_tight(fn, CODEC_MSGPACK, arg, &out);
    assert_int_equal(mp_check(buf_span(&out), MP_MAX_DEPTH), MP_OK);
    buf_init(&json, 1 << 20);
    assert_true(transcode_msgpack_to_json(buf_span(&out), &json));
    if (!span_eq(buf_span(&json), span_str(want)))
        fail_msg("wrote %.*s\nwanted %s", SPAN_ARG(buf_span(&json)), want);
    buf_fini(&json);
    buf_fini(&out);
}

static void expect_both(writer *fn, const void *arg, const char *want)
{
    expect_json(fn, arg, want);
    expect_msgpack(fn, arg, want);
}

static bool write_message(enum codec c, const void *arg, struct buf *out)
{
    return encode_message(c, arg, out);
}

static struct job_head head(enum target_kind kind, const char *target, enum data_format format, struct span data)
{
    return (struct job_head){.kind = kind,
                             .target = span_str(target),
                             .ts_ms = 1700000000123,
                             .id = SPAN_LIT("i\"d"),
                             .format = format,
                             .data = data};
}

static void test_message_members(void **state)
{
    struct job_head h = head(TARGET_USER, "bob", DATA_JSON, SPAN_LIT("{\"a\":[1,null]}"));
    (void)state;
    expect_both(write_message, &h,
                "{\"type\":\"message\",\"id\":\"i\\\"d\",\"ts\":1700000000123,\"data\":{\"a\":[1,null]}}");
    h.seq = 9007199254740991;
    h.event = SPAN_LIT("tick");
    h.from = SPAN_LIT("al\xC3\xAF");
    expect_both(
        write_message, &h,
        "{\"type\":\"message\",\"id\":\"i\\\"d\",\"seq\":9007199254740991,\"event\":\"tick\",\"from\":\"al\xC3\xAF\","
        "\"ts\":1700000000123,\"data\":{\"a\":[1,null]}}");
    h = head(TARGET_ROOM, "n\\s", DATA_JSON, SPAN_LIT("0"));
    expect_both(write_message, &h,
                "{\"type\":\"message\",\"id\":\"i\\\"d\",\"room\":\"n\\\\s\",\"ts\":1700000000123,\"data\":0}");
    h = head(TARGET_ALL, NULL, DATA_JSON, SPAN_LIT("0"));
    expect_both(write_message, &h,
                "{\"type\":\"message\",\"id\":\"i\\\"d\",\"all\":true,\"ts\":1700000000123,\"data\":0}");
}

#define FRONT "{\"type\":\"message\",\"id\":\"i\\\"d\",\"ts\":1700000000123,\"data\":"

/* Byte for byte: numbers no double can hold, odd spellings, white space, half surrogates. */
static void test_json_stays(void **state)
{
    static const char *const same[] = {
        "1e400",
        "123456789012345678901234567890",
        "-0.0000",
        "1E+2",
        "{\n\t\"a\" : [ 1 ,2 ]\r\n}",
        "\"\\u0041\\/\\ud800\"",
        "{\"a\":1,\"a\":2}",
        "\"\xE2\x80\xA8\"",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        struct job_head h = head(TARGET_USER, "bob", DATA_JSON, span_str(same[i]));
        char want[256];
        snprintf(want, sizeof want, FRONT "%s}", same[i]);
        expect_json(write_message, &h, want);
    }
}

static void test_msgpack_stays(void **state)
{
    static const struct span same[] = {
        SPAN_LIT("\xd3\x00\x00\x00\x00\x00\x00\x00\x01"),
        SPAN_LIT("\xd9\x01\xff"),
        SPAN_LIT("\xd4\xff\x01"),
        SPAN_LIT("\xdf\x00\x00\x00\x01\x05\xc0"),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        struct job_head h = head(TARGET_USER, "bob", DATA_MSGPACK, same[i]);
        struct buf out;
        write_tight(write_message, CODEC_MSGPACK, &h, &out);
        assert_true(out.len > same[i].n);
        assert_memory_equal(out.data + out.len - same[i].n, same[i].p, same[i].n);
        assert_int_equal(mp_check(buf_span(&out), MP_MAX_DEPTH), MP_OK);
        buf_fini(&out);
    }
}

static void test_data_converts(void **state)
{
    struct job_head h = head(TARGET_USER, "bob", DATA_MSGPACK, SPAN_LIT("\x92\xd0\x05\xc4\x01\xff"));
    (void)state;
    expect_both(write_message, &h, FRONT "[5,\"/w==\"]}");
    h = head(TARGET_USER, "bob", DATA_TEXT, SPAN_LIT("say \"hi\"\n\x01"));
    expect_both(write_message, &h, FRONT "\"say \\\"hi\\\"\\n\\u0001\"}");
    h = head(TARGET_USER, "bob", DATA_TEXT, SPAN_LIT(""));
    expect_both(write_message, &h, FRONT "\"\"}");
    h = head(TARGET_USER, "bob", DATA_BINARY, SPAN_LIT("\x00\x01\xff"));
    expect_both(write_message, &h, FRONT "\"AAH/\"}");
    h = head(TARGET_USER, "bob", DATA_JSON, SPAN_LIT("{ \"a\" : 1.50 }"));
    expect_msgpack(write_message, &h, FRONT "{\"a\":1.5}}");
    h = head(TARGET_USER, "bob", DATA_JSON, SPAN_LIT("1e400"));
    expect_msgpack(write_message, &h, FRONT "null}");
    /* A job nobody should have made: the object stays whole. */
    h = head(TARGET_USER, "bob", DATA_JSON, SPAN_LIT(""));
    expect_both(write_message, &h, FRONT "null}");
}

static void test_random_messages(void **state)
{
    uint64_t seed = 11;
    (void)state;
    for (int i = 0; i < 100; i++) {
        struct buf data, want;
        buf_init(&data, 1 << 19);
        buf_init(&want, 1 << 20);
        assert_true(random_json(&seed, 3, &data));
        struct job_head h = head(TARGET_USER, "bob", DATA_JSON, buf_span(&data));
        assert_true(buf_append_str(&want, FRONT) && buf_append_span(&want, buf_span(&data)) &&
                    buf_append(&want, "}", 2));
        if (memchr(want.data, 0, want.len - 1) == NULL)
            expect_both(write_message, &h, (const char *)want.data);
        buf_fini(&data);
        buf_fini(&want);
    }
}

static bool write_welcome(enum codec c, const void *arg, struct buf *out)
{
    return encode_welcome(c, arg, out);
}

static void test_welcome(void **state)
{
    struct welcome w = {.conn = UINT64_MAX,
                        .user = SPAN_LIT("al"),
                        .device = SPAN_LIT("d1"),
                        .node = SPAN_LIT("n1"),
                        .cursor = 5,
                        .pending = 2,
                        .ping_s = 25,
                        .max_message = 65536,
                        .max_payload = 65535,
                        .max_rooms = 128,
                        .window = 256};
    (void)state;
    expect_both(
        write_welcome, &w,
        "{\"type\":\"welcome\",\"conn\":\"18446744073709551615\",\"user\":\"al\",\"device\":\"d1\",\"node\":\"n1\","
        "\"cursor\":5,\"pending\":2,\"ping\":25,"
        "\"limits\":{\"message\":65536,\"payload\":65535,\"rooms\":128,\"window\":256}}");
    w.user = span_str(NULL);
    w.conn = 0;
    expect_both(write_welcome, &w,
                "{\"type\":\"welcome\",\"conn\":\"0\",\"node\":\"n1\",\"cursor\":5,\"pending\":2,\"ping\":25,"
                "\"limits\":{\"message\":65536,\"payload\":65535,\"rooms\":128,\"window\":256}}");
}

/* The ref of each codec that looks like "r1" in JSON. */
static struct span ref_of(enum codec c)
{
    return c == CODEC_JSON ? SPAN_LIT("\"r1\"") : SPAN_LIT("\xa2r1");
}

static bool write_ok(enum codec c, const void *arg, struct buf *out)
{
    return encode_ok(c, arg != NULL ? ref_of(c) : span_str(NULL), out);
}

static bool write_ok_send(enum codec c, const void *arg, struct buf *out)
{
    const uint64_t *seq = arg;
    return encode_ok_send(c, ref_of(c), SPAN_LIT("m1"), *seq, 3, *seq > 0, out);
}

static bool write_ok_subscribe(enum codec c, const void *arg, struct buf *out)
{
    return encode_ok_subscribe(c, ref_of(c), arg, out);
}

static void test_ok(void **state)
{
    struct ok_subscribe s = {.room = SPAN_LIT("news")};
    uint64_t seq = 0;
    (void)state;
    expect_both(write_ok, NULL, "{\"type\":\"ok\"}");
    expect_both(write_ok, "ref", "{\"type\":\"ok\",\"ref\":\"r1\"}");
    expect_both(write_ok_send, &seq, "{\"type\":\"ok\",\"ref\":\"r1\",\"id\":\"m1\",\"online\":3}");
    seq = 7;
    expect_both(write_ok_send, &seq,
                "{\"type\":\"ok\",\"ref\":\"r1\",\"id\":\"m1\",\"seq\":7,\"online\":3,\"duplicate\":true}");
    expect_both(write_ok_subscribe, &s, "{\"type\":\"ok\",\"ref\":\"r1\",\"room\":\"news\"}");
    s = (struct ok_subscribe){
        .room = SPAN_LIT("news"), .has_history = true, .has_since = true, .recovered = true, .seq = 4};
    expect_both(write_ok_subscribe, &s,
                "{\"type\":\"ok\",\"ref\":\"r1\",\"room\":\"news\",\"recovered\":true,\"seq\":4}");
}

static bool write_error(enum codec c, const void *arg, struct buf *out)
{
    const unsigned *retry = arg;
    return encode_error(c, *retry ? ref_of(c) : span_str(NULL), "bad_request", "say \"please\"", *retry, out);
}

static bool write_ping(enum codec c, const void *arg, struct buf *out)
{
    (void)arg;
    return encode_ping(c, out);
}

static bool write_expiring(enum codec c, const void *arg, struct buf *out)
{
    (void)arg;
    return encode_expiring(c, 30, out);
}

static bool write_closing(enum codec c, const void *arg, struct buf *out)
{
    const unsigned *retry = arg;
    return encode_closing(c, 1001, "drain", *retry, out);
}

static bool write_gap(enum codec c, const void *arg, struct buf *out)
{
    (void)arg;
    return encode_gap(c, (struct span){NULL, 0}, 3, 9007199254740991, out);
}

static void test_others(void **state)
{
    unsigned retry = 0;
    (void)state;
    expect_both(write_error, &retry,
                "{\"type\":\"error\",\"code\":\"bad_request\",\"message\":\"say \\\"please\\\"\"}");
    expect_both(write_closing, &retry, "{\"type\":\"closing\",\"code\":1001,\"reason\":\"drain\"}");
    retry = 5;
    expect_both(write_error, &retry,
                "{\"type\":\"error\",\"ref\":\"r1\",\"code\":\"bad_request\",\"message\":\"say "
                "\\\"please\\\"\",\"retry_after\":5}");
    retry = 1250;
    expect_both(write_closing, &retry,
                "{\"type\":\"closing\",\"code\":1001,\"reason\":\"drain\",\"retry_after\":1.25}");
    expect_both(write_ping, NULL, "{\"type\":\"ping\"}");
    expect_both(write_expiring, NULL, "{\"type\":\"expiring\",\"in\":30}");
    expect_both(write_gap, NULL, "{\"type\":\"gap\",\"from\":3,\"to\":9007199254740991}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_members),
        cmocka_unit_test(test_json_stays),
        cmocka_unit_test(test_msgpack_stays),
        cmocka_unit_test(test_data_converts),
        cmocka_unit_test(test_random_messages),
        cmocka_unit_test(test_welcome),
        cmocka_unit_test(test_ok),
        cmocka_unit_test(test_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
