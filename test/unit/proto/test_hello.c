/*
 * test_hello.c - the first frame of a TCP client: what it may hold, what is left out, what is refused and how.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/hello.h"

/* The verdict alone: what is borrowed goes with the guard. */
static int parse(const char *text, struct hello *h, struct command_error *err, struct buf *scratch)
{
    struct guard g;
    struct span in = guard_copy(&g, span_str(text));
    buf_init(scratch, in.n + 64);
    int r = hello_parse(CODEC_JSON, in, scratch, h, err);
    guard_free(&g);
    return r;
}

static void a_whole_hello(void **state)
{
    (void)state;
    struct hello h;
    struct command_error err;
    struct buf scratch;
    struct span in = SPAN_LIT("{\"type\":\"hello\",\"ref\":\"r\",\"user\":\"al\\u0069ce\",\"device\":\"d\",\"since\":7,"
                              "\"ack\":\"explicit\",\"token\":\"a.b.c\",\"more\":[1]}");
    buf_init(&scratch, in.n + 64);
    assert_int_equal(hello_parse(CODEC_JSON, in, &scratch, &h, &err), 0);
    assert_true(span_eq(h.ref, SPAN_LIT("\"r\"")));
    assert_true(span_eq(h.user, SPAN_LIT("alice")));
    assert_true(span_eq(h.device, SPAN_LIT("d")));
    assert_true(span_eq(h.token, SPAN_LIT("a.b.c")));
    assert_true(h.has_since);
    assert_int_equal(h.since, 7);
    assert_int_equal(h.ack, HELLO_ACK_EXPLICIT);
    buf_fini(&scratch);
}

static void what_is_left_out(void **state)
{
    (void)state;
    struct hello h;
    struct command_error err;
    struct buf scratch;
    assert_int_equal(parse("{\"type\":\"hello\"}", &h, &err, &scratch), 0);
    assert_int_equal(h.token.n + h.user.n + h.device.n + h.ref.n, 0);
    assert_false(h.has_since);
    assert_int_equal(h.ack, HELLO_ACK_AUTO);
    buf_fini(&scratch);
    assert_int_equal(parse("{\"type\":\"hello\",\"ack\":\"sent\",\"since\":0}", &h, &err, &scratch), 0);
    assert_int_equal(h.ack, HELLO_ACK_SENT);
    assert_true(h.has_since);
    buf_fini(&scratch);
}

static void what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *code, *part;
    } cases[] = {
        {"{", "bad_json", "JSON"},
        {"[]", "bad_json", "object"},
        {"{\"type\":\"hello\",\"x\":\"\xff\"}", "bad_json", "UTF-8"},
        {"{\"user\":\"a\"}", "bad_request", "type is missing"},
        {"{\"type\":\"subscribe\"}", "bad_request", "hello"},
        {"{\"type\":7}", "bad_request", "type"},
        {"{\"type\":\"hello\",\"user\":\"\"}", "bad_request", "user"},
        {"{\"type\":\"hello\",\"user\":7}", "bad_request", "user"},
        {"{\"type\":\"hello\",\"device\":\"a\\u0007\"}", "bad_request", "device"},
        {"{\"type\":\"hello\",\"since\":-1}", "bad_request", "since"},
        {"{\"type\":\"hello\",\"since\":1.5}", "bad_request", "since"},
        {"{\"type\":\"hello\",\"ack\":\"no\"}", "bad_request", "ack"},
        {"{\"type\":\"hello\",\"token\":\"\"}", "bad_request", "token"},
        {"{\"type\":\"hello\",\"user\":\"a\",\"user\":\"b\"}", "bad_request", "twice"},
        {"{\"type\":\"hello\",\"ref\":[]}", "bad_request", "ref"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct hello h;
        struct command_error err;
        struct buf scratch;
        assert_int_equal(parse(cases[i].text, &h, &err, &scratch), -1);
        assert_string_equal(err.code, cases[i].code);
        if (!strstr(err.message, cases[i].part))
            fail_msg("%s: %s", cases[i].text, err.message);
        buf_fini(&scratch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_hello),
        cmocka_unit_test(what_is_left_out),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
