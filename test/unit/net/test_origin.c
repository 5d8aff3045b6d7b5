/*
 * test_origin.c - which web pages may speak to the broker, as a table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/config.h"
#include "net/origin.h"

struct row {
    const char *list[4];
    bool dev;
    const char *origin, *host;
    bool allowed;
};

static const struct row rows[] = {
    /* nothing configured: same origin */
    {{NULL}, false, "https://a.example", "a.example", true},
    {{NULL}, false, "http://a.example", "a.example", true},
    {{NULL}, false, "https://a.example", "a.example:443", true},
    {{NULL}, false, "https://a.example:443", "a.example", true},
    {{NULL}, false, "http://a.example:80", "a.example", true},
    {{NULL}, false, "HTTPS://A.Example", "a.eXample", true},
    {{NULL}, false, "http://a.example:8080", "a.example:8080", true},
    {{NULL}, false, "http://[::1]:8080", "[::1]:8080", true},
    {{NULL}, false, "http://a.example:8080", "a.example", false},
    {{NULL}, false, "http://a.example", "a.example:443", false},
    {{NULL}, false, "https://b.example", "a.example", false},
    {{NULL}, false, "https://a.example.evil.example", "a.example", false},
    {{NULL}, false, "https://evila.example", "a.example", false},
    {{NULL}, false, "null", "a.example", false},
    {{NULL}, false, "", "a.example", false},
    {{NULL}, false, "https://a.example", "", false},
    {{NULL}, false, "https://", "", false},
    {{NULL}, false, "http://localhost:3000", "127.0.0.1:8080", false},
    /* --dev: pages of this machine too */
    {{NULL}, true, "http://localhost:3000", "127.0.0.1:8080", true},
    {{NULL}, true, "http://127.0.0.1", "localhost:8080", true},
    {{NULL}, true, "http://[::1]:3000", "localhost:8080", true},
    {{NULL}, true, "http://[::1]", "localhost:8080", true},
    {{NULL}, true, "http://localhost.evil.example", "localhost:8080", false},
    {{NULL}, true, "https://evil.example", "localhost:8080", false},
    {{NULL}, true, "null", "localhost:8080", false},
    {{"same"}, true, "http://localhost:3000", "127.0.0.1:8080", true},
    {{"https://a.example"}, true, "http://localhost:3000", "127.0.0.1:8080", true},
    {{"https://a.example"}, true, "http://localhost.a.example", "localhost", false},
    /* lists */
    {{"https://a.example"}, false, "https://a.example", "broker", true},
    {{"https://A.Example:443"}, false, "https://a.example", "broker", true},
    {{"https://a.example"}, false, "https://a.example:443", "broker", true},
    {{"https://a.example"}, false, "http://a.example", "broker", false},
    {{"https://a.example"}, false, "https://a.example:8443", "broker", false},
    {{"https://a.example"}, false, "https://broker", "broker", false},
    {{"https://a.example", "same"}, false, "https://broker", "broker", true},
    {{"https://a.example", "https://b.example"}, false, "https://b.example", "broker", true},
    {{"https://a.example", "https://b.example"}, false, "https://c.example", "broker", false},
    /* wildcards */
    {{"https://*.a.example"}, false, "https://x.a.example", "broker", true},
    {{"https://*.a.example"}, false, "https://x.y.a.example", "broker", true},
    {{"https://*.a.example"}, false, "https://a.example", "broker", false},
    {{"https://*.a.example"}, false, "https://evil.example/x.a.example", "broker", false},
    {{"https://*.a.example"}, false, "https://evil.example?x.a.example", "broker", false},
    {{"https://*.a.example"}, false, "https://evil.example#x.a.example", "broker", false},
    {{"https://*.a.example"}, false, "https://user@x.a.example", "broker", false},
    {{"https://*.a.example"}, false, "https://x.a.example.evil.example", "broker", false},
    {{"http://localhost:*"}, false, "http://localhost:5173", "broker", true},
    {{"http://localhost:*"}, false, "http://localhost", "broker", false},
    {{"*"}, false, "https://whoever.example", "broker", true},
    {{"*"}, false, "null", "broker", true},
    {{"*"}, false, "no origin at all", "broker", true},
    {{"null"}, false, "null", "broker", true},
    {{"null"}, false, "https://a.example", "broker", false},
    {{"https://?.example"}, false, "https://b.example", "broker", true},
};

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        struct strlist list = {0};

        while (list.n < 4 && r->list[list.n]) {
            list.v[list.n] = (char *)(uintptr_t)r->list[list.n];
            list.n++;
        }
        if (origin_allowed(&list, r->dev, span_str(r->origin), span_str(r->host)) != r->allowed)
            fail_msg("row %zu: %s at %s was %s", i, r->origin, r->host, r->allowed ? "refused" : "allowed");
    }
}

static void patterns(void **state)
{
    static const char *const good[] = {"*", "same", "null", "https://a.example", "http://*.example:*", "*://a.example"};
    static const char *const bad[] = {
        "", "a.example", "https://", "://a", "https://a.example/", "https://a b", "ht tp://a.example"};
    char err[200];
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(origin_pattern_ok(good[i], err, sizeof(err)));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        err[0] = '\0';
        if (origin_pattern_ok(bad[i], err, sizeof(err)))
            fail_msg("accepted the pattern \"%s\"", bad[i]);
        assert_non_null(strstr(err, "scheme://host"));
    }
}

/* Bytes that cannot come from a browser, and lengths at the border. */
static void hostile(void **state)
{
    struct strlist same = {0};
    char long_host[400];
    struct span nul = {(const uint8_t *)"ht\0tp://a", 9};
    (void)state;

    assert_false(origin_allowed(&same, true, nul, SPAN_LIT("a")));
    memset(long_host, 'a', sizeof(long_host));
    memcpy(long_host, "https://", 8);
    for (size_t n = 250; n < sizeof(long_host); n++)
        assert_int_equal(origin_allowed(&same, false, span_of(long_host, n), span_of(long_host + 8, n - 8)), n < 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(table), cmocka_unit_test(patterns), cmocka_unit_test(hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
