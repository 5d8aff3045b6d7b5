/*
 * test_push_body.c - bodies of POST /api/push, in both formats, as a table; and the op that becomes of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "guard.h"
#include "net/push_body.h"
#include "proto/mp.h"

#define MAX_PAYLOAD 64

static void expect_fault(struct span body, enum codec format, unsigned status, const char *code, const char *part)
{
    struct guard g;
    struct push_body b;
    struct push_fault f = {0};
    bool ok = push_body_read(&b, format, guard_copy(&g, body), MAX_PAYLOAD, &f);

    push_body_fini(&b);
    guard_free(&g);
    if (ok)
        fail_msg("accepted %.*s", SPAN_ARG(body));
    if (f.status != status || strcmp(f.code, code) != 0 || !strstr(f.message, part))
        fail_msg("%.*s: %u %s \"%s\"", SPAN_ARG(body), f.status, f.code, f.message);
}

static void refused(void **state)
{
    static const struct {
        const char *body;
        unsigned status;
        const char *code, *part;
    } rows[] = {
        {"", 400, "bad_json", "JSON"},
        {"{", 400, "bad_json", "JSON"},
        {"[]", 400, "bad_json", "object"},
        {"{\"user\":\"a\",\"data\":\"\xff\"}", 400, "bad_json", "UTF-8"},
        {"{\"user\":\"a\",\"data\":1}x", 400, "bad_json", "JSON"},
        {"{\"data\":1}", 400, "bad_request", "exactly one"},
        {"{\"user\":\"a\",\"room\":\"b\",\"data\":1}", 400, "bad_request", "exactly one"},
        {"{\"user\":\"a\"}", 400, "bad_request", "data is missing"},
        {"{\"user\":\"a\",\"data\":1,\"dta\":2}", 400, "bad_request", "\"dta\""},
        {"{\"user\":\"a\",\"data\":1,\"Data\":2}", 400, "bad_request", "\"Data\""},
        {"{\"user\":\"a\",\"data\":1,\"a_member_with_a_name_of_more_than_forty_bytes\":2}", 400, "bad_request",
         "\"a_member_with_a_name_of_more_than_forty_...\""},
        {"{\"user\":\"a\",\"data\":1,\"data\":2}", 400, "bad_request", "data is there twice"},
        {"{\"user\":1,\"data\":1}", 400, "bad_request", "user must be"},
        {"{\"user\":\"\",\"data\":1}", 400, "bad_request", "user must be"},
        {"{\"user\":\"a\\nb\",\"data\":1}", 400, "bad_request", "user must be"},
        {"{\"user\":\"\\ud800\",\"data\":1}", 400, "bad_request", "user"},
        {"{\"room\":null,\"data\":1}", 400, "bad_request", "room must be"},
        {"{\"all\":false,\"data\":1}", 400, "bad_request", "all must be true"},
        {"{\"all\":1,\"data\":1}", 400, "bad_request", "all must be true"},
        {"{\"users\":[],\"data\":1}", 400, "bad_request", "users must be"},
        {"{\"users\":\"a\",\"data\":1}", 400, "bad_request", "users must be"},
        {"{\"users\":[\"a\",2],\"data\":1}", 400, "bad_request", "users must be"},
        {"{\"users\":[\"a\",\"\"],\"data\":1}", 400, "bad_request", "users must be"},
        {"{\"rooms\":[\"a\",[]],\"data\":1}", 400, "bad_request", "rooms must be"},
        {"{\"rooms\":[\"\\ud800\"],\"data\":1}", 400, "bad_request", "rooms must be"},
        {"{\"user\":\"a\",\"data\":1,\"ttl\":\"5\"}", 400, "bad_request", "ttl must be"},
        {"{\"user\":\"a\",\"data\":1,\"ttl\":-1}", 400, "bad_request", "ttl must be"},
        {"{\"user\":\"a\",\"data\":1,\"ttl\":1.5}", 400, "bad_request", "ttl must be"},
        {"{\"user\":\"a\",\"data\":1,\"ttl\":99999999999}", 400, "bad_request", "ttl must be"},
        {"{\"user\":\"a\",\"data\":1,\"priority\":\"urgent\"}", 400, "bad_request", "priority must be"},
        {"{\"user\":\"a\",\"data\":1,\"track\":1}", 400, "bad_request", "track must be"},
        {"{\"user\":\"a\",\"data\":1,\"id\":\"\"}", 400, "bad_request", "id must be"},
        {"{\"user\":\"a\",\"data\":1,\"event\":\"a\\r\\nb\"}", 400, "bad_request", "event must be"},
        {"{\"user\":\"a\",\"data\":1,\"from\":{}}", 400, "bad_request", "from must be"},
        {"{\"user\":\"a\",\"data\":1,\"collapse\":[]}", 400, "bad_request", "collapse must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":5}", 400, "bad_request", "escalate must be an object"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":null}", 400, "bad_request", "escalate must be an object"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":[]}", 400, "bad_request", "escalate must be an object"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":5}}", 400, "bad_request", "escalate.to must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"to\":[\"webhook\"]}}", 400, "bad_request",
         "escalate.after must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":0,\"to\":[\"webhook\"]}}", 400, "bad_request",
         "escalate.after must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":604801,\"to\":[\"webhook\"]}}", 400, "bad_request",
         "escalate.after must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":\"5\",\"to\":[\"webhook\"]}}", 400, "bad_request",
         "escalate.after must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":5,\"to\":[]}}", 400, "bad_request", "escalate.to must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":5,\"to\":\"webhook\"}}", 400, "bad_request",
         "escalate.to must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":5,\"to\":[\"sms\"]}}", 400, "bad_request",
         "escalate.to must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":5,\"to\":[\"webhook\",\"webhook\"]}}", 400, "bad_request",
         "escalate.to must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":5,\"to\":[\"webhook\",1]}}", 400, "bad_request",
         "escalate.to must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":5,\"to\":[\"webhook\"],\"text\":\"\"}}", 400,
         "bad_request", "escalate.text must be"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":5,\"to\":[\"webhook\"],\"txt\":\"a\"}}", 400,
         "bad_request", "escalate must be an object"},
        {"{\"user\":\"a\",\"data\":1,\"escalate\":{\"after\":5,\"after\":5,\"to\":[\"webhook\"]}}", 400, "bad_request",
         "escalate must be an object"},
        {"{\"room\":\"a\",\"data\":1,\"escalate\":{\"after\":5,\"to\":[\"webhook\"]}}", 400, "bad_request",
         "escalate is for messages to users"},
        {"{\"user\":\"a\",\"data\":\"0123456789012345678901234567890123456789012345678901234567890123\"}", 413,
         "too_big", "66 bytes, the limit is 64"},
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_fault(span_str(rows[i].body), CODEC_JSON, rows[i].status, rows[i].code, rows[i].part);
}

/* {"user":"a","data":DATA} with one of the values left out or replaced. */
static void refused_msgpack(void **state)
{
    static const struct {
        struct span body;
        const char *code, *part;
    } rows[] = {
        {SPAN_LIT(""), "bad_msgpack", "map"},
        {SPAN_LIT("\x90"), "bad_msgpack", "map"},
        {SPAN_LIT("\x82\xa4user\xa1"
                  "a\xa4"
                  "data"),
         "bad_msgpack", "msgpack"},
        {SPAN_LIT("\x82\xa4user\xa1"
                  "a\xa3"
                  "dta\x01"),
         "bad_request", "\"dta\""},
        {SPAN_LIT("\x81\x05\x06"), "bad_request", "no string"},
        {SPAN_LIT("\x82\xa4user\xc4\x01"
                  "a\xa4"
                  "data\x01"),
         "bad_request", "user must be"},
        {SPAN_LIT("\x82\xa4user\xa1\xff\xa4"
                  "data\x01"),
         "bad_request", "user must be"},
        {SPAN_LIT("\x82\xa5users\x91\xa1\xff\xa4"
                  "data\x01"),
         "bad_request", "users must be"},
        {SPAN_LIT("\x82\xa4user\xa1"
                  "a\xa4"
                  "data\x01\x00"),
         "bad_msgpack", "msgpack"},
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_fault(rows[i].body, CODEC_MSGPACK, 400, rows[i].code, rows[i].part);
}

/* The same in both formats: channels in the order given, escapes decoded, and what is escalated is tracked. */
static void escalate(void **state)
{
    static const char json[] =
        "{\"escalate\":{\"text\":\"\\u00fc \\n\",\"to\":[\"w\\u0065bhook\",\"wecom\",\"wechat\"],"
        "\"after\":604800},\"data\":1,\"user\":\"\\u0061\"}";
    static const char packed[] =
        "\x83\xa4user\xa1"
        "a\xa4"
        "data\x01\xa8"
        "escalate\x83\xa5"
        "after\xce\x00\x09\x3a\x80\xa2to\x93\xa7webhook\xa5wecom\xa6wechat\xa4text\xa4\xc3\xbc \n";
    const struct span bodies[] = {[CODEC_JSON] = SPAN_LIT(json), [CODEC_MSGPACK] = SPAN_LIT(packed)};
    (void)state;

    for (unsigned c = CODEC_JSON; c <= CODEC_MSGPACK; c++) {
        struct push_body b;
        struct push_fault f = {0};
        struct guard g;
        if (!push_body_read(&b, (enum codec)c, guard_copy(&g, bodies[c]), MAX_PAYLOAD, &f))
            fail_msg("refused: %s", f.message);
        assert_int_equal(b.escalate.after_s, 604800);
        assert_string_equal(b.escalate.to, "webhook,wecom,wechat");
        assert_true(SPAN_IS(b.escalate.text, "\xc3\xbc \n"));
        assert_true(SPAN_IS(b.targets[0].name, "a"));
        assert_true(b.envelope.track);
        push_body_fini(&b);
        guard_free(&g);
    }
}

static void all_members(void **state)
{
    static const char body[] =
        " {\"id\":\"m\\u0031\",\"event\":\"e\",\"from\":\"f\\/g\",\"ttl\":0,\"priority\":\"high\","
        "\"collapse\":\"c\",\"track\":true,\"data\": {\"a\" : 1e2 } ,\"users\":[\"x\",\"\\u00fc\"]}";
    struct push_body b;
    struct push_fault f;
    struct op *op;
    (void)state;

    if (!push_body_read(&b, CODEC_JSON, SPAN_LIT(body), MAX_PAYLOAD, &f))
        fail_msg("%s", f.message);
    assert_true(SPAN_IS(b.envelope.id, "m1"));
    assert_true(SPAN_IS(b.envelope.event, "e"));
    assert_true(SPAN_IS(b.envelope.from, "f/g"));
    assert_true(SPAN_IS(b.envelope.collapse, "c"));
    assert_int_equal(b.envelope.ttl_s, 0);
    assert_int_equal(b.envelope.priority, PRIO_HIGH);
    assert_true(b.envelope.track);
    assert_int_equal(b.ntargets, 2);
    assert_true(SPAN_IS(b.targets[1].name, "\xc3\xbc"));

    op = push_op_new(&b.envelope, CODEC_JSON, b.targets, b.ntargets, b.envelope.id);
    assert_non_null(op);
    assert_string_equal(op->push.id, "m1");
    assert_int_equal(op->push.ttl_s, 0);
    assert_int_equal(op->push.priority, PRIO_HIGH);
    assert_int_equal(op->push.ntargets, 2);
    assert_string_equal(op->push.targets[0].name, "x");
    assert_true(SPAN_IS(span_of(op->push.payload, op->push.payload_len),
                        "{\"id\":\"m1\",\"event\":\"e\",\"ttl\":0,\"priority\":\"high\",\"from\":\"f/g\",\"collapse\":"
                        "\"c\",\"track\":true,\"data\":{\"a\" : 1e2 }}"));
    push_body_fini(&b);
    op_free(op);
}

static void one_of_each_target(void **state)
{
    static const struct {
        const char *body;
        enum target_kind kind;
        const char *name;
    } rows[] = {{"{\"user\":\"u\",\"data\":null}", TARGET_USER, "u"},
                {"{\"users\":[\"u\"],\"data\":null}", TARGET_USER, "u"},
                {"{\"room\":\"r\",\"data\":null}", TARGET_ROOM, "r"},
                {"{\"rooms\":[\"r\"],\"data\":null}", TARGET_ROOM, "r"},
                {"{\"all\":true,\"data\":null}", TARGET_ALL, NULL}};
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct push_body b;
        struct push_fault f;
        struct op *op;
        assert_true(push_body_read(&b, CODEC_JSON, span_str(rows[i].body), MAX_PAYLOAD, &f));
        op = push_op_new(&b.envelope, CODEC_JSON, b.targets, b.ntargets, (struct span){NULL, 0});
        assert_non_null(op);
        assert_int_equal(op->push.ntargets, 1);
        assert_int_equal(op->push.targets[0].kind, rows[i].kind);
        if (rows[i].name)
            assert_string_equal(op->push.targets[0].name, rows[i].name);
        else
            assert_null(op->push.targets[0].name);
        assert_null(op->push.id);
        assert_int_equal(op->push.ttl_s, TTL_UNSET);
        op_free(op);
        push_body_fini(&b);
    }
}

static void many_targets(void **state)
{
    (void)state;
    for (unsigned n = PUSH_TARGETS; n <= PUSH_TARGETS + 1; n++) {
        struct buf json, mp;
        struct push_body b;
        struct push_fault f;
        bool ok;

        buf_init(&json, 1 << 20);
        buf_init(&mp, 1 << 20);
        ok = buf_append_str(&json, "{\"data\":1,\"users\":[") && mp_write_map(&mp, 2) &&
             mp_write_str(&mp, SPAN_LIT("data")) && mp_write_uint(&mp, 1) && mp_write_str(&mp, SPAN_LIT("rooms")) &&
             mp_write_array(&mp, n);
        for (unsigned i = 0; ok && i < n; i++) {
            char name[16];
            snprintf(name, sizeof(name), "u%u", i);
            ok = buf_printf(&json, "%s\"\\u0075%u\"", i ? "," : "", i) && mp_write_str(&mp, span_str(name));
        }
        ok = ok && buf_append_str(&json, "]}");
        assert_true(ok);
        if (n > PUSH_TARGETS) {
            expect_fault(buf_span(&json), CODEC_JSON, 400, "bad_request", "more than 1000");
            expect_fault(buf_span(&mp), CODEC_MSGPACK, 400, "bad_request", "more than 1000");
        } else {
            assert_true(push_body_read(&b, CODEC_JSON, buf_span(&json), MAX_PAYLOAD, &f));
            assert_int_equal(b.ntargets, n);
            for (unsigned i = 0; i < n; i++) {
                char name[16];
                snprintf(name, sizeof(name), "u%u", i);
                assert_true(span_eq(b.targets[i].name, span_str(name)));
            }
            push_body_fini(&b);
            assert_true(push_body_read(&b, CODEC_MSGPACK, buf_span(&mp), MAX_PAYLOAD, &f));
            assert_int_equal(b.ntargets, n);
            assert_int_equal(b.targets[n - 1].kind, TARGET_ROOM);
            push_body_fini(&b);
        }
        buf_fini(&json);
        buf_fini(&mp);
    }
}

/* Every prefix of good bodies is refused and read only as far as it goes. */
static void prefixes(void **state)
{
    static const struct span bodies[] = {SPAN_LIT("{\"users\":[\"a\\u0062\"],\"data\":{\"x\":[1]},\"id\":\"\\u0061\"}"),
                                         SPAN_LIT("\x82\xa5users\x91\xa1"
                                                  "a\xa4"
                                                  "data\x93\x01\xa1x\xc0")};
    (void)state;

    for (unsigned c = 0; c < 2; c++) {
        struct guard g;
        guard_open(&g, bodies[c].n);
        for (size_t n = 0; n <= bodies[c].n; n++) {
            struct push_body b;
            struct push_fault f;
            struct span in = guard_load(&g, span_of(bodies[c].p, n));
            assert_int_equal(push_body_read(&b, c ? CODEC_MSGPACK : CODEC_JSON, in, MAX_PAYLOAD, &f), n == bodies[c].n);
            push_body_fini(&b);
        }
        guard_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused),     cmocka_unit_test(refused_msgpack),    cmocka_unit_test(escalate),
        cmocka_unit_test(all_members), cmocka_unit_test(one_of_each_target), cmocka_unit_test(many_targets),
        cmocka_unit_test(prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
