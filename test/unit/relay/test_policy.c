/*
 * test_policy.c - which channel is next, what a claim's name says, how long is waited.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmd/crier-relay/policy.h"
#include "guard.h"
#include "proto/names.h"

static void test_parse(void **state)
{
    static const char *const bad[] = {"", " ", "1", "1 ", "x wecom", " wecom", "-1 wecom", "1 ,", "1\twecom"};
    struct policy p;
    struct guard g;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(policy_parse(&p, guard_copy(&g, span_str(bad[i]))));
        guard_free(&g);
    }
    assert_true(policy_parse(&p, SPAN_LIT("1796054258745 webhook,fax,wecom,webhook,,wechat")));
    assert_int_equal(p.due_ms, 1796054258745);
    assert_int_equal(p.n, 4);
    assert_int_equal(p.step[0].channel, relay_channel(SPAN_LIT("webhook")));
    assert_int_equal(p.step[1].channel, RELAY_CHANNELS);
    assert_true(span_eq(p.step[1].name, SPAN_LIT("fax")));
    assert_int_equal(p.step[3].channel, relay_channel(SPAN_LIT("wechat")));
    assert_true(policy_parse(&p, SPAN_LIT("1 a,b,c,d,e,f,g,h,i,j")));
    assert_int_equal(p.n, POLICY_CHANNELS);
}

static void test_next(void **state)
{
    struct policy p;
    (void)state;
    assert_true(policy_parse(&p, SPAN_LIT("1 wecom,wechat,webhook")));
    assert_int_equal(policy_next(&p), 0);
    assert_true(policy_follows(&p, 0));
    policy_note(&p, SPAN_LIT("r:wecom"), SPAN_LIT("5 3 again HTTP 503"));
    assert_int_equal(policy_next(&p), 0);
    assert_int_equal(p.step[0].attempts, 3);
    policy_note(&p, SPAN_LIT("r:wecom"), SPAN_LIT("5 4 failed errcode 1"));
    assert_int_equal(policy_next(&p), 1);
    policy_note(&p, SPAN_LIT("r:webhook"), SPAN_LIT("5 1 failed "));
    assert_int_equal(policy_next(&p), 1);
    assert_false(policy_follows(&p, 1));
    policy_note(&p, SPAN_LIT("r:wechat"), SPAN_LIT("5 1 sent 17"));
    assert_int_equal(policy_next(&p), p.n);
    policy_note(&p, SPAN_LIT("r:wechat"), SPAN_LIT("5 1 failed"));
    assert_int_equal(policy_next(&p), p.n);
}

static void test_odd_notes(void **state)
{
    static const char *const fields[] = {"", "r", "r:", "r:fax", "x:wecom", "wecom"};
    static const char *const values[] = {"", "5", "5 ", "5 1", "5 1 ", "x 1 failed", "5 x failed", "5 1 failedx"};
    struct policy p;
    struct guard g;
    (void)state;
    assert_true(policy_parse(&p, SPAN_LIT("1 wecom")));
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        policy_note(&p, span_str(fields[i]), SPAN_LIT("5 1 failed x"));
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        policy_note(&p, SPAN_LIT("r:wecom"), guard_copy(&g, span_str(values[i])));
        guard_free(&g);
    }
    assert_int_equal(policy_next(&p), 0);
}

static void test_names(void **state)
{
    static const char *const bad[] = {"",
                                      "t:u:",
                                      "t:u:1:",
                                      "t:u:1:a",
                                      "t:u:1:a:",
                                      "t:u:2:a:b",
                                      "t:u:0::b",
                                      "t:u::a:b",
                                      "t:r:1:a:b",
                                      "x:u:1:a:b",
                                      "t:u:99:a:b",
                                      "t:u:1 a:b",
                                      "t:u:99999999999999999999:a:b"};
    struct span user, id;
    struct guard g;
    (void)state;
    assert_true(claim_name_parse(SPAN_LIT("t:u:5:a:b:c:d:e"), &user, &id));
    assert_true(span_eq(user, SPAN_LIT("a:b:c")) && span_eq(id, SPAN_LIT("d:e")));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(claim_name_parse(guard_copy(&g, span_str(bad[i])), &user, &id));
        guard_free(&g);
    }
}

static void test_backoff(void **state)
{
    static const struct {
        unsigned attempts, full;
    } rows[] = {{0, 2000}, {1, 4000}, {3, 16000}, {7, 256000}, {8, 300000}, {31, 300000}, {4000000000u, 300000}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (unsigned n = 0; n < 200; n++) {
            unsigned ms = backoff_ms(2000, 300000, rows[i].attempts);
            assert_in_range(ms, rows[i].full / 2, rows[i].full);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_next),
                                       cmocka_unit_test(test_odd_notes), cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_backoff)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
