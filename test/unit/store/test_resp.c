/*
 * test_resp.c - commands out, pushes in: split at every byte, against a guard page, and what is not the protocol.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four above */
#include <cmocka.h>
#include <stdio.h>

#include "guard.h"
#include "store/resp.h"

static void arguments_are_bulk_strings(void **state)
{
    (void)state;
    struct resp_args a;
    struct buf head;
    resp_init(&a, 1000);
    buf_init(&head, 100);
    resp_str(&a, "SET");
    resp_u64(&a, UINT64_MAX);
    resp_arg(&a, span_of(NULL, 0));
    const struct span pieces[] = {SPAN_LIT("a"), SPAN_LIT("\r\n"), SPAN_LIT("")};
    resp_join(&a, pieces, 3);
    static const char want[] = "$3\r\nSET\r\n$20\r\n18446744073709551615\r\n$0\r\n\r\n$3\r\na\r\n\r\n";
    assert_int_equal(a.n, 4);
    assert_true(span_eq(buf_span(&a.b), span_str(want)));
    assert_true(resp_head(&head, 1000000));
    assert_true(SPAN_IS(buf_span(&head), "*1000000\r\n"));
    resp_reset(&a);
    assert_int_equal(a.n + a.b.len, 0);
    resp_fini(&a);
    buf_fini(&head);
}

static void the_ceiling_is_remembered(void **state)
{
    (void)state;
    struct resp_args a;
    resp_init(&a, 60);
    resp_str(&a, "0123456789");
    assert_false(a.bad);
    resp_str(&a, "012345678901234567890123456789");
    assert_true(a.bad);
    size_t len = a.b.len;
    resp_str(&a, "x");
    assert_int_equal(a.b.len, len);
    assert_int_equal(a.n, 1);
    resp_reset(&a);
    assert_false(a.bad);
    resp_fini(&a);
}

static const struct {
    const char *bytes;
    struct resp_push want;
} good[] = {
    {"*3\r\n$7\r\nmessage\r\n$3\r\nn:a\r\n$5\r\nhe\r\no\r\n",
     {RESP_MESSAGE, false, SPAN_LIT("n:a"), SPAN_LIT("he\r\no")}},
    {"*4\r\n$8\r\npmessage\r\n$2\r\nu*\r\n$2\r\nu1\r\n$0\r\n\r\n", {RESP_MESSAGE, true, SPAN_LIT("u1"), SPAN_LIT("")}},
    {"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", {RESP_SUBSCRIBED, false, SPAN_LIT("a"), {0}}},
    {"*3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:12\r\n", {RESP_SUBSCRIBED, true, SPAN_LIT("a*"), {0}}},
    {"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n", {RESP_UNSUBSCRIBED, false, SPAN_LIT("a"), {0}}},
    {"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", {RESP_UNSUBSCRIBED, false, {0}, {0}}},
    {"*3\r\n$12\r\npunsubscribe\r\n$1\r\na\r\n:0\r\n", {RESP_UNSUBSCRIBED, true, SPAN_LIT("a"), {0}}},
    {"-ERR no\r\n", {RESP_ERROR, false, {0}, SPAN_LIT("ERR no")}},
    {"+PONG\r\n", {RESP_OTHER, false, {0}, SPAN_LIT("PONG")}},
    {"*2\r\n$4\r\npong\r\n$0\r\n\r\n", {RESP_OTHER, false, {0}, {0}}},
};

static void every_push_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        size_t n = strlen(good[i].bytes);
        struct resp_push p;
        for (size_t cut = 0; cut < n; cut++) {
            struct guard g;
            struct span in = guard_copy(&g, span_of(good[i].bytes, cut));
            assert_int_equal(resp_push_parse(in, 100, &p), 0);
            guard_free(&g);
        }
        assert_int_equal(resp_push_parse(span_of(good[i].bytes, n), 100, &p), n);
        assert_int_equal(p.kind, good[i].want.kind);
        assert_int_equal(p.is_pattern, good[i].want.is_pattern);
        assert_true(span_eq(p.channel, good[i].want.channel));
        assert_true(span_eq(p.payload, good[i].want.payload));
    }
}

static void what_is_not_a_push_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "x",
        "HTTP/1.1 200 OK\r\n",
        "*0\r\n",
        "*5\r\n",
        "*-1\r\n",
        "*3\r\n%1\r\n",
        "*3\r\n$7\r\nmessagexx",
        "*3\r\n$-2\r\n",
        "*3\r\n$101\r\n",
        "*3\r\n$99999999999\r\n",
        "*3\r\n$\r\n",
        "*3\r\n$7x\r\n",
        "*\r\n",
        "\r\n",
        "*3\n",
        "$3\r\nabc\r\n",
        "*1\r\n*1\r\n",
        "*1\r\n\r\n",
    };
    struct resp_push p;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (resp_push_parse(span_str(bad[i]), 100, &p) >= 0)
            fail_msg("taken: %s", bad[i]);
    }
    char line[600];
    memset(line, '1', sizeof(line));
    line[0] = '*';
    assert_true(resp_push_parse(span_of(line, sizeof(line)), 100, &p) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_are_bulk_strings),
        cmocka_unit_test(the_ceiling_is_remembered),
        cmocka_unit_test(every_push_at_every_split),
        cmocka_unit_test(what_is_not_a_push_is_refused),
    };
    return cmocka_run_group_tests_name("resp", tests, NULL, NULL);
}
