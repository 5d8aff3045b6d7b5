/* Log lines as they arrive at standard error: one line each, whatever the text holds; levels; the limiter. */
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* Standard error goes to a file while a test looks at it. */
struct capture {
    FILE *file;
    int saved;
    char text[1 << 18];
};

static struct capture *begin(void)
{
    struct capture *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    c->file = tmpfile();
    assert_non_null(c->file);
    assert_int_equal(fcntl(fileno(c->file), F_SETFL, O_APPEND), 0);
    c->saved = dup(STDERR_FILENO);
    assert_true(dup2(fileno(c->file), STDERR_FILENO) >= 0);
    return c;
}

/* What was written since begin; standard error is itself again. */
static const char *end(struct capture *c)
{
    assert_true(dup2(c->saved, STDERR_FILENO) >= 0);
    close(c->saved);
    rewind(c->file);
    size_t n = fread(c->text, 1, sizeof(c->text) - 1, c->file);
    c->text[n] = '\0';
    (void)fclose(c->file);
    return c->text;
}

static unsigned count(const char *text, char c)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == c;
    return n;
}

static void text_lines(void **state)
{
    struct capture *c = begin();
    int e = errno = ENOENT;
    (void)state;
    log_setup(LOG_INFO, false, "node-1");
    log_thread("shard-3");
    log_line(LOG_DEBUG, "conn", "not seen");
    log_line(LOG_WARN, "conn", "closed: %s after %d ms", "idle", 60000);
    e = errno;
    const char *text = end(c);
    assert_int_equal(e, ENOENT);
    assert_int_equal(count(text, '\n'), 1);
    assert_non_null(strstr(text, "Z warn  node-1 shard-3 conn: closed: idle after 60000 ms\n"));
    assert_true(strlen(text) > 24 && text[4] == '-' && text[10] == 'T' && text[23] == 'Z');
    assert_false(log_enabled(LOG_DEBUG));
    assert_true(log_enabled(LOG_ERROR));
    free(c);
}

/* Text of a client must not forge a line, break the JSON, or drive a terminal. */
static const char hostile[] = "a\nb\r\x1b[31m\"q\"\\ \x7f \xc2\x85 \xe2\x80\xa8 \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"
                              " \xff \xc0\xaf \xed\xa0\x80 \xe2\x82";

static void hostile_text(void **state)
{
    struct capture *c = begin();
    (void)state;
    log_setup(LOG_INFO, false, NULL);
    log_line(LOG_INFO, "http", "%s", hostile);
    const char *text = end(c);
    assert_non_null(strstr(text, "http: a\\x0ab\\x0d\\x1b[31m\"q\"\\ \\x7f \\xc2\\x85 \\xe2\\x80\\xa8 "
                                 "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \\xff \\xc0\\xaf \\xed\\xa0\\x80 \\xe2\\x82\n"));
    free(c);
}

static void json_lines(void **state)
{
    struct capture *c = begin();
    (void)state;
    log_setup(LOG_DEBUG, true, "n\"1");
    log_thread("main");
    log_line(LOG_DEBUG, "http", "%s", hostile);
    const char *text = end(c);
    assert_int_equal(strncmp(text, "{\"ts\":\"2", 8), 0);
    assert_int_equal(count(text, '\n'), 1);
    assert_non_null(
        strstr(text, "Z\",\"level\":\"debug\",\"node\":\"n\\\"1\",\"thread\":\"main\",\"topic\":\"http\",\"msg\":\""
                     "a\\u000ab\\u000d\\u001b[31m\\\"q\\\"\\\\ \\u007f \\u0080 \\u2028 "
                     "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \\ufffd \\ufffd\\ufffd "
                     "\\ufffd\\ufffd\\ufffd \\ufffd\\ufffd\"}\n"));
    free(c);
}

/* However long or dense with escapes: one line, at most 4 KiB, and JSON stays closed. */
static void long_text(void **state)
{
    static char big[10000];
    (void)state;
    for (unsigned json = 0; json < 2; json++) {
        for (unsigned fill = 0; fill < 3; fill++) {
            struct capture *c = begin();
            memset(big, "x\n\xe2"[fill], sizeof(big) - 1);
            log_setup(LOG_INFO, json, "node");
            log_line(LOG_INFO, "big", "%s", big);
            const char *text = end(c);
            size_t n = strlen(text);
            assert_in_range(n, 1000, 4096);
            assert_int_equal(count(text, '\n'), 1);
            assert_int_equal(text[n - 1], '\n');
            if (json)
                assert_int_equal(strcmp(text + n - 3, "\"}\n"), 0);
            free(c);
        }
    }
}

static void limiter(void **state)
{
    struct capture *c = begin();
    struct log_limit lim = {0};
    (void)state;
    log_setup(LOG_INFO, false, NULL);
    for (int i = 0; i < 100; i++)
        log_limited(&lim, 3, LOG_WARN, "redis", "refused %d", i);
    lim.window_start_ms -= 10001; /* as if the window were over */
    log_limited(&lim, 3, LOG_DEBUG, "redis", "below the level: not counted");
    log_limited(&lim, 3, LOG_WARN, "redis", "once more");
    log_limited(&lim, 3, LOG_WARN, "redis", "and more");
    const char *text = end(c);
    assert_int_equal(count(text, '\n'), 5);
    assert_non_null(strstr(text, "redis: refused 2\n"));
    assert_null(strstr(text, "refused 3"));
    assert_non_null(strstr(text, "redis: once more (97 more of these were held back)\n"));
    assert_non_null(strstr(text, "redis: and more\n"));
    free(c);
}

static void *chatter(void *arg)
{
    log_thread(arg);
    for (int i = 0; i < 200; i++)
        log_line(LOG_INFO, "chat", "%0*d", 100, i);
    return NULL;
}

/* Lines of several threads never mix. */
static void threads(void **state)
{
    struct capture *c = begin();
    pthread_t a, b;
    (void)state;
    log_setup(LOG_INFO, false, NULL);
    assert_int_equal(pthread_create(&a, NULL, chatter, (void *)(uintptr_t) "shard-a"), 0);
    assert_int_equal(pthread_create(&b, NULL, chatter, (void *)(uintptr_t) "shard-b"), 0);
    assert_int_equal(pthread_join(a, NULL), 0);
    assert_int_equal(pthread_join(b, NULL), 0);
    const char *text = end(c);
    assert_int_equal(count(text, '\n'), 400);
    for (const char *p = text; *p; p += strcspn(p, "\n") + 1)
        assert_int_equal(strcspn(p, "\n"), strlen("2000-01-01T00:00:00.000Z info  shard-a chat: ") + 100);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_lines), cmocka_unit_test(hostile_text), cmocka_unit_test(json_lines),
        cmocka_unit_test(long_text),  cmocka_unit_test(limiter),      cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
