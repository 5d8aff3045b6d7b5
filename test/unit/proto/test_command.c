/*
 * test_command.c - client commands in both codecs: each type with its members, every refusal with its code and
 * sentence, refs repeated byte for byte, prefixes, limits and scratch.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "guard.h"
#include "proto/codec.h"
#include "proto/envelope.h"
#include "proto/json.h"
#include "proto/transcode.h"

enum { MAX_DATA = 100 };

struct result {
    int code;
    struct command cmd;
    struct command_error err;
    struct guard guard;
    struct buf scratch;
};

static void parse(struct result *r, enum codec c, struct span frame)
{
    memset(r, 0, sizeof *r);
    buf_init(&r->scratch, 4096);
    r->code = command_parse(c, guard_copy(&r->guard, frame), MAX_DATA, &r->scratch, &r->cmd, &r->err);
}

/* The same JSON text read as JSON, or transcoded and read as msgpack. */
static void parse_as(struct result *r, enum codec c, const char *json)
{
    struct buf mp;
    buf_init(&mp, 4096);
    if (c == CODEC_MSGPACK)
        assert_true(transcode_json_to_msgpack(span_str(json), &mp));
    parse(r, c, c == CODEC_JSON ? span_str(json) : buf_span(&mp));
    buf_fini(&mp);
}

static void done(struct result *r)
{
    buf_fini(&r->scratch);
    guard_free(&r->guard);
}

static const enum codec both[] = {CODEC_JSON, CODEC_MSGPACK};

static void expect_fine(struct result *r, enum codec c, const char *json, enum command_type type)
{
    parse_as(r, c, json);
    if (r->code != 0)
        fail_msg("%s: %s %s", json, r->err.code, r->err.message);
    assert_int_equal(r->cmd.type, type);
}

static void test_simple_types(void **state)
{
    struct result r;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        expect_fine(&r, both[i], "{\"type\":\"ack\",\"seq\":9007199254740991}", CMD_ACK);
        assert_true(r.cmd.seq == JSON_MAX_SAFE && r.cmd.ref.n == 0);
        done(&r);
        expect_fine(&r, both[i], "{\"room\":\"n\\u00e9ws\",\"type\":\"subscribe\"}", CMD_SUBSCRIBE);
        assert_true(SPAN_IS(r.cmd.room, "n\xC3\xA9ws") && !r.cmd.has_since && !r.cmd.presence);
        done(&r);
        expect_fine(&r, both[i], "{\"type\":\"subscribe\",\"room\":\"a\",\"since\":0,\"presence\":true}",
                    CMD_SUBSCRIBE);
        assert_true(r.cmd.has_since && r.cmd.since == 0 && r.cmd.presence);
        done(&r);
        expect_fine(&r, both[i], "{\"type\":\"unsubscribe\",\"room\":\"a\"}", CMD_UNSUBSCRIBE);
        done(&r);
        expect_fine(&r, both[i], "{\"type\":\"presence\",\"room\":\"a\"}", CMD_PRESENCE);
        assert_true(r.cmd.limit == 0);
        done(&r);
        expect_fine(&r, both[i], "{\"type\":\"history\",\"room\":\"a\",\"limit\":10}", CMD_HISTORY);
        assert_true(r.cmd.limit == 10);
        done(&r);
        expect_fine(&r, both[i], "{\"type\":\"refresh\",\"token\":\"a.b.c\"}", CMD_REFRESH);
        assert_true(SPAN_IS(r.cmd.token, "a.b.c"));
        done(&r);
        expect_fine(&r, both[i], "{\"type\":\"p\\u006fng\"}", CMD_PONG);
        done(&r);
    }
}

static void test_send(void **state)
{
    struct result r;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        expect_fine(&r, both[i], "{\"type\":\"send\",\"user\":\"bob\",\"data\":null}", CMD_SEND);
        assert_true(SPAN_IS(r.cmd.user, "bob") && r.cmd.room.n == 0 && !r.cmd.all && r.cmd.echo);
        assert_true(r.cmd.ttl_s == TTL_UNSET && r.cmd.priority == PRIO_NORMAL && r.cmd.id.n == 0);
        assert_int_equal(r.cmd.format, both[i] == CODEC_JSON ? DATA_JSON : DATA_MSGPACK);
        done(&r);
        expect_fine(&r, both[i],
                    "{\"type\":\"send\",\"all\":true,\"data\":1,\"ttl\":0,\"priority\":\"high\",\"echo\":false}",
                    CMD_SEND);
        assert_true(r.cmd.all && r.cmd.ttl_s == 0 && r.cmd.priority == PRIO_HIGH && !r.cmd.echo);
        done(&r);
        expect_fine(&r, both[i],
                    "{\"type\":\"send\",\"all\":false,\"room\":\"r\",\"data\":1,\"id\":\"\\u0078\",\"event\":\"e\","
                    "\"ttl\":315360000}",
                    CMD_SEND);
        assert_true(!r.cmd.all && SPAN_IS(r.cmd.room, "r") && SPAN_IS(r.cmd.id, "x") && SPAN_IS(r.cmd.event, "e"));
        assert_int_equal(r.cmd.ttl_s, 315360000);
        done(&r);
    }
}

/* The data's bytes as they came, whatever they are. */
static void test_data_stays(void **state)
{
    struct result r;
    (void)state;
    parse(&r, CODEC_JSON,
          SPAN_LIT("{\"type\":\"send\",\"user\":\"b\",\"data\": {\"n\" : 1e400,\r\n\"s\":\"\\ud800\\/\"} }"));
    assert_int_equal(r.code, 0);
    assert_true(SPAN_IS(r.cmd.data, "{\"n\" : 1e400,\r\n\"s\":\"\\ud800\\/\"}"));
    done(&r);
    parse(&r, CODEC_MSGPACK,
          SPAN_LIT("\x83\xa4type\xa4send\xa4user\xa1"
                   "b\xa4"
                   "data\xd3\x00\x00\x00\x00\x00\x00\x00\x01"));
    assert_int_equal(r.code, 0);
    assert_true(SPAN_IS(r.cmd.data, "\xd3\x00\x00\x00\x00\x00\x00\x00\x01"));
    done(&r);
}

/* Members that a type does not take, and names nobody knows, change nothing. */
static void test_extra_members(void **state)
{
    struct result r;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        expect_fine(
            &r, both[i],
            "{\"type\":\"pong\",\"room\":7,\"seq\":\"x\",\"data\":[],\"new\":{\"type\":1},\"new\":2,\"token\":null}",
            CMD_PONG);
        assert_true(r.cmd.room.n == 0 && r.cmd.data.n == 0 && r.cmd.token.n == 0 && r.cmd.seq == 0);
        done(&r);
    }
}

static void expect_ref(enum codec c, struct span frame, struct span ref)
{
    struct result r;
    parse(&r, c, frame);
    assert_int_equal(r.code, 0);
    assert_true(span_eq(r.cmd.ref, ref));
    done(&r);
}

static void test_refs(void **state)
{
    (void)state;
    expect_ref(CODEC_JSON, SPAN_LIT("{\"type\":\"pong\",\"ref\": 1e400 }"), SPAN_LIT("1e400"));
    expect_ref(CODEC_JSON, SPAN_LIT("{\"ref\":\"\\ud800\\u0041\",\"type\":\"pong\"}"), SPAN_LIT("\"\\ud800\\u0041\""));
    expect_ref(CODEC_JSON, SPAN_LIT("{\"ref\":-1.50,\"type\":\"pong\"}"), SPAN_LIT("-1.50"));
    expect_ref(CODEC_MSGPACK, SPAN_LIT("\x82\xa4type\xa4pong\xa3ref\xd1\x00\x05"), SPAN_LIT("\xd1\x00\x05"));
    expect_ref(CODEC_MSGPACK, SPAN_LIT("\x82\xa4type\xa4pong\xa3ref\xd9\x01\xff"), SPAN_LIT("\xd9\x01\xff"));
    expect_ref(CODEC_MSGPACK, SPAN_LIT("\x82\xa3ref\xca\x00\x00\x00\x01\xa4type\xa4pong"),
               SPAN_LIT("\xca\x00\x00\x00\x01"));
}

static void expect_error(enum codec c, const char *json, const char *code, const char *message)
{
    struct result r;
    parse_as(&r, c, json);
    assert_true(r.code < 0);
    assert_string_equal(r.err.code, code);
    assert_string_equal(r.err.message, message);
    done(&r);
}

#define SEND "{\"type\":\"send\",\"user\":\"b\",\"data\":1,"

static const struct {
    const char *frame, *code, *message;
} refusals[] = {
    {"{}", "bad_request", "type is missing"},
    {"{\"type\":1}", "bad_request", "type must be a string"},
    {"{\"type\":\"Ack\"}", "unknown_type", "type \"Ack\" is not known here"},
    {"{\"type\":\"message\"}", "unknown_type", "type \"message\" is not known here"},
    {"{\"type\":\"\\n\"}", "unknown_type", "type is not one that is known here"},
    {"{\"type\":\"ack\"}", "bad_request", "ack needs seq"},
    {"{\"type\":\"subscribe\"}", "bad_request", "subscribe needs room"},
    {"{\"type\":\"refresh\"}", "bad_request", "refresh needs token"},
    {"{\"type\":\"refresh\",\"token\":\"\"}", "bad_request", "token must be a string that is not empty"},
    {"{\"type\":\"ack\",\"seq\":-1}", "bad_request", "seq must be a whole number from 0 to 9007199254740991"},
    {"{\"type\":\"ack\",\"seq\":1.5}", "bad_request", "seq must be a whole number from 0 to 9007199254740991"},
    {"{\"type\":\"ack\",\"seq\":\"1\"}", "bad_request", "seq must be a whole number from 0 to 9007199254740991"},
    {"{\"type\":\"ack\",\"seq\":9007199254740992}", "bad_request",
     "seq must be a whole number from 0 to 9007199254740991"},
    {"{\"type\":\"subscribe\",\"room\":\"\"}", "bad_request",
     "room must be a string of 1 to 128 bytes without control characters"},
    {"{\"type\":\"subscribe\",\"room\":\"a\\u0000\"}", "bad_request",
     "room must be a string of 1 to 128 bytes without control characters"},
    {"{\"type\":\"subscribe\",\"room\":null}", "bad_request",
     "room must be a string of 1 to 128 bytes without control characters"},
    {"{\"type\":\"subscribe\",\"room\":\"a\",\"presence\":1}", "bad_request", "presence must be true or false"},
    {"{\"type\":\"send\",\"data\":1}", "bad_request", "send needs exactly one of user, room and all"},
    {"{\"type\":\"send\",\"data\":1,\"all\":false}", "bad_request", "send needs exactly one of user, room and all"},
    {"{\"type\":\"send\",\"user\":\"b\"}", "bad_request", "send needs data"},
    {SEND "\"room\":\"r\"}", "bad_request", "send needs exactly one of user, room and all"},
    {SEND "\"all\":true}", "bad_request", "send needs exactly one of user, room and all"},
    {SEND "\"all\":1}", "bad_request", "all must be true or false"},
    {SEND "\"ttl\":315360001}", "bad_request", "ttl must be whole seconds from 0 to 315360000"},
    {SEND "\"priority\":\"x\"}", "bad_request", "priority must be \"low\", \"normal\" or \"high\""},
    {SEND "\"echo\":\"no\"}", "bad_request", "echo must be true or false"},
    {SEND "\"event\":\"\\r\"}", "bad_request", "event must be a string of 1 to 64 bytes without control characters"},
    {SEND "\"id\":5}", "bad_request", "id must be a string of 1 to 128 bytes without control characters"},
    {SEND "\"user\":\"c\"}", "bad_request", "user is there twice"},
    {"{\"type\":\"pong\",\"type\":\"pong\"}", "bad_request", "type is there twice"},
    {"{\"type\":\"pong\",\"ref\":null}", "bad_request", "ref must be a string or a number of at most 256 bytes"},
    {"{\"type\":\"pong\",\"ref\":[1]}", "bad_request", "ref must be a string or a number of at most 256 bytes"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(refusals); i++)
        expect_error(both[i % 2], refusals[i / 2].frame, refusals[i / 2].code, refusals[i / 2].message);
    expect_error(CODEC_JSON, "{\"type\":\"subscribe\",\"room\":\"\\udc00\"}", "bad_request",
                 "room holds half a surrogate pair");
}

static void expect_bad_frame(enum codec c, struct span frame, const char *code)
{
    struct result r;
    parse(&r, c, frame);
    assert_true(r.code < 0);
    assert_string_equal(r.err.code, code);
    assert_true(r.err.message[0] != 0 && r.err.ref.n == 0);
    done(&r);
}

static void test_bad_frames(void **state)
{
    char deep[200];
    (void)state;
    expect_bad_frame(CODEC_JSON, SPAN_LIT(""), "bad_json");
    expect_bad_frame(CODEC_JSON, SPAN_LIT("[]"), "bad_json");
    expect_bad_frame(CODEC_JSON, SPAN_LIT("hello"), "bad_json");
    expect_bad_frame(CODEC_JSON, SPAN_LIT("{\"type\":\"pong\"} {}"), "bad_json");
    expect_bad_frame(CODEC_JSON, SPAN_LIT("{\"type\":\"pong\",}"), "bad_json");
    expect_bad_frame(CODEC_JSON, SPAN_LIT("{\"type\":\"\xff\"}"), "bad_json");
    expect_bad_frame(CODEC_MSGPACK, SPAN_LIT(""), "bad_msgpack");
    expect_bad_frame(CODEC_MSGPACK, SPAN_LIT("\x90"), "bad_msgpack");
    expect_bad_frame(CODEC_MSGPACK, SPAN_LIT("\x81\xa4type\xa4pong\xc0"), "bad_msgpack");
    expect_bad_frame(CODEC_MSGPACK, SPAN_LIT("\x81\xa4type"), "bad_msgpack");
    expect_bad_frame(CODEC_MSGPACK, SPAN_LIT("\xdf\xff\xff\xff\xff\x01\x01"), "bad_msgpack");
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    expect_bad_frame(CODEC_JSON, span_of(deep, sizeof deep), "too_deep");
    memset(deep, '\x91', sizeof deep);
    memcpy(deep, "\x81\xa1z", 3);
    expect_bad_frame(CODEC_MSGPACK, span_of(deep, sizeof deep), "too_deep");
}

/* The ref is in the error even when it stands behind the fault; one that cannot be repeated is not. */
static void test_error_refs(void **state)
{
    struct result r;
    char text[400];
    (void)state;
    parse(&r, CODEC_JSON, SPAN_LIT("{\"type\":\"ack\",\"seq\":-1,\"seq\":2,\"ref\":\"r\"}"));
    assert_true(r.code < 0 && SPAN_IS(r.err.ref, "\"r\""));
    done(&r);
    parse(&r, CODEC_JSON, SPAN_LIT("{\"type\":\"nonsense\",\"ref\":5}"));
    assert_true(r.code < 0 && SPAN_IS(r.err.ref, "5"));
    done(&r);
    for (int n = 254; n <= 255; n++) {
        snprintf(text, sizeof text, "{\"type\":\"pong\",\"ref\":\"%0*d\"}", n, 7);
        parse(&r, CODEC_JSON, span_str(text));
        assert_int_equal(r.code, n == 254 ? 0 : -1);
        assert_int_equal(n == 254 ? r.cmd.ref.n : r.err.ref.n, n == 254 ? 256 : 0);
        done(&r);
    }
}

static void test_too_big(void **state)
{
    struct result r;
    char text[256];
    (void)state;
    for (int n = MAX_DATA; n <= MAX_DATA + 1; n++) {
        snprintf(text, sizeof text, "{\"type\":\"send\",\"user\":\"b\",\"data\":\"%0*d\"}", n - 2, 7);
        parse(&r, CODEC_JSON, span_str(text));
        assert_int_equal(r.code, n == MAX_DATA ? 0 : -1);
        if (r.code < 0) {
            assert_string_equal(r.err.code, "too_big");
            assert_string_equal(r.err.message, "data is 101 bytes, the limit is 100");
        }
        done(&r);
    }
}

static void test_scratch(void **state)
{
    static const char frame[] = "{\"type\":\"send\",\"user\":\"\\u0062\",\"data\":1,\"id\":\"\\u0069d\"}";
    (void)state;
    for (size_t max = 0; max <= 18; max++) {
        struct buf scratch;
        struct command cmd;
        struct command_error err;
        buf_init(&scratch, max);
        int code = command_parse(CODEC_JSON, SPAN_LIT(frame), MAX_DATA, &scratch, &cmd, &err);
        assert_int_equal(code, max < 17 ? -1 : 0);
        if (code == 0)
            assert_true(SPAN_IS(cmd.user, "b") && SPAN_IS(cmd.id, "id"));
        else
            assert_string_equal(err.code, "too_big");
        buf_fini(&scratch);
    }
}

static void test_every_prefix(void **state)
{
    static const char frame[] = "{\"type\":\"send\",\"ref\":\"\\u00e9\",\"user\":\"bob\",\"data\":{\"a\":[1,2.5e3,null]"
                                "},\"ttl\":60,\"echo\":false}";
    struct buf mp;
    struct result r;
    (void)state;
    buf_init(&mp, 4096);
    assert_true(transcode_json_to_msgpack(SPAN_LIT(frame), &mp));
    for (size_t n = 0; n < sizeof frame - 1; n++)
        expect_bad_frame(CODEC_JSON, span_of(frame, n), "bad_json");
    for (size_t n = 0; n < mp.len; n++)
        expect_bad_frame(CODEC_MSGPACK, span_of(mp.data, n), "bad_msgpack");
    expect_fine(&r, CODEC_JSON, frame, CMD_SEND);
    done(&r);
    expect_fine(&r, CODEC_MSGPACK, frame, CMD_SEND);
    done(&r);
    buf_fini(&mp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple_types),  cmocka_unit_test(test_send),         cmocka_unit_test(test_data_stays),
        cmocka_unit_test(test_extra_members), cmocka_unit_test(test_refs),         cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bad_frames),    cmocka_unit_test(test_error_refs),   cmocka_unit_test(test_too_big),
        cmocka_unit_test(test_scratch),       cmocka_unit_test(test_every_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
