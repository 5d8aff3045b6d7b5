/*
 * test_redis_conn.c - the connection against a server that follows a script: good answers, garbage, silence, errors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four above */
#include <cmocka.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/metrics.h"
#include "store/redis_conn.h"
#include "store/redis_url.h"

#define MASTER "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"

/* A server on the same loop. Each connection gets the login's answer, then `script` in pieces of `piece` bytes, one
 * piece a turn, once `after` commands have come. */
struct fake {
    struct event_base *base;
    struct event *accepting, *reading, *beat;
    char dir[64], path[80];
    int fd, conn;
    const char *login, *script;
    unsigned after, commands, accepted;
    size_t piece, sent;
    bool close_after;
    unsigned reads; /* after the login */
    size_t got;
};

struct client {
    struct redis_url url;
    struct redis_conn_cfg cfg;
    struct metrics metrics;
    struct redis_conn *conn;
    unsigned ups, downs, replies, nulls;
    char why[200], last[100];
    struct buf pushed;
};

static void write_script(struct fake *f)
{
    size_t n = strlen(f->script);
    while (f->sent < n && f->commands >= f->after) {
        size_t len = f->piece && n - f->sent > f->piece ? f->piece : n - f->sent;
        ssize_t put = write(f->conn, f->script + f->sent, len);
        if (put <= 0)
            return;
        f->sent += (size_t)put;
        if (f->piece)
            return;
    }
    if (f->sent == n && f->close_after && f->commands >= f->after) {
        event_del(f->reading);
        close(f->conn);
        f->conn = -1;
    }
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct fake *f = arg;
    char buf[65536];
    ssize_t n = read(fd, buf, sizeof(buf));
    if (n <= 0) {
        event_del(f->reading);
        close(fd);
        f->conn = -1;
        return;
    }
    unsigned before = f->commands;
    for (ssize_t i = 0; i < n; i++) /* the tests' arguments hold no '*' */
        f->commands += buf[i] == '*';
    f->got += (size_t)n;
    if (before == 0 && f->commands > 0)
        assert_int_equal(write(fd, f->login, strlen(f->login)), strlen(f->login));
    else
        f->reads++;
    write_script(f);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct fake *f = arg;
    if (f->conn >= 0) {
        event_del(f->reading);
        close(f->conn);
    }
    f->conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
    f->accepted++;
    f->commands = 0;
    f->sent = 0;
    if (f->reading)
        event_free(f->reading);
    f->reading = event_new(f->base, f->conn, EV_READ | EV_PERSIST, on_read, f);
    event_add(f->reading, NULL);
}

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct fake *f = arg;
    if (f->conn >= 0 && f->commands)
        write_script(f);
}

static void fake_start(struct fake *f, const char *login, const char *script)
{
    *f = (struct fake){.login = login, .script = script, .after = 2, .conn = -1};
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(f->dir, sizeof(f->dir), "/tmp/crier-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", f->path);
    f->base = event_base_new();
    f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(f->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(f->fd, 8), 0);
    f->accepting = event_new(f->base, f->fd, EV_READ | EV_PERSIST, on_accept, f);
    event_add(f->accepting, NULL);
    f->beat = event_new(f->base, -1, EV_PERSIST, on_beat, f);
    struct timeval tv = {0, 1000};
    event_add(f->beat, &tv);
}

static void fake_stop(struct fake *f)
{
    if (f->reading)
        event_free(f->reading);
    if (f->conn >= 0)
        close(f->conn);
    event_free(f->accepting);
    event_free(f->beat);
    close(f->fd);
    event_base_free(f->base);
    unlink(f->path);
    rmdir(f->dir);
}

static void on_up(void *arg)
{
    ((struct client *)arg)->ups++;
}

static void on_down(void *arg, const char *why)
{
    struct client *c = arg;
    c->downs++;
    snprintf(c->why, sizeof(c->why), "%s", why);
}

static void on_reply(void *owner, void *arg, const struct redisReply *r)
{
    struct client *c = owner;
    assert_ptr_equal(arg, &c->replies);
    if (!r) {
        c->nulls++;
        return;
    }
    c->replies++;
    if (r->type == REDIS_REPLY_STATUS || r->type == REDIS_REPLY_ERROR || r->type == REDIS_REPLY_STRING)
        snprintf(c->last, sizeof(c->last), "%s", r->str);
}

static ptrdiff_t on_bytes(void *arg, struct span in)
{
    struct client *c = arg;
    if (in.n && in.p[0] == '!')
        return -1;
    assert_true(buf_append_span(&c->pushed, in));
    return (ptrdiff_t)in.n;
}

static void client_start(struct client *c, struct fake *f, bool pushed)
{
    char url[120], err[200];
    memset(c, 0, sizeof(*c));
    snprintf(url, sizeof(url), "unix://%s", f->path);
    assert_true(redis_url_parse(url, &c->url, err, sizeof(err)));
    metrics_init(&c->metrics, "test");
    buf_init(&c->pushed, 1000);
    c->cfg = (struct redis_conn_cfg){.base = f->base,
                                     .url = &c->url,
                                     .metrics = &c->metrics,
                                     .label = "test",
                                     .timeout_ms = 100,
                                     .max_unsent = 4000000,
                                     .max_waiting = 1000,
                                     .arg = c,
                                     .up = on_up,
                                     .down = on_down,
                                     .bytes = pushed ? on_bytes : NULL};
    c->conn = redis_conn_new(&c->cfg);
    assert_non_null(c->conn);
}

static void client_stop(struct client *c)
{
    redis_conn_free(c->conn);
    redis_url_fini(&c->url);
    buf_fini(&c->pushed);
}

static enum redis_sent ask(struct client *c, const char *arg, bool patient)
{
    struct resp_args a;
    resp_init(&a, 4000000);
    resp_str(&a, "ECHO");
    resp_str(&a, arg);
    const struct resp_args *parts[] = {&a};
    enum redis_sent sent = redis_conn_send(c->conn, parts, 1, on_reply, &c->replies, patient);
    resp_fini(&a);
    return sent;
}

#define WAIT(f, cond)                                                                                                  \
    do {                                                                                                               \
        uint64_t give_up_ = clock_mono_ms() + 10000;                                                                   \
        while (!(cond)) {                                                                                              \
            if (clock_mono_ms() > give_up_)                                                                            \
                fail_msg("waited too long for: %s", #cond);                                                            \
            event_base_loop((f)->base, EVLOOP_ONCE);                                                                   \
        }                                                                                                              \
    } while (0)

/* ---- good ---- */

static void replies_come_in_order_however_they_are_cut(void **state)
{
    (void)state;
    for (size_t piece = 0; piece < 4; piece++) {
        struct fake f;
        struct client c;
        fake_start(&f, MASTER, "+one\r\n$5\r\nthree\r\n-ERR two\r\n");
        f.piece = piece;
        f.after = 4;
        client_start(&c, &f, false);
        WAIT(&f, c.ups == 1);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(ask(&c, "x", true), REDIS_SENT);
        WAIT(&f, c.replies == 3);
        assert_string_equal(c.last, "ERR two");
        assert_int_equal(redis_conn_waiting(c.conn), 0);
        assert_int_equal(c.downs + c.nulls, 0);
        client_stop(&c);
        fake_stop(&f);
    }
}

static void commands_of_one_turn_leave_in_one_write(void **state)
{
    (void)state;
    struct fake f;
    struct client c;
    fake_start(&f, MASTER, "");
    client_start(&c, &f, false);
    WAIT(&f, c.ups == 1);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(ask(&c, "hello", true), REDIS_SENT);
    WAIT(&f, f.commands == 101);
    assert_int_equal(f.reads, 1);
    client_stop(&c);
    assert_int_equal(c.nulls, 100);
    fake_stop(&f);
}

static void a_big_command_leaves_in_parts(void **state)
{
    (void)state;
    struct fake f;
    struct client c;
    fake_start(&f, MASTER, "+done\r\n");
    char *big = malloc(3000001);
    memset(big, 'x', 3000000);
    big[3000000] = '\0';
    client_start(&c, &f, false);
    WAIT(&f, c.ups == 1);
    assert_int_equal(ask(&c, big, true), REDIS_SENT);
    assert_int_equal(ask(&c, big, true), REDIS_TOO_MUCH);
    WAIT(&f, c.replies == 1 && f.got > 3000000);
    assert_int_equal(ask(&c, big, true), REDIS_SENT); /* there is room again */
    free(big);
    client_stop(&c);
    fake_stop(&f);
}

static void pushed_bytes_go_to_the_owner(void **state)
{
    (void)state;
    struct fake f;
    struct client c;
    fake_start(&f, MASTER, "abc");
    f.after = 2;
    client_start(&c, &f, true);
    WAIT(&f, c.ups == 1);
    assert_int_equal(ask(&c, "x", true), REDIS_SENT);
    WAIT(&f, c.pushed.len == 3);
    f.script = "abc!";
    WAIT(&f, c.downs == 1);
    client_stop(&c);
    fake_stop(&f);
}

/* ---- bad ---- */

static void a_server_of_no_use_is_left(void **state)
{
    (void)state;
    static const struct {
        const char *login, *why;
    } t[] = {
        {"*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:0\r\n", "replica"},
        {"-NOAUTH Authentication required.\r\n", "NOAUTH"},
        {"-LOADING wait\r\n", "LOADING"},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", "not Redis"},
        {"*-1\r\n", "replica"},
        {"$-5\r\n", "not Redis"},
        {MASTER MASTER, "nobody asked"},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct fake f;
        struct client c;
        fake_start(&f, t[i].login, "");
        client_start(&c, &f, false);
        WAIT(&f, c.downs == 2); /* and it tries again */
        assert_non_null(strstr(c.why, t[i].why));
        assert_int_equal(f.accepted, 2);
        client_stop(&c);
        fake_stop(&f);
    }
}

static void garbage_in_mid_stream_answers_everybody(void **state)
{
    (void)state;
    struct fake f;
    struct client c;
    fake_start(&f, MASTER, "+one\r\n?garbage\r\n");
    f.after = 4;
    client_start(&c, &f, false);
    WAIT(&f, c.ups == 1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ask(&c, "x", true), REDIS_SENT);
    WAIT(&f, c.downs == 1);
    assert_int_equal(c.replies, 1);
    assert_int_equal(c.nulls, 2);
    f.script = "";
    WAIT(&f, c.ups == 2);
    client_stop(&c);
    fake_stop(&f);
}

static void a_cut_in_mid_reply_answers_everybody(void **state)
{
    (void)state;
    struct fake f;
    struct client c;
    fake_start(&f, MASTER, "$10\r\nhalf");
    f.close_after = true;
    client_start(&c, &f, false);
    WAIT(&f, c.ups == 1);
    assert_int_equal(ask(&c, "x", true), REDIS_SENT);
    WAIT(&f, c.nulls == 1 && c.downs == 1);
    assert_int_equal(ask(&c, "x", true), REDIS_NOT_UP);
    client_stop(&c);
    fake_stop(&f);
}

static void a_late_reply_is_thrown_away_and_the_patient_get_theirs(void **state)
{
    (void)state;
    struct fake f;
    struct client c;
    fake_start(&f, MASTER, "");
    client_start(&c, &f, false);
    WAIT(&f, c.ups == 1);
    uint64_t began = clock_mono_ms();
    assert_int_equal(ask(&c, "hasty", false), REDIS_SENT);
    assert_int_equal(ask(&c, "patient", true), REDIS_SENT);
    WAIT(&f, c.nulls == 1);
    assert_true(clock_mono_ms() - began >= 100);
    assert_int_equal(redis_conn_waiting(c.conn), 2);
    f.script = "+late\r\n+for the patient\r\n";
    WAIT(&f, c.replies == 1);
    assert_string_equal(c.last, "for the patient");
    assert_int_equal(c.nulls, 1);
    assert_int_equal(redis_conn_waiting(c.conn), 0);
    assert_int_equal(c.downs, 0);
    client_stop(&c);
    fake_stop(&f);
}

static void silence_ends_the_connection(void **state)
{
    (void)state;
    struct fake f;
    struct client c;
    fake_start(&f, MASTER, "");
    client_start(&c, &f, false);
    WAIT(&f, c.ups == 1);
    assert_int_equal(ask(&c, "x", true), REDIS_SENT);
    WAIT(&f, c.downs == 1);
    assert_int_equal(c.nulls, 1);
    assert_string_equal(c.why, "no reply");
    client_stop(&c);
    fake_stop(&f);
}

static void too_many_commands_are_refused(void **state)
{
    (void)state;
    struct fake f;
    struct client c;
    fake_start(&f, MASTER, "");
    client_start(&c, &f, false);
    WAIT(&f, c.ups == 1);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(ask(&c, "x", true), REDIS_SENT);
    assert_int_equal(ask(&c, "x", true), REDIS_TOO_MUCH);
    redis_conn_drop(c.conn, "enough");
    assert_false(redis_conn_is_up(c.conn));
    WAIT(&f, c.downs == 1);
    assert_int_equal(c.nulls, 1000);
    assert_string_equal(c.why, "enough");
    client_stop(&c);
    fake_stop(&f);
}

static void a_server_that_is_not_there_is_tried_ever_more_slowly(void **state)
{
    (void)state;
    struct fake f;
    struct client c;
    fake_start(&f, MASTER, "");
    event_del(f.accepting);
    close(f.fd);
    uint64_t began = clock_mono_ms();
    client_start(&c, &f, false);
    WAIT(&f, c.downs == 5);
    uint64_t took = clock_mono_ms() - began; /* half to the whole of 50 + 100 + 200 + 400 */
    assert_true(took >= 370 && took < 1500);
    client_stop(&c);
    fake_stop(&f);
}

static void an_unknown_name_is_said(void **state)
{
    (void)state;
    struct fake f;
    struct client c;
    fake_start(&f, MASTER, "");
    client_start(&c, &f, false);
    redis_url_fini(&c.url);
    char err[200];
    assert_true(redis_url_parse("redis://localhost:1", &c.url, err, sizeof(err))); /* from the hosts file */
    WAIT(&f, c.downs == 2);
    assert_non_null(strstr(c.why, "refused"));
    client_stop(&c);
    fake_stop(&f);
}

static void replies_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum redis_fault want;
    } t[] = {
        {"LOADING Redis is loading", REDIS_UNAVAILABLE},  {"READONLY You can't write", REDIS_UNAVAILABLE},
        {"MASTERDOWN Link", REDIS_UNAVAILABLE},           {"ERR Function not found", REDIS_NO_FUNCTION},
        {"OOM command not allowed", REDIS_OUT_OF_MEMORY}, {"WRONGTYPE x", REDIS_REJECTED},
        {"BUSY Redis is busy", REDIS_UNAVAILABLE},        {"ERR other", REDIS_REJECTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        char text[64];
        snprintf(text, sizeof(text), "%s", t[i].text);
        redisReply r = {.type = REDIS_REPLY_ERROR, .str = text, .len = strlen(text)};
        assert_int_equal(redis_fault_of(&r), t[i].want);
    }
    assert_int_equal(redis_fault_of(NULL), REDIS_GONE);
    assert_int_equal(redis_fault_of(&(redisReply){.type = REDIS_REPLY_NIL}), REDIS_FINE);
}

int main(void)
{
    log_setup(LOG_ERROR, false, "test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_come_in_order_however_they_are_cut),
        cmocka_unit_test(commands_of_one_turn_leave_in_one_write),
        cmocka_unit_test(a_big_command_leaves_in_parts),
        cmocka_unit_test(pushed_bytes_go_to_the_owner),
        cmocka_unit_test(a_server_of_no_use_is_left),
        cmocka_unit_test(garbage_in_mid_stream_answers_everybody),
        cmocka_unit_test(a_cut_in_mid_reply_answers_everybody),
        cmocka_unit_test(a_late_reply_is_thrown_away_and_the_patient_get_theirs),
        cmocka_unit_test(silence_ends_the_connection),
        cmocka_unit_test(too_many_commands_are_refused),
        cmocka_unit_test(a_server_that_is_not_there_is_tried_ever_more_slowly),
        cmocka_unit_test(an_unknown_name_is_said),
        cmocka_unit_test(replies_are_told_apart),
    };
    return cmocka_run_group_tests_name("redis_conn", tests, NULL, NULL);
}
