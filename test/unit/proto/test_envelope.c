/*
 * test_envelope.c - P in all its shapes: what is an envelope, what is data, what is refused and with which sentence;
 * data byte for byte; written and read again in both codecs; ceilings, prefixes and random bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/envelope.h"
#include "proto/json.h"
#include "proto/mp.h"
#include "proto/utf8.h"
#include "random_value.h"

enum { MAX_DATA = 65536 };

/* One parse of guarded bytes. */
struct result {
    enum envelope_result code;
    struct envelope e;
    struct guard guard;
    struct buf scratch;
    char why[160];
};

static void parse(struct result *r, struct span p)
{
    memset(r, 0, sizeof *r);
    buf_init(&r->scratch, 4096);
    r->code = envelope_parse(guard_copy(&r->guard, p), MAX_DATA, &r->scratch, &r->e, r->why, sizeof r->why);
}

static void done(struct result *r)
{
    buf_fini(&r->scratch);
    guard_free(&r->guard);
}

static void expect_data(struct span p, enum data_format format, struct span data, bool odd)
{
    struct result r;
    parse(&r, p);
    assert_int_equal(r.code, ENVELOPE_OK);
    assert_int_equal(r.e.format, format);
    assert_true(span_eq(r.e.data, data));
    assert_int_equal(r.e.odd, odd);
    assert_true(r.e.ttl_s == TTL_UNSET && !r.e.has_priority && r.e.priority == PRIO_NORMAL && !r.e.track);
    assert_true(r.e.id.n == 0 && r.e.event.n == 0 && r.e.from.n == 0 && r.e.collapse.n == 0);
    done(&r);
}

#define WHOLE(lit, format) expect_data(SPAN_LIT(lit), format, SPAN_LIT(lit), false)

static void test_bare_data(void **state)
{
    (void)state;
    WHOLE("hello", DATA_TEXT);
    WHOLE("", DATA_TEXT);
    WHOLE("   ", DATA_TEXT);
    WHOLE("42", DATA_JSON);
    WHOLE("1e400", DATA_JSON);
    WHOLE("123456789012345678901234567890", DATA_JSON);
    WHOLE("\"a\\ud800\"", DATA_JSON);
    WHOLE("[1, 2]", DATA_JSON);
    WHOLE("{\"id\":\"x\",\"text\":\"hi\"}", DATA_JSON);
    WHOLE("{}", DATA_JSON);
    WHOLE("{\"data\":1", DATA_TEXT);
    WHOLE("{\"data\":1}}", DATA_TEXT);
    WHOLE("[1,", DATA_TEXT);
    WHOLE("\xD9\x85\xD8\xB1\xD8\xAD\xD8\xA8\xD8\xA7", DATA_TEXT);
    WHOLE("\xDE\x80 begins like a map", DATA_TEXT);
    WHOLE("\xDF\xBF", DATA_TEXT);
    WHOLE("\xEF\xBB\xBF{}", DATA_TEXT);
    WHOLE("\xFF\xFE", DATA_BINARY);
    WHOLE("{\"data\":\"\xFF\"}", DATA_BINARY);
    WHOLE("a\xC3", DATA_BINARY);
    expect_data(SPAN_LIT(" \n[1] \t"), DATA_JSON, SPAN_LIT("[1]"), false);
    expect_data((struct span){NULL, 0}, DATA_TEXT, SPAN_LIT(""), false);
}

/* msgpack that is no map with `data` is bytes like any other. */
static void test_bare_msgpack(void **state)
{
    (void)state;
    WHOLE("\x80", DATA_BINARY);
    WHOLE("\x81\xa1x\x01", DATA_BINARY);
    WHOLE("\x81\xa4"
          "data",
          DATA_BINARY);
    WHOLE("\x81\xa4"
          "data\x01\x01",
          DATA_BINARY);
    WHOLE("\x81\xc4\x04"
          "data\x01",
          DATA_BINARY);
    WHOLE("\x93\x01\x02\x03", DATA_BINARY);
    WHOLE("\xc4\x01z", DATA_BINARY);
}

static void test_json_envelope(void **state)
{
    struct result r;
    (void)state;
    parse(
        &r,
        SPAN_LIT(" { \"event\" : \"t\\u00efck\", \"data\" : {\"n\": 1e400,\n\"k\":\"\\u0041\"} , \"id\":\"m\\n1\" } "));
    assert_int_equal(r.code, ENVELOPE_REFUSED); /* a control character in an id */
    assert_string_equal(r.why, "id must be a string of 1 to 128 bytes without control characters");
    done(&r);
    parse(
        &r,
        SPAN_LIT(
            " { \"event\" : \"t\\u00efck\", \"data\" : {\"n\": 1e400,\n\"k\":\"\\u0041\"} , \"\\u0069d\":\"m\\u002d1\","
            "\"ttl\":0,\"priority\":\"low\",\"from\":\"b\\ud83d\\ude00b\",\"collapse\":\"c\",\"track\":true} "));
    assert_int_equal(r.code, ENVELOPE_OK);
    assert_int_equal(r.e.format, DATA_JSON);
    assert_true(SPAN_IS(r.e.data, "{\"n\": 1e400,\n\"k\":\"\\u0041\"}"));
    assert_true(SPAN_IS(r.e.event, "t\xC3\xAF"
                                   "ck"));
    assert_true(SPAN_IS(r.e.id, "m-1"));
    assert_true(SPAN_IS(r.e.from, "b\xF0\x9F\x98\x80"
                                  "b"));
    assert_true(SPAN_IS(r.e.collapse, "c"));
    assert_int_equal(r.e.ttl_s, 0);
    assert_true(r.e.has_priority && r.e.priority == PRIO_LOW && r.e.track && !r.e.odd);
    done(&r);
}

static void test_json_data_kinds(void **state)
{
    static const char *const kinds[] = {
        "null", "0", "\"x\\ud800y\"", "false", "[ ]", "{ }", "123456789012345678901234567890"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"data\": %s }", kinds[i]);
        expect_data(span_str(text), DATA_JSON, span_str(kinds[i]), false);
    }
}

static void test_msgpack_envelope(void **state)
{
    struct result r;
    (void)state;
    parse(&r, SPAN_LIT("\x88\xa4"
                       "data\x82\xa1x\x01\xa1y\xc0\xa2id\xa1i\xa5"
                       "event\xa1"
                       "e\xa3ttl\xcd\x0e\x10\xa8priority\xa4high\xa4"
                       "from\xa1"
                       "f\xa8"
                       "collapse\xa1"
                       "c\xa5track\xc2"));
    assert_int_equal(r.code, ENVELOPE_OK);
    assert_int_equal(r.e.format, DATA_MSGPACK);
    assert_true(SPAN_IS(r.e.data, "\x82\xa1x\x01\xa1y\xc0"));
    assert_true(SPAN_IS(r.e.id, "i") && SPAN_IS(r.e.event, "e") && SPAN_IS(r.e.from, "f") &&
                SPAN_IS(r.e.collapse, "c"));
    assert_int_equal(r.e.ttl_s, 3600);
    assert_true(r.e.has_priority && r.e.priority == PRIO_HIGH && !r.e.track);
    done(&r);
    expect_data(SPAN_LIT("\xde\x00\x01\xd9\x04"
                         "data\xc4\x01z"),
                DATA_MSGPACK, SPAN_LIT("\xc4\x01z"), false);
}

static void test_odd(void **state)
{
    (void)state;
    expect_data(SPAN_LIT("{\"data\":1,\"other\":2}"), DATA_JSON, SPAN_LIT("{\"data\":1,\"other\":2}"), true);
    expect_data(SPAN_LIT("{\"data\":1,\"ttl\":\"x\",\"o\":2}"), DATA_JSON,
                SPAN_LIT("{\"data\":1,\"ttl\":\"x\",\"o\":2}"), true);
    expect_data(SPAN_LIT("\x82\xa4"
                         "data\x01\x05\x06"),
                DATA_MSGPACK,
                SPAN_LIT("\x82\xa4"
                         "data\x01\x05\x06"),
                true);
}

static void expect_refused(struct span p, const char *why)
{
    struct result r;
    parse(&r, p);
    assert_int_equal(r.code, ENVELOPE_REFUSED);
    assert_string_equal(r.why, why);
    done(&r);
}

#define NAME  " must be a string of 1 to 128 bytes without control characters"
#define SHORT " must be a string of 1 to 64 bytes without control characters"
#define TTL   "ttl must be whole seconds from 0 to 315360000"
#define PRIO  "priority must be \"low\", \"normal\" or \"high\""

static void test_refused(void **state)
{
    static const struct {
        const char *member, *why;
    } cases[] = {
        {"\"id\":7", "id" NAME},
        {"\"id\":\"\"", "id" NAME},
        {"\"id\":null", "id" NAME},
        {"\"id\":\"\\ud800\"", "id holds half a surrogate pair"},
        {"\"event\":[]", "event" SHORT},
        {"\"event\":\"a\\nb\"", "event" SHORT},
        {"\"event\":\"0123456789012345678901234567890123456789012345678901234567890123x\"", "event" SHORT},
        {"\"from\":\"\\u0000\"", "from" NAME},
        {"\"collapse\":\"\"", "collapse" SHORT},
        {"\"ttl\":-1", TTL},
        {"\"ttl\":1.0", TTL},
        {"\"ttl\":\"1\"", TTL},
        {"\"ttl\":315360001", TTL},
        {"\"ttl\":1e400", TTL},
        {"\"priority\":\"urgent\"", PRIO},
        {"\"priority\":\"Low\"", PRIO},
        {"\"priority\":1", PRIO},
        {"\"track\":1", "track must be true or false"},
        {"\"ttl\":1,\"ttl\":1", "ttl is there twice"},
        {"\"data\":1", "data is there twice"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"data\":0,%s}", cases[i].member);
        expect_refused(span_str(text), cases[i].why);
    }
    expect_refused(SPAN_LIT("\x82\xa4"
                            "data\x01\xa2id\xa1\xff"),
                   "id" NAME);
    expect_refused(SPAN_LIT("\x82\xa4"
                            "data\x01\xa3ttl\xff"),
                   TTL);
}

static void test_limits(void **state)
{
    struct buf scratch;
    struct envelope e;
    char why[128];
    (void)state;
    buf_init(&scratch, 64);
    assert_int_equal(envelope_parse(SPAN_LIT("{\"data\":12345678901}"), 11, &scratch, &e, why, sizeof why),
                     ENVELOPE_OK);
    assert_int_equal(envelope_parse(SPAN_LIT("{\"data\":12345678901}"), 10, &scratch, &e, why, sizeof why),
                     ENVELOPE_REFUSED);
    assert_string_equal(why, "data is 11 bytes, the limit is 10");
    assert_int_equal(envelope_parse(SPAN_LIT("hello world"), 10, &scratch, &e, why, sizeof why), ENVELOPE_REFUSED);
    assert_int_equal(envelope_parse(SPAN_LIT("\xff\xff"), 1, &scratch, &e, why, sizeof why), ENVELOPE_REFUSED);
    assert_int_equal(envelope_parse(SPAN_LIT("0123456789"), 10, &scratch, &e, why, sizeof why), ENVELOPE_OK);
    assert_int_equal(e.format, DATA_TEXT); /* a leading zero is no JSON number */
    buf_fini(&scratch);
}

/* `levels` containers around a 1, in front of it `head`, behind it `tail`. */
static enum envelope_result parse_nested(const char *head, unsigned levels, const char *tail, bool json, char why[128])
{
    struct buf b, scratch;
    struct envelope e;
    buf_init(&b, 4096);
    buf_init(&scratch, 64);
    assert_true(buf_append_str(&b, head));
    for (unsigned i = 0; i < levels; i++)
        assert_true(buf_append_byte(&b, json ? '[' : 0x91));
    assert_true(buf_append_byte(&b, json ? '1' : 0x01));
    for (unsigned i = 0; json && i < levels; i++)
        assert_true(buf_append_byte(&b, ']'));
    assert_true(buf_append_str(&b, tail));
    enum envelope_result code = envelope_parse(buf_span(&b), MAX_DATA, &scratch, &e, why, 128);
    if (code == ENVELOPE_OK && !json)
        assert_int_equal(e.format, head[0] == '\x81' ? DATA_MSGPACK : DATA_BINARY);
    buf_fini(&b);
    buf_fini(&scratch);
    return code;
}

/* Data may nest 63 levels, so that the message around it stays within 64. */
static void test_depth(void **state)
{
    char why[128];
    (void)state;
    assert_int_equal(parse_nested("", 63, "", true, why), ENVELOPE_OK);
    assert_int_equal(parse_nested("", 64, "", true, why), ENVELOPE_REFUSED);
    assert_string_equal(why, "data nests deeper than 63 levels");
    assert_int_equal(parse_nested("", 65, "", true, why), ENVELOPE_REFUSED);
    assert_int_equal(parse_nested("{\"data\":", 63, "}", true, why), ENVELOPE_OK);
    assert_int_equal(parse_nested("{\"data\":", 64, "}", true, why), ENVELOPE_REFUSED);
    assert_int_equal(parse_nested("{\"o\":", 62, "}", true, why), ENVELOPE_OK);
    assert_int_equal(parse_nested("{\"o\":", 63, "}", true, why), ENVELOPE_REFUSED);
    assert_int_equal(parse_nested("\x81\xa4"
                                  "data",
                                  63, "", false, why),
                     ENVELOPE_OK);
    assert_int_equal(parse_nested("\x81\xa4"
                                  "data",
                                  64, "", false, why),
                     ENVELOPE_REFUSED);
    assert_string_equal(why, "data nests deeper than 63 levels");
    assert_int_equal(parse_nested("\xff", 70, "", false, why), ENVELOPE_OK);
}

/* Strings with escapes need scratch; without any room the answer is no memory, never half a result. */
static void test_scratch(void **state)
{
    static const char p[] = "{\"data\":1,\"id\":\"\\u0041\",\"event\":\"plain\",\"from\":\"\\u0042c\"}";
    (void)state;
    for (size_t max = 0; max < 32; max++) {
        struct buf scratch;
        struct envelope e;
        char why[128];
        buf_init(&scratch, max + 4);
        assert_true(buf_append_str(&scratch, "kept"));
        enum envelope_result code = envelope_parse(SPAN_LIT(p), MAX_DATA, &scratch, &e, why, sizeof why);
        assert_int_equal(code, max < 8 + 9 ? ENVELOPE_NO_MEMORY : ENVELOPE_OK);
        assert_memory_equal(scratch.data, "kept", 4);
        if (code == ENVELOPE_OK)
            assert_true(SPAN_IS(e.id, "A") && SPAN_IS(e.from, "Bc") && SPAN_IS(e.event, "plain"));
        buf_fini(&scratch);
    }
}

static void test_every_prefix(void **state)
{
    static const char json[] = "{\"data\":{\"a\":[1,\"\\u00e9\"]},\"id\":\"x\",\"ttl\":5}";
    static const char mp[] = "\x82\xa4"
                             "data\x93\x01\x02\xc0\xa2id\xa1x";
    (void)state;
    for (size_t n = 1; n < sizeof json - 1; n++)
        expect_data(span_of(json, n), DATA_TEXT, span_of(json, n), false);
    for (size_t n = 1; n < sizeof mp - 1; n++)
        expect_data(span_of(mp, n), DATA_BINARY, span_of(mp, n), false);
}

typedef bool envelope_writer(const struct envelope *e, struct buf *out);

/* Written at every ceiling: all or nothing. Then read again: the same members, and data that means the same. */
static void expect_written(envelope_writer *fn, const struct envelope *e, enum data_format format, struct span data)
{
    struct buf b;
    struct result r;
    buf_init(&b, 1 << 16);
    assert_true(fn(e, &b));
    parse(&r, buf_span(&b));
    assert_int_equal(r.code, ENVELOPE_OK);
    assert_true(span_eq(r.e.id, e->id) && span_eq(r.e.event, e->event) && span_eq(r.e.from, e->from));
    assert_true(span_eq(r.e.collapse, e->collapse) && r.e.ttl_s == e->ttl_s && r.e.track == e->track);
    assert_true(r.e.has_priority == e->has_priority && r.e.priority == e->priority);
    assert_int_equal(r.e.format, format);
    assert_true(span_eq(r.e.data, data));
    done(&r);
    for (size_t max = 0; max < b.len; max++) {
        struct buf tight;
        buf_init(&tight, max);
        assert_false(fn(e, &tight));
        assert_int_equal(tight.len, 0);
        buf_fini(&tight);
    }
    buf_fini(&b);
}

static void test_write(void **state)
{
    struct envelope e = {
        .id = SPAN_LIT("m\"1"),
        .event = SPAN_LIT("\xC3\xA9"),
        .from = SPAN_LIT("\\"),
        .collapse = SPAN_LIT("c"),
        .ttl_s = 60,
        .has_priority = true,
        .priority = PRIO_HIGH,
        .track = true,
    };
    (void)state;
    e.format = DATA_JSON;
    e.data = SPAN_LIT("{ \"a\" : [1] }");
    expect_written(envelope_write_json, &e, DATA_JSON, e.data);
    expect_written(envelope_write_msgpack, &e, DATA_MSGPACK,
                   SPAN_LIT("\x81\xa1"
                            "a\x91\x01"));
    e = (struct envelope){
        .ttl_s = TTL_UNSET, .priority = PRIO_NORMAL, .format = DATA_MSGPACK, .data = SPAN_LIT("\xd0\x07")};
    expect_written(envelope_write_json, &e, DATA_JSON, SPAN_LIT("7"));
    expect_written(envelope_write_msgpack, &e, DATA_MSGPACK, SPAN_LIT("\xd0\x07"));
    e.format = DATA_TEXT;
    e.data = SPAN_LIT("a\"b");
    expect_written(envelope_write_json, &e, DATA_JSON, SPAN_LIT("\"a\\\"b\""));
    expect_written(envelope_write_msgpack, &e, DATA_MSGPACK,
                   SPAN_LIT("\xa3"
                            "a\"b"));
    e.format = DATA_BINARY;
    e.data = SPAN_LIT("\x00\xff");
    expect_written(envelope_write_json, &e, DATA_JSON, SPAN_LIT("\"AP8=\""));
    expect_written(envelope_write_msgpack, &e, DATA_MSGPACK, SPAN_LIT("\xc4\x02\x00\xff"));
}

/* Random bytes, and random damage to an envelope: the data that comes out is what its format says. */
static void test_random(void **state)
{
    static const char base[] = "{\"data\":{\"k\":[1,2.5,\"x\"]},\"id\":\"i\\u0064\",\"ttl\":9,\"priority\":\"low\"}";
    uint64_t seed = 5;
    (void)state;
    for (int i = 0; i < 5000; i++) {
        char bytes[sizeof base];
        struct result r;
        struct json_value v;
        memcpy(bytes, base, sizeof base);
        for (uint64_t n = random_next(&seed) % (i % 4 == 0 ? 200 : 3); n > 0; n--)
            bytes[random_next(&seed) % sizeof bytes] = (char)(random_next(&seed) >> 40);
        parse(&r, span_of(bytes, sizeof base - 1));
        if (r.code == ENVELOPE_OK && r.e.format == DATA_JSON)
            assert_int_equal(json_parse(r.e.data, JSON_MAX_DATA_DEPTH, &v), JSON_OK);
        if (r.code == ENVELOPE_OK && r.e.format == DATA_TEXT)
            assert_true(utf8_valid(r.e.data));
        if (r.code == ENVELOPE_OK && r.e.format == DATA_MSGPACK)
            assert_int_equal(mp_check(r.e.data, MP_MAX_DATA_DEPTH), MP_OK);
        assert_true(r.code != ENVELOPE_REFUSED || r.why[0] != 0);
        done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bare_data),
        cmocka_unit_test(test_bare_msgpack),
        cmocka_unit_test(test_json_envelope),
        cmocka_unit_test(test_json_data_kinds),
        cmocka_unit_test(test_msgpack_envelope),
        cmocka_unit_test(test_odd),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_scratch),
        cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
