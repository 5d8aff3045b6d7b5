/*
 * test_settings.c - files that are fine, faults with their line, what has to fit together, secrets out of files, and
 * the counters' text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/crier-relay/counters.h"
#include "cmd/crier-relay/settings_file.h"
#include "core/buf.h"
#include "core/config.h"

struct file {
    char path[40];
};

static void write_file(struct file *f, const char *text)
{
    snprintf(f->path, sizeof(f->path), "/tmp/crier-relay-test-XXXXXX");
    int fd = mkstemp(f->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static bool load(struct settings *s, const char *text, char *err, size_t errlen)
{
    struct file f;
    write_file(&f, text);
    err[0] = '\0';
    assert_true(settings_init(s));
    bool good = settings_load(s, f.path, err, errlen);
    size_t n = strlen(f.path);
    assert_true(good || strncmp(err, f.path, n) == 0 || strstr(err, "/nowhere"));
    if (!good && strncmp(err, f.path, n) == 0)
        memmove(err, err + n, strlen(err + n) + 1);
    unlink(f.path);
    return good;
}

static void expect_fault(const char *text, const char *begins)
{
    struct settings s;
    char err[600];
    assert_false(load(&s, text, err, sizeof(err)));
    if (strncmp(err, begins, strlen(begins)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", err, begins);
    settings_fini(&s);
}

static void test_defaults(void **state)
{
    struct settings s;
    char err[600];
    (void)state;
    assert_true(load(&s, "", err, sizeof(err)));
    assert_string_equal(s.redis, "redis://127.0.0.1:6379");
    assert_string_equal(s.prefix, "crier:");
    assert_string_equal(s.text, "You have a new message.");
    assert_true(s.attempts == 8 && s.backoff_ms == 2000 && s.backoff_max_ms == 300000 && s.lease_ms == 60000);
    assert_true(s.timeout_ms == 10000 && s.poll_ms == 1000 && s.parallel == 16 && s.log == LOG_FORMAT_TEXT);
    assert_true(!s.has[0] && !s.has[1] && !s.has[2] && !s.metrics_listen && !s.allow_private && !s.hook_secret);
    settings_fini(&s);
}

static void test_all(void **state)
{
    struct settings s;
    char err[600], text[2000];
    struct file f;
    (void)state;
    write_file(&f, "from; a file\r\n");
    snprintf(
        text, sizeof(text),
        "\xEF\xBB\xBF# comment\n[redis]\nurl=redis://h:1/2\nprefix = p:\n[relay]\ntext = a; b\nattempts=3\nbackoff = "
        "500ms\nlog=json\nmetrics-listen = [::1]:0\n\n [wecom]\ncorpid=c\nsecret=@%s\nagentid=0\napi=http://x:1/y\n"
        "[webhook]\n",
        f.path);
    bool good = load(&s, text, err, sizeof(err));
    unlink(f.path);
    assert_string_equal(err, "");
    assert_true(good);
    assert_string_equal(s.corp_secret, "from; a file");
    assert_string_equal(s.text, "a; b");
    assert_string_equal(s.metrics_listen, "[::1]:0");
    assert_true(s.has[0] && !s.has[1] && s.has[2] && s.backoff_ms == 500 && s.log == LOG_FORMAT_JSON);
    settings_fini(&s);
}

static void test_lines(void **state)
{
    (void)state;
    expect_fault("[relay]\ncolour = blue\n", ":2: section [relay] has no option colour");
    expect_fault("attempts = 3\n", ":1: attempts stands in no section");
    expect_fault("[relay]\n\n[fax]\nnumber = 1\n", ":3: there is no section [fax]");
    expect_fault("[fax]", ":1: there is no section [fax]");
    expect_fault("[relay]\nattempts = 0\n", ":2: attempts = 0: the value is too small");
    expect_fault("[relay]\npoll = soon\n", ":2: poll = soon: the value is not a duration");
    expect_fault("[relay]\nlog = auto\n", ":2: log = auto: the value is not text or json");
    expect_fault("[relay]\nno equals sign\n", ":2: this is not");
    expect_fault("[webhook]\nallow-private = maybe\n", ":2: allow-private = maybe");
}

static void test_whole(void **state)
{
    static const char wecom[] = "[wecom]\ncorpid=c\nsecret=s\n";
    char text[200];
    (void)state;
    expect_fault("[relay]\ntimeout = 10s\nlease = 34s\n", ": [relay] lease is shorter");
    expect_fault("[relay]\nbackoff = 10s\nbackoff-max = 5s\n", ": [relay] backoff is longer");
    expect_fault("[redis]\nurl = http://x\n", ": [redis] url");
    expect_fault("[redis]\nurl =\n", ": [redis] url is missing");
    expect_fault("[relay]\nmetrics-listen = here\n", ": [relay] metrics-listen");
    expect_fault("[relay]\nmetrics-listen = :80\n", ": [relay] metrics-listen");
    expect_fault("[relay]\nmetrics-listen = x:99999\n", ": [relay] metrics-listen");
    expect_fault("[wecom]\n", ": [wecom] corpid is missing");
    expect_fault(wecom, ": [wecom] agentid is missing");
    expect_fault("[wechat]\nappid=a\nsecret=s\ntemplate=t\n", ": [wechat] field is missing");
    snprintf(text, sizeof(text), "%sagentid=7,\"x\":1\n", wecom);
    expect_fault(text, ": [wecom] agentid is not a number");
    snprintf(text, sizeof(text), "%sagentid=7\napi=ftp://x\n", wecom);
    expect_fault(text, ": [wecom] api");
    snprintf(text, sizeof(text), "%sagentid=7\napi=https://x/\n", wecom);
    expect_fault(text, ": [wecom] api");
    expect_fault("[webhook]\nsecret = @/nowhere/at/all\n", "cannot read /nowhere/at/all");
}

static void test_counters(void **state)
{
    struct counters c = {.pending = 5, .inflight = 2, .cancelled = 1};
    struct worker_info w = {.host = "h\"", .pid = 7, .started_ms = 8};
    struct buf b;
    (void)state;
    c.outcome[OUTCOME_SENT][1] = 3;
    c.outcome[OUTCOME_SENT][2] = 4;
    buf_init(&b, 8192);
    assert_true(counters_render(&c, &b) && buf_append_byte(&b, '\0'));
    assert_non_null(strstr((char *)b.data, "\ncrier_relay_sent_total{channel=\"wechat\"} 3\n"));
    assert_non_null(strstr((char *)b.data, "\ncrier_relay_pending 5\n"));
    b.len = 0;
    assert_true(counters_status(&c, &w, &b));
    assert_true(SPAN_IS(buf_span(&b), "{\"host\":\"h\\\"\",\"pid\":7,\"started\":8,\"sent\":7,\"again\":0,\"failed\":0,"
                                      "\"cancelled\":1,\"inflight\":2}"));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_defaults), cmocka_unit_test(test_all),
                                       cmocka_unit_test(test_lines), cmocka_unit_test(test_whole),
                                       cmocka_unit_test(test_counters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
