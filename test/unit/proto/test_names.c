/*
 * test_names.c - names, globs and channels: tables, and glob_match against a recursive matcher that is plainly right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/names.h"

static bool against_guard(bool (*check)(struct span), struct span s)
{
    struct guard g;
    bool ok = check(guard_copy(&g, s));

    guard_free(&g);
    return ok;
}

static void names_hold_no_control_characters(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } table[] = {
        {"alice", true},
        {"a b", true},
        {"日本", true},
        {"user:42/x.y-z", true},
        {"\xC2\xA0", true},
        {"😀", true},
        {"", false},
        {"a\nb", false},
        {"\r", false},
        {"\x1B[31m", false},
        {"a\x7F", false},
        {"\xC2\x80", false},
        {"x\xC2\x9Fy", false},
        {"\xC3\x28", false},
        {"\xED\xA0\x80", false},
        {"half \xE2\x82", false},
        {"end \xC2", false},
        {"\x01", false},
    };
    bool (*const checks[])(struct span) = {name_user_ok, name_room_ok, name_device_ok, name_id_ok, name_event_ok};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        for (size_t c = 0; c < ARRAY_LEN(checks); c++) {
            assert_int_equal(against_guard(checks[c], span_str(table[i].text)), table[i].ok);
        }
    }
    assert_false(name_user_ok(SPAN_LIT("a\0b")));
}

static void addresses_of_the_relay(void **state)
{
    char text[600] = "https://";
    (void)state;

    assert_int_equal(relay_channel(SPAN_LIT("wecom")), 0);
    assert_int_equal(relay_channel(SPAN_LIT("webhook")), 2);
    assert_int_equal(relay_channel(SPAN_LIT("web")), RELAY_CHANNELS);
    assert_int_equal(relay_channel(SPAN_LIT("")), RELAY_CHANNELS);
    memset(text + 8, 'a', sizeof(text) - 8);
    assert_true(against_guard(name_webhook_ok, span_of(text, 512)));
    assert_false(against_guard(name_webhook_ok, span_of(text, 513)));
    assert_true(against_guard(name_webhook_ok, SPAN_LIT("http://a")));
    assert_false(against_guard(name_webhook_ok, SPAN_LIT("https://")));
    assert_false(against_guard(name_webhook_ok, SPAN_LIT("https:/")));
    assert_false(against_guard(name_webhook_ok, SPAN_LIT("ftp://a")));
    assert_false(against_guard(name_webhook_ok, SPAN_LIT("http://a\nb")));
    assert_true(against_guard(name_address_ok, SPAN_LIT("ZhangSan")));
    assert_false(against_guard(name_address_ok, SPAN_LIT("")));
}

static void names_are_bounded(void **state)
{
    char text[130];

    (void)state;
    memset(text, 'x', sizeof(text));
    for (size_t n = 0; n <= sizeof(text); n++) {
        bool fits_long = n >= 1 && n <= 128, fits_short = n >= 1 && n <= 64;
        assert_int_equal(name_user_ok(span_of(text, n)), fits_long);
        assert_int_equal(name_room_ok(span_of(text, n)), fits_long);
        assert_int_equal(name_id_ok(span_of(text, n)), fits_long);
        assert_int_equal(name_device_ok(span_of(text, n)), fits_short);
        assert_int_equal(name_event_ok(span_of(text, n)), fits_short);
    }
}

static bool glob(const char *pattern, const char *s)
{
    struct guard g1, g2;
    bool ok = glob_match(guard_copy(&g1, span_str(pattern)), guard_copy(&g2, span_str(s)));

    guard_free(&g1);
    guard_free(&g2);
    return ok;
}

static void globs(void **state)
{
    static const struct {
        const char *pattern, *s;
        bool match;
    } table[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "anything", true},
        {"**", "a", true},
        {"a", "a", true},
        {"a", "b", false},
        {"a", "", false},
        {"a", "aa", false},
        {"?", "", false},
        {"?", "a", true},
        {"?", "ab", false},
        {"?", "é", true},
        {"??", "é", false},
        {"*?", "日", true},
        {"*??", "日", false},
        {"*??", "日本", true},
        {"?本", "日本", true},
        {"日*", "日本", true},
        {"*本", "日本", true},
        {"room:*", "room:a", true},
        {"room:*", "room:", true},
        {"room:*", "rooms:a", false},
        {"room:a", "room:ab", false},
        {"a*c", "abcbc", true},
        {"a*b*c", "axxbyyc", true},
        {"a*b*c", "axxcyyb", false},
        {"*ab", "aab", true},
        {"*.log", "x.log.log", true},
        {"a?c", "abc", true},
        {"a?c", "ac", false},
        {"[a]", "[a]", true},
        {"[a]", "a", false},
        {"\\*", "\\x", true},
        {"\\*", "*", false},
        {"a*", "b", false},
        {"*a*b", "ab", true},
        {"*a*b", "ba", false},
        {"?*", "", false},
        {"?*?", "a", false},
        {"?*?", "ab", true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (glob(table[i].pattern, table[i].s) != table[i].match) {
            fail_msg("glob \"%s\" on \"%s\"", table[i].pattern, table[i].s);
        }
    }
}

static bool slow_glob(const char *p, const char *s)
{
    if (*p == '\0') {
        return *s == '\0';
    }
    if (*p == '*') {
        return slow_glob(p + 1, s) || (*s && slow_glob(p, s + 1));
    }
    return *s && (*p == '?' || *p == *s) && slow_glob(p + 1, s + 1);
}

/* Every pattern of up to 5 of "ab*?" on every string of up to 5 of "ab". */
static void globs_agree_with_recursion(void **state)
{
    char pattern[6], s[6];

    (void)state;
    for (unsigned np = 0; np <= 5; np++) {
        for (unsigned p = 0; p < 1u << (2 * np); p++) {
            for (unsigned i = 0; i < np; i++) {
                pattern[i] = "ab*?"[p >> (2 * i) & 3];
            }
            pattern[np] = '\0';
            for (unsigned code = 1; code < 1u << 6; code++) { /* the bits below the highest one are the string */
                unsigned ns = 31 - (unsigned)__builtin_clz(code);
                for (unsigned i = 0; i < ns; i++) {
                    s[i] = "ab"[code >> i & 1];
                }
                s[ns] = '\0';
                if (glob_match(span_str(pattern), span_str(s)) != slow_glob(pattern, s)) {
                    fail_msg("glob \"%s\" on \"%s\"", pattern, s);
                }
            }
        }
    }
}

/* A pattern that costs a backtracking matcher 2^60 steps; here it is over before one can look. */
static void globs_do_not_explode(void **state)
{
    char pattern[128], s[128];

    (void)state;
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = i % 2 ? 'a' : '*';
    }
    pattern[sizeof(pattern) - 1] = 'b';
    memset(s, 'a', sizeof(s));
    assert_false(glob_match(span_of(pattern, sizeof(pattern)), span_of(s, sizeof(s))));
}

static void channels(void **state)
{
    static const struct {
        const char *prefix, *channel;
        bool ok;
        enum target_kind kind;
        const char *name;
    } table[] = {
        {"crier:", "crier:user:42", true, TARGET_USER, "42"},
        {"crier:", "crier:user:a:b", true, TARGET_USER, "a:b"},
        {"crier:", "crier:room:日本", true, TARGET_ROOM, "日本"},
        {"crier:", "crier:all", true, TARGET_ALL, ""},
        {"", "all", true, TARGET_ALL, ""},
        {"", "user:x", true, TARGET_USER, "x"},
        {"crier:", "crier:all:", false, TARGET_ALL, ""},
        {"crier:", "crier:al", false, TARGET_ALL, ""},
        {"crier:", "crier:user:", false, TARGET_ALL, ""},
        {"crier:", "crier:room:", false, TARGET_ALL, ""},
        {"crier:", "crier:user", false, TARGET_ALL, ""},
        {"crier:", "crier:users:1", false, TARGET_ALL, ""},
        {"crier:", "crier:", false, TARGET_ALL, ""},
        {"crier:", "crier", false, TARGET_ALL, ""},
        {"crier:", "", false, TARGET_ALL, ""},
        {"crier:", "other:user:1", false, TARGET_ALL, ""},
        {"crier:", "Crier:user:1", false, TARGET_ALL, ""},
        {"crier:", "crier:user:a\nb", false, TARGET_ALL, ""},
        {"crier:", "crier:room:\xFF", false, TARGET_ALL, ""},
    };
    struct guard g;
    struct span name;
    enum target_kind kind;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct span channel = guard_copy(&g, span_str(table[i].channel));
        assert_int_equal(channel_parse(span_str(table[i].prefix), channel, &kind, &name), table[i].ok);
        if (table[i].ok) {
            assert_int_equal(kind, table[i].kind);
            assert_true(span_eq(name, span_str(table[i].name)));
        }
        guard_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_hold_no_control_characters),
        cmocka_unit_test(addresses_of_the_relay),
        cmocka_unit_test(names_are_bounded),
        cmocka_unit_test(globs),
        cmocka_unit_test(globs_agree_with_recursion),
        cmocka_unit_test(globs_do_not_explode),
        cmocka_unit_test(channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
