/*
 * test_redis_url.c - URLs of Redis, good and bad.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four above */
#include <cmocka.h>

#include "store/redis_url.h"

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static void good_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        struct redis_url want;
    } t[] = {
        {"redis://localhost", {"localhost", NULL, 6379, NULL, NULL, 0}},
        {"redis://10.0.0.1:7000/3", {"10.0.0.1", NULL, 7000, NULL, NULL, 3}},
        {"redis://h/", {"h", NULL, 6379, NULL, NULL, 0}},
        {"redis://:p%40ss@h:1", {"h", NULL, 1, NULL, "p@ss", 0}},
        {"redis://me:a:b@h", {"h", NULL, 6379, "me", "a:b", 0}},
        {"redis://me:a@b@h", {"h", NULL, 6379, "me", "a@b", 0}},
        {"redis://me:@h", {"h", NULL, 6379, "me", "", 0}},
        {"redis://[::1]:70/1", {"::1", NULL, 70, NULL, NULL, 1}},
        {"redis://[::1]", {"::1", NULL, 6379, NULL, NULL, 0}},
        {"unix:///run/r.sock", {NULL, "/run/r.sock", 0, NULL, NULL, 0}},
        {"unix://u:p@/run/r.sock?db=2", {NULL, "/run/r.sock", 0, "u", "p", 2}},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct redis_url u;
        char err[200] = "";
        if (!redis_url_parse(t[i].url, &u, err, sizeof(err)))
            fail_msg("%s: %s", t[i].url, err);
        if (!same(u.host, t[i].want.host) || !same(u.path, t[i].want.path) || u.port != t[i].want.port ||
            !same(u.user, t[i].want.user) || !same(u.pass, t[i].want.pass) || u.db != t[i].want.db)
            fail_msg("%s is read wrong", t[i].url);
        redis_url_fini(&u);
    }
}

static void bad_urls_are_told_without_the_password(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "http://h",
        "redis://",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:x",
        "redis://h:",
        "redis://h/x",
        "redis://h/70000",
        "redis://user@h",
        "redis://:secret%zz@h",
        "redis://:secret%2@h",
        "redis://:secret%00@h",
        "redis://:secret@",
        "redis://[::1",
        "unix://rel/path",
        "unix://",
        "unix:///x?foo=1",
        "unix:///x?db=",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct redis_url u;
        char err[200] = "";
        if (redis_url_parse(bad[i], &u, err, sizeof(err)))
            fail_msg("taken: %s", bad[i]);
        assert_true(strlen(err) > 20);
        assert_null(strstr(err, "secret"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_urls),
        cmocka_unit_test(bad_urls_are_told_without_the_password),
    };
    return cmocka_run_group_tests_name("redis_url", tests, NULL, NULL);
}
