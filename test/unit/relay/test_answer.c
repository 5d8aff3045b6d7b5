/*
 * test_answer.c - each kind of answer of WeCom, WeChat and webhooks has its outcome; what a detail may show.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmd/crier-relay/answer.h"
#include "guard.h"

static struct verdict judge(unsigned status, const char *body)
{
    struct verdict v;
    struct guard g;
    struct answer a = {.kind = ANSWER_HTTP, .status = status, .body = guard_copy(&g, span_str(body))};
    answer_message(&a, SPAN_LIT("tok-1"), &v);
    guard_free(&g);
    return v;
}

static void expect(unsigned status, const char *body, enum outcome o, const char *detail)
{
    struct verdict v = judge(status, body);
    assert_string_equal(v.detail, detail);
    assert_int_equal(v.outcome, o);
}

static void test_messages(void **state)
{
    (void)state;
    expect(200, "{\"errcode\":0,\"errmsg\":\"ok\",\"msgid\":\"a-1\"}", OUTCOME_SENT, "a-1");
    expect(200, "{\"errcode\":0,\"msgid\":200228332}", OUTCOME_SENT, "200228332");
    expect(200, " {} ", OUTCOME_SENT, "");
    expect(200, "{\"errcode\":0,\"invaliduser\":\"\",\"msgid\":\"a\"}", OUTCOME_SENT, "a");
    expect(200, "{\"errcode\":0,\"invaliduser\":\"x\",\"msgid\":\"a\"}", OUTCOME_FAILED, "invaliduser");
    expect(200, "{\"errcode\":40003,\"errmsg\":\"invalid openid\"}", OUTCOME_FAILED, "errcode 40003: invalid openid");
    expect(200, "{\"errcode\":45009,\"errmsg\":\"freq\"}", OUTCOME_AGAIN, "errcode 45009: freq");
    expect(200, "{\"errcode\":-1}", OUTCOME_AGAIN, "errcode -1");
    expect(503, "{\"errcode\":0}", OUTCOME_AGAIN, "HTTP 503");
    expect(429, "", OUTCOME_AGAIN, "HTTP 429");
    expect(404, "{\"errcode\":0}", OUTCOME_AGAIN, "HTTP 404");
    expect(302, "", OUTCOME_AGAIN, "HTTP 302");
    expect(400, "{\"errcode\":40003}", OUTCOME_FAILED, "errcode 40003");
}

static void test_no_answer_of_theirs(void **state)
{
    static const char *const bodies[] = {"",
                                         "[]",
                                         "null",
                                         "\"x\"",
                                         "{",
                                         "{\"errcode\":0",
                                         "{\"errcode\":0}}",
                                         "{\"errcode\":0} x",
                                         "<html>",
                                         "{\"errcode\":\"0\"}",
                                         "{\"errcode\":0.5}",
                                         "{\"errcode\":1e3}",
                                         "{\"errcode\":99999999999}",
                                         "{\"errcode\":null}",
                                         "{\"errmsg\":\"\xff\"}"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        expect(200, bodies[i], OUTCOME_AGAIN, "the answer is no JSON object");
}

static void test_refused_tokens(void **state)
{
    static const char *const codes[] = {"40001", "40014", "42001"};
    char body[100];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        snprintf(body, sizeof(body), "{\"errcode\":%s}", codes[i]);
        struct verdict v = judge(200, body);
        assert_true(v.refused);
        assert_int_equal(v.outcome, OUTCOME_AGAIN);
    }
    assert_false(judge(200, "{\"errcode\":40003}").refused);
}

static void test_details_hide(void **state)
{
    char body[3000], want[200];
    (void)state;
    expect(200, "{\"errcode\":40001,\"errmsg\":\"token tok-1 is old\"}", OUTCOME_AGAIN, "errcode 40001");
    expect(200, "{\"errcode\":40001,\"errmsg\":\"token \\u0074ok-1 is old\"}", OUTCOME_AGAIN, "errcode 40001");
    expect(200, "{\"errcode\":0,\"msgid\":\"tok-1\"}", OUTCOME_SENT, "");
    expect(200, "{\"errcode\":1,\"errmsg\":\"a\\r\\nb\\u0085\\u2028\\ud800\\u001b[0m\"}", OUTCOME_FAILED,
           "errcode 1: a??b????[0m");
    int at = snprintf(body, sizeof(body), "{\"errcode\":1,\"errmsg\":\"");
    for (int i = 0; i < 200; i++)
        at += snprintf(body + at, sizeof(body) - (size_t)at, "\xc3\xa9");
    snprintf(body + at, sizeof(body) - (size_t)at, "\"}");
    struct verdict v = judge(200, body);
    snprintf(want, sizeof(want), "errcode 1: \xc3\xa9");
    assert_memory_equal(v.detail, want, strlen(want));
    assert_int_equal(strlen(v.detail), 159); /* cut between characters */
}

static void test_no_http(void **state)
{
    struct verdict v;
    (void)state;
    answer_message(&(struct answer){.kind = ANSWER_TIMEOUT}, SPAN_LIT(""), &v);
    assert_string_equal(v.detail, "timeout");
    assert_int_equal(v.outcome, OUTCOME_AGAIN);
    answer_message(&(struct answer){.kind = ANSWER_NO_CONNECTION}, SPAN_LIT(""), &v);
    assert_string_equal(v.detail, "no connection");
    assert_int_equal(v.outcome, OUTCOME_AGAIN);
    answer_webhook(&(struct answer){.kind = ANSWER_NOT_ALLOWED}, 1000, &v);
    assert_string_equal(v.detail, "address not allowed");
    assert_int_equal(v.outcome, OUTCOME_FAILED);
    answer_webhook(&(struct answer){.kind = ANSWER_BAD_URL}, 1000, &v);
    assert_int_equal(v.outcome, OUTCOME_FAILED);
    struct answer a = {.kind = ANSWER_HTTP, .status = 200, .too_long = true, .body = SPAN_LIT("{}")};
    answer_message(&a, SPAN_LIT(""), &v);
    assert_int_equal(v.outcome, OUTCOME_AGAIN);
    answer_webhook(&a, 1000, &v);
    assert_int_equal(v.outcome, OUTCOME_SENT);
}

static void test_webhooks(void **state)
{
    static const struct {
        unsigned status, retry_after_s;
        enum outcome o;
        unsigned least_ms;
    } rows[] = {
        {200, 9, OUTCOME_SENT, 0},       {204, 0, OUTCOME_SENT, 0},       {301, 0, OUTCOME_FAILED, 0},
        {400, 9, OUTCOME_FAILED, 0},     {404, 0, OUTCOME_FAILED, 0},     {408, 0, OUTCOME_AGAIN, 0},
        {425, 3, OUTCOME_AGAIN, 3000},   {429, 2, OUTCOME_AGAIN, 2000},   {500, 0, OUTCOME_AGAIN, 0},
        {503, 59, OUTCOME_AGAIN, 59000}, {503, 60, OUTCOME_AGAIN, 60000}, {503, 4000000000u, OUTCOME_AGAIN, 60000},
        {0, 0, OUTCOME_FAILED, 0},       {101, 0, OUTCOME_FAILED, 0}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct verdict v;
        struct answer a = {.kind = ANSWER_HTTP, .status = rows[i].status, .retry_after_s = rows[i].retry_after_s};
        char want[20];
        answer_webhook(&a, 60000, &v);
        snprintf(want, sizeof(want), "HTTP %u", rows[i].status);
        assert_string_equal(v.detail, want);
        assert_int_equal(v.outcome, rows[i].o);
        assert_int_equal(v.least_ms, rows[i].least_ms);
    }
}

static void test_tokens(void **state)
{
    static const char *const bad[] = {"{}",
                                      "{\"access_token\":\"a\"}",
                                      "{\"access_token\":\"a\",\"expires_in\":0}",
                                      "{\"access_token\":\"a\",\"expires_in\":-5}",
                                      "{\"access_token\":\"a\",\"expires_in\":\"7200\"}",
                                      "{\"access_token\":\"\",\"expires_in\":7200}",
                                      "{\"access_token\":\"a b\",\"expires_in\":7200}",
                                      "{\"access_token\":\"a\\r\\nb\",\"expires_in\":7200}",
                                      "{\"access_token\":\"\\u0000\",\"expires_in\":7200}",
                                      "{\"access_token\":5,\"expires_in\":7200}"};
    struct answer a = {.kind = ANSWER_HTTP, .status = 200};
    struct token t;
    struct verdict v;
    (void)state;
    a.body = SPAN_LIT("{\"errcode\":0,\"access_token\":\"a/b+c=\",\"expires_in\":7200}");
    assert_true(answer_token(&a, SPAN_LIT("s3cret"), &t, &v));
    assert_string_equal(t.text, "a/b+c=");
    assert_int_equal(t.life_ms, 7200000);
    a.body = SPAN_LIT("{\"access_token\":\"a\",\"expires_in\":9007199254740991}");
    assert_true(answer_token(&a, SPAN_LIT("s3cret"), &t, &v));
    assert_int_equal(t.life_ms, 30ull * 86400 * 1000);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        a.body = span_str(bad[i]);
        assert_false(answer_token(&a, SPAN_LIT("s3cret"), &t, &v));
        assert_string_equal(v.detail, "token: the answer holds none");
        assert_int_equal(v.outcome, OUTCOME_AGAIN);
    }
    a.body = SPAN_LIT("{\"errcode\":40013,\"errmsg\":\"bad s3cret\"}");
    assert_false(answer_token(&a, SPAN_LIT("s3cret"), &t, &v));
    assert_string_equal(v.detail, "token: errcode 40013");
    assert_int_equal(v.outcome, OUTCOME_AGAIN);
    assert_false(v.refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),       cmocka_unit_test(test_no_answer_of_theirs),
        cmocka_unit_test(test_refused_tokens), cmocka_unit_test(test_details_hide),
        cmocka_unit_test(test_no_http),        cmocka_unit_test(test_webhooks),
        cmocka_unit_test(test_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
