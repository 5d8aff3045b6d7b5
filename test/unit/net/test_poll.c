/*
 * test_poll.c - polls and posted commands on a real shard thread, the test in the dispatcher's place: what is asked of
 * the store and when, and what becomes of a poll whose client leaves at the wrong moment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/job_codec.h"
#include "proto/sse_id.h"
#include "shard_world.h"

static struct job *job_to(enum target_kind kind, const char *target, uint64_t seq, uint64_t prev)
{
    char data[32];
    snprintf(data, sizeof data, "%llu", (unsigned long long)seq);
    struct job_head h = {.kind = kind,
                         .target = span_str(target),
                         .seq = seq,
                         .prev = prev,
                         .ts_ms = 1,
                         .id = SPAN_LIT("id"),
                         .priority = PRIO_NORMAL,
                         .format = DATA_JSON,
                         .data = span_str(data)};
    struct job *j = job_pack(&h);
    assert_non_null(j);
    return j;
}

static struct job *make_job(uint64_t seq, uint64_t prev)
{
    return job_to(TARGET_USER, "alice", seq, prev);
}

static void announce(struct world *w, uint64_t seq)
{
    world_send(w, MSG_JOB, make_job(seq, seq ? seq - 1 : 0), 0);
}

/* The store's answer to a read: entries first..last of an inbox whose top is `top`. */
static void give(struct world *w, struct op *op, uint64_t cursor, uint64_t first, uint64_t last, uint64_t top)
{
    unsigned n = first && last >= first ? (unsigned)(last - first + 1) : 0;
    op->attach.cursor = cursor;
    op->attach.pending = n;
    op->attach.page.top = top;
    op->attach.page.jobs = n ? calloc(n, sizeof(struct job *)) : NULL;
    for (unsigned i = 0; i < n; i++)
        op->attach.page.jobs[op->attach.page.njobs++] = make_job(first + i, first + i - 1);
    world_send(w, MSG_OP, op, 0);
}

static struct op *next_read(struct world *w, const char *device)
{
    struct op *op = world_next_op(w, OP_ATTACH);
    assert_string_equal(op->attach.user, "alice");
    assert_string_equal(op->attach.device, device);
    return op;
}

static struct op *next_ack(struct world *w, uint64_t seq)
{
    struct op *op = world_next_op(w, OP_ACK);
    assert_int_equal(op->ack.n, 1);
    assert_int_equal(op->ack.v[0].seq, seq);
    return op;
}

/* ---- the client ---- */

struct client {
    int fd;
    char buf[65536];
    size_t len;
};

static void dial(struct world *w, struct client *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->len = 0;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&a, sizeof a), 0);
}

static void ask(struct client *c, const char *query)
{
    char req[512];
    int n = snprintf(req, sizeof req, "GET /poll?user=alice%s HTTP/1.1\r\nHost: x\r\n\r\n", query);
    assert_int_equal(send(c->fd, req, (size_t)n, 0), n);
}

static void post(struct client *c, const char *query, const char *body)
{
    char req[1024];
    int n = snprintf(req, sizeof req, "POST /send?user=alice%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
                     query, strlen(body), body);
    assert_int_equal(send(c->fd, req, (size_t)n, 0), n);
}

/* Reads one answer: its status, and `part` is in it. */
static void expect(struct client *c, unsigned status, const char *part)
{
    for (;;) {
        c->buf[c->len] = '\0';
        char *body = strstr(c->buf, "\r\n\r\n"), *length = strstr(c->buf, "Content-Length: ");
        size_t n = body && length ? (size_t)(body - c->buf) + 4 + strtoul(length + 16, NULL, 10) : SIZE_MAX;
        if (c->len >= n) {
            char last = c->buf[n];
            c->buf[n] = '\0';
            if (strtoul(c->buf + 9, NULL, 10) != status || !strstr(c->buf, part))
                fail_msg("expected %u and %s in %s", status, part, c->buf);
            c->buf[n] = last;
            memmove(c->buf, c->buf + n, c->len - n);
            c->len -= n;
            return;
        }
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (poll(&p, 1, DEADLINE_MS) != 1)
            fail_msg("no answer");
        ssize_t got = recv(c->fd, c->buf + c->len, sizeof c->buf - 1 - c->len, 0);
        if (got <= 0)
            fail_msg("closed instead of an answer");
        c->len += (size_t)got;
    }
}

static void until_held(struct world *w, uint64_t n)
{
    for (unsigned i = 0; metric_get(&w->metrics, M_POLLS_HELD) != n; i++) {
        if (i > DEADLINE_MS)
            fail_msg("not %llu polls held", (unsigned long long)n);
        (void)poll(NULL, 0, 1);
    }
}

static void expect_no_op(struct world *w)
{
    (void)inbox_drain(w->dispatcher, 64, world_keep, w);
    assert_int_equal(w->nops, 0);
}

/* A world where alice's device "poll" is known, at cursor 5. */
static void known(struct world *w, struct client *c)
{
    world_prepare(w);
    world_start(w);
    dial(w, c);
    ask(c, "");
    struct op *read = next_read(w, "poll");
    assert_false(read->attach.has_since);
    assert_true(read->attach.named);
    give(w, read, 5, 0, 0, 5);
    expect(c, 200, "{\"messages\":[],\"cursor\":\"5\",\"more\":false}");
}

static void end(struct world *w, struct client *c)
{
    close(c->fd);
    world_stop(w);
}

/* ---- tests ---- */

static void nothing_new_asks_nobody(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known(&w, &c);
    for (int i = 0; i < 20; i++) {
        ask(&c, "");
        expect(&c, 200, "\"messages\":[]");
    }
    announce(&w, 5); /* old */
    ask(&c, "");
    expect(&c, 200, "\"messages\":[]");
    expect_no_op(&w);
    end(&w, &c);
}

static void the_cursor_is_written_before_the_answer(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known(&w, &c);
    announce(&w, 6);
    ask(&c, "");
    give(&w, next_read(&w, "poll"), 5, 6, 7, 7);
    struct op *ack = next_ack(&w, 7);
    struct pollfd p = {.fd = c.fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 50), 0); /* no answer yet */
    world_send(&w, MSG_OP, ack, 0);
    expect(&c, 200, "\"cursor\":\"7\",\"more\":false");
    announce(&w, 7); /* what it had already */
    ask(&c, "");
    expect(&c, 200, "\"messages\":[],\"cursor\":\"7\"");
    expect_no_op(&w);
    end(&w, &c);
}

static void explicit_polls_write_nothing_until_after(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known(&w, &c);
    announce(&w, 6);
    ask(&c, "&ack=explicit&limit=1");
    give(&w, next_read(&w, "poll"), 5, 6, 7, 7);
    expect(&c, 200, "\"cursor\":\"6\",\"more\":true");
    expect_no_op(&w);
    ask(&c, "&ack=explicit&after=6");
    op_free(next_ack(&w, 6));
    struct op *read = next_read(&w, "poll");
    assert_true(read->attach.has_since);
    assert_int_equal(read->attach.since, 6);
    give(&w, read, 6, 7, 7, 7);
    expect(&c, 200, "\"cursor\":\"7\",\"more\":false");
    ask(&c, "&ack=explicit&after=7");
    op_free(next_ack(&w, 7));
    expect(&c, 200, "\"messages\":[],\"cursor\":\"7\"");
    expect_no_op(&w);
    end(&w, &c);
}

static void a_client_that_left_leaves_its_page_to_the_next(void **state)
{
    (void)state;
    struct world w;
    struct client c, d;
    known(&w, &c);
    ask(&c, "&wait=60");
    until_held(&w, 1);
    announce(&w, 6);
    give(&w, next_read(&w, "poll"), 5, 6, 6, 6);
    struct op *ack = next_ack(&w, 6);
    close(c.fd);
    until_held(&w, 0);
    world_send(&w, MSG_OP, ack, 0);
    dial(&w, &d);
    ask(&d, "");
    expect(&d, 200, "\"seq\":6");
    ask(&d, "");
    expect(&d, 200, "\"messages\":[],\"cursor\":\"6\"");
    expect_no_op(&w);
    end(&w, &d);
}

static void a_client_that_left_while_it_waited_takes_nothing(void **state)
{
    (void)state;
    struct world w;
    struct client c, d;
    known(&w, &c);
    ask(&c, "&wait=60");
    until_held(&w, 1);
    close(c.fd);
    until_held(&w, 0);
    announce(&w, 6);
    dial(&w, &d);
    ask(&d, "");
    give(&w, next_read(&w, "poll"), 5, 6, 6, 6);
    world_send(&w, MSG_OP, next_ack(&w, 6), 0);
    expect(&d, 200, "\"seq\":6");
    end(&w, &d);
}

static void a_read_for_another_cursor_is_done_again(void **state)
{
    (void)state;
    struct world w;
    struct client c, d;
    known(&w, &c);
    announce(&w, 9);
    ask(&c, "&ack=explicit&wait=60");
    struct op *read = next_read(&w, "poll");
    dial(&w, &d);
    ask(&d, "&ack=explicit&after=8");
    expect(&c, 200, "\"messages\":[]"); /* the newer one wins */
    give(&w, read, 5, 6, 9, 9);
    read = next_read(&w, "poll");
    assert_int_equal(read->attach.since, 8);
    give(&w, read, 8, 9, 9, 9);
    expect(&d, 200, "[{\"type\":\"message\",\"id\":\"id\",\"seq\":9,\"ts\":1,\"data\":9}],\"cursor\":\"9\"");
    close(c.fd);
    end(&w, &d);
}

static void what_has_expired_is_not_asked_for_again(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known(&w, &c);
    announce(&w, 8);
    ask(&c, "");
    give(&w, next_read(&w, "poll"), 5, 0, 0, 8);
    expect(&c, 200, "\"messages\":[],\"cursor\":\"5\"");
    ask(&c, "");
    expect(&c, 200, "\"messages\":[]");
    expect_no_op(&w);
    announce(&w, 9);
    ask(&c, "");
    give(&w, next_read(&w, "poll"), 5, 9, 9, 9);
    world_send(&w, MSG_OP, next_ack(&w, 9), 0);
    expect(&c, 200, "\"cursor\":\"9\"");
    end(&w, &c);
}

static void what_the_store_has_lost_is_not_asked_for_again(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known(&w, &c);
    announce(&w, 9);
    ask(&c, "");
    give(&w, next_read(&w, "poll"), 0, 0, 0, 0);
    expect(&c, 200, "\"messages\":[]");
    ask(&c, "");
    expect(&c, 200, "\"messages\":[]");
    expect_no_op(&w);
    announce(&w, 12);
    ask(&c, "");
    give(&w, next_read(&w, "poll"), 0, 12, 12, 12);
    world_send(&w, MSG_OP, next_ack(&w, 12), 0);
    expect(&c, 200, "\"cursor\":\"12\",\"more\":false");
    end(&w, &c);
}

static void the_store_away(void **state)
{
    (void)state;
    struct world w;
    struct client c, d;
    known(&w, &c);
    announce(&w, 6);
    ask(&c, "");
    struct op *read = next_read(&w, "poll");
    read->status = OP_AWAY;
    world_send(&w, MSG_OP, read, 0);
    expect(&c, 503, "unavailable");
    dial(&w, &d);
    ask(&d, "&wait=60");
    read = next_read(&w, "poll");
    read->status = OP_AWAY;
    world_send(&w, MSG_OP, read, 0);
    world_send(&w, MSG_STORE_STATE, NULL, 1);
    give(&w, next_read(&w, "poll"), 5, 6, 6, 6);
    struct op *ack = next_ack(&w, 6);
    ack->status = OP_AWAY; /* given all the same; the store is asked before anything else is */
    world_send(&w, MSG_OP, ack, 0);
    expect(&d, 200, "\"seq\":6");
    ask(&d, "");
    give(&w, next_read(&w, "poll"), 6, 0, 0, 6);
    expect(&d, 200, "\"messages\":[],\"cursor\":\"6\"");
    close(c.fd);
    end(&w, &d);
}

static void a_wait_that_is_over_is_answered(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known(&w, &c);
    ask(&c, "&wait=1");
    expect(&c, 200, "\"messages\":[]");
    assert_int_equal(metric_get(&w.metrics, M_POLLS_HELD), 0);
    ask(&c, "&wait=1&device=other");
    struct op *read = next_read(&w, "other");
    until_held(&w, 1);
    (void)poll(NULL, 0, 1300); /* the store takes longer than the client waits */
    give(&w, read, 0, 0, 0, 9);
    expect(&c, 200, "\"messages\":[]");
    end(&w, &c);
}

static void a_stop_answers_and_detaches(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known(&w, &c);
    ask(&c, "&wait=60");
    until_held(&w, 1);
    world_send(&w, MSG_STOP, NULL, STOP_DRAIN);
    expect(&c, 200, "\"messages\":[]");
    world_send(&w, MSG_STOP, NULL, STOP_NOW);
    shard_join(w.shard);
    shard_free(w.shard);
    struct op *detach = world_next_op(&w, OP_DETACH);
    assert_string_equal(detach->detach.device, "poll");
    assert_true(detach->detach.last);
    op_free(detach);
    close(c.fd);
    inbox_free(w.shard_in[0], msg_drop, NULL);
    inbox_free(w.dispatcher, msg_drop, NULL);
    inbox_free(w.main_in, msg_drop, NULL);
    auth_free(w.auth);
    config_fini(&w.cfg);
}

static void a_posted_ack_without_a_session_goes_to_the_store(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known(&w, &c);
    post(&c, "&device=gone", "{\"type\":\"ack\",\"seq\":9,\"ref\":1}");
    struct op *ack = next_ack(&w, 9);
    assert_string_equal(ack->ack.v[0].device, "gone");
    assert_true(ack->ack.v[0].named);
    world_send(&w, MSG_OP, ack, 0);
    expect(&c, 200, "{\"type\":\"ok\",\"ref\":1}");
    post(&c, "&device=gone", "{\"type\":\"ack\",\"seq\":9,\"ref\":2}");
    ack = next_ack(&w, 9);
    ack->status = OP_AWAY;
    world_send(&w, MSG_OP, ack, 0);
    expect(&c, 503, "unavailable");
    post(&c, "&device=gone", "{\"type\":\"ack\",\"seq\":9}");
    ack = next_ack(&w, 9);
    close(c.fd); /* nobody is left to be told */
    world_send(&w, MSG_OP, ack, 0);
    world_stop(&w);
}

/* ---- rooms ---- */

/* The cursor 5 in the inbox and `seq` in the room. */
static const char *cursor_at(uint64_t seq, const char *before, const char *after)
{
    static char text[128];
    struct buf b;
    buf_init(&b, 64);
    assert_true(sse_id_write_user(&b, 5) && sse_id_write_room(&b, SPAN_LIT("chat"), seq));
    snprintf(text, sizeof text, "%s%.*s%s", before, (int)b.len, (const char *)b.data, after);
    buf_fini(&b);
    return text;
}

static void ask_from(struct client *c, uint64_t seq, const char *more)
{
    char query[256];
    snprintf(query, sizeof query, "%s%s", cursor_at(seq, "&ack=explicit&rooms=chat&after=", ""), more);
    ask(c, query);
}

static void confirm(struct world *w, uint64_t top)
{
    struct op *op = world_next_op(w, OP_INTEREST);
    assert_string_equal(op->interest.room, "chat");
    assert_true(op->interest.on);
    op->interest.top = top;
    world_send(w, MSG_OP, op, 0);
}

static struct op *next_fetch(struct world *w, uint64_t from)
{
    struct op *op = world_next_op(w, OP_FETCH);
    assert_true(op->fetch.room);
    assert_string_equal(op->fetch.user, "chat");
    assert_int_equal(op->fetch.from, from);
    return op;
}

/* The history's answer: first..last, the first one's prev, and where the room stands. */
static void give_room(struct world *w, struct op *op, uint64_t first, uint64_t last, uint64_t prev, uint64_t top)
{
    struct op_page *g = &op->fetch.page;
    unsigned n = first && last >= first ? (unsigned)(last - first + 1) : 0;
    g->top = top;
    g->jobs = n ? calloc(n, sizeof(struct job *)) : NULL;
    for (unsigned i = 0; i < n; i++)
        g->jobs[g->njobs++] = job_to(TARGET_ROOM, "chat", first + i, i ? first + i - 1 : prev);
    world_send(w, MSG_OP, op, 0);
}

static void say_in_room(struct world *w, uint64_t seq, uint64_t prev)
{
    world_send(w, MSG_JOB, job_to(TARGET_ROOM, "chat", seq, prev), 0);
}

/* alice's device is known at 5, in a room that stands at 10. */
static void known_in_room(struct world *w, struct client *c)
{
    char err[128];
    world_prepare(w);
    assert_true(config_set(&w->cfg, "room-history", "chat*:100:1h", true, err, sizeof err));
    world_start(w);
    dial(w, c);
    ask(c, "&rooms=chat");
    give(w, next_read(w, "poll"), 5, 0, 0, 5);
    confirm(w, 10);
    expect(c, 200, cursor_at(10, "{\"messages\":[],\"cursor\":\"", "\",\"more\":false}"));
}

static void a_room_is_read_only_when_there_is_something(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known_in_room(&w, &c);
    for (int i = 0; i < 10; i++) {
        ask_from(&c, 10, "");
        expect(&c, 200, "\"messages\":[]");
    }
    expect_no_op(&w);
    say_in_room(&w, 11, 10);
    say_in_room(&w, 12, 11);
    for (int i = 0; i < 2; i++) { /* nothing counts as read: the same again */
        ask(&c, "&ack=explicit&rooms=chat");
        give_room(&w, next_fetch(&w, 10), 11, 12, 10, 12);
        expect(&c, 200, cursor_at(12, "\"cursor\":\"", "\",\"more\":false}"));
    }
    ask_from(&c, 10, "&limit=1");
    give_room(&w, next_fetch(&w, 10), 11, 12, 10, 12);
    expect(&c, 200, cursor_at(11, "\"cursor\":\"", "\",\"more\":true}"));
    ask_from(&c, 11, "");
    give_room(&w, next_fetch(&w, 11), 12, 12, 11, 12);
    expect(&c, 200, cursor_at(12, "\"cursor\":\"", "\",\"more\":false}"));
    ask_from(&c, 12, "");
    expect(&c, 200, "\"messages\":[]");
    expect_no_op(&w);
    end(&w, &c);
}

static void who_waits_is_given_what_comes_to_the_room(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known_in_room(&w, &c);
    ask_from(&c, 10, "&wait=60");
    until_held(&w, 1);
    say_in_room(&w, 11, 10);
    expect(&c, 200, cursor_at(11, "\"cursor\":\"", "\",\"more\":false}"));
    ask_from(&c, 11, "&wait=60");
    until_held(&w, 1);
    say_in_room(&w, 0, 0); /* live only */
    expect(&c, 200, "\"data\":0");
    ask_from(&c, 11, "&wait=60");
    until_held(&w, 1);
    expect_no_op(&w);
    announce(&w, 6); /* the inbox is read first, then the room */
    struct op *read = next_read(&w, "poll");
    say_in_room(&w, 12, 11);
    give(&w, read, 5, 6, 6, 6);
    give_room(&w, next_fetch(&w, 11), 12, 12, 11, 12);
    expect(&c, 200, "\"seq\":6");
    end(&w, &c);
}

static void a_room_page_that_reaches_nobody_is_read_again(void **state)
{
    (void)state;
    struct world w;
    struct client c, d;
    known_in_room(&w, &c);
    say_in_room(&w, 11, 10);
    ask(&c, "&rooms=chat&wait=60"); /* it trusts the node to know its place */
    struct op *op = next_fetch(&w, 10);
    close(c.fd);
    until_held(&w, 0);
    give_room(&w, op, 11, 11, 10, 11);
    dial(&w, &d);
    ask(&d, "&rooms=chat&wait=60");
    op = next_fetch(&w, 10);
    dial(&w, &c);
    ask(&c, "&rooms=chat"); /* newer */
    expect(&d, 200, cursor_at(10, "\"messages\":[],\"cursor\":\"", "\",\"more\":true}"));
    give_room(&w, op, 11, 11, 10, 11); /* for one that has gone */
    give_room(&w, next_fetch(&w, 10), 11, 11, 10, 11);
    expect(&c, 200, "\"data\":11");
    ask(&c, "&rooms=chat");
    expect(&c, 200, "\"messages\":[]");
    close(d.fd);
    end(&w, &c);
}

static void what_a_room_has_lost_is_told(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known_in_room(&w, &c);
    ask_from(&c, 3, "");
    struct op *op = next_fetch(&w, 3);
    op->fetch.page.gap = 7;
    give_room(&w, op, 8, 10, 7, 10);
    expect(&c, 200, "\"gaps\":[{\"type\":\"gap\",\"room\":\"chat\",\"from\":4,\"to\":7}]");
    ask_from(&c, 3, "");
    op = next_fetch(&w, 3);
    op->fetch.page.gap = 10;
    give_room(&w, op, 0, 0, 0, 10); /* all of it */
    expect(&c, 200, "\"from\":4,\"to\":10}]");
    ask_from(&c, 3, "");
    give_room(&w, next_fetch(&w, 3), 9, 10, 8, 10); /* what came to its own end is not lost */
    expect(&c, 200, "\"more\":false}");
    ask_from(&c, 3, "");
    give_room(&w, next_fetch(&w, 3), 0, 0, 0, 10);
    expect(&c, 200, cursor_at(10, "{\"messages\":[],\"cursor\":\"", "\",\"more\":false}"));
    ask_from(&c, 10, "");
    expect(&c, 200, "\"more\":false}");
    expect_no_op(&w);
    end(&w, &c);
}

static void a_room_that_is_not_to_be_had(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    known_in_room(&w, &c);
    ask(&c, "&rooms=chat,chat2");
    struct op *op = world_next_op(&w, OP_INTEREST);
    assert_string_equal(op->interest.room, "chat2");
    op->status = OP_AWAY;
    world_send(&w, MSG_OP, op, 0);
    expect(&c, 503, "unavailable");
    ask(&c, "&rooms=chat,chat2");
    op = world_next_op(&w, OP_INTEREST); /* asked for again */
    op->interest.top = 4;
    world_send(&w, MSG_OP, op, 0);
    expect(&c, 200, "\"messages\":[]");
    say_in_room(&w, 11, 10);
    ask(&c, "&rooms=chat");
    op = world_next_op(&w, OP_INTEREST); /* the other one is left */
    assert_false(op->interest.on);
    op_free(op);
    op = next_fetch(&w, 10);
    op->status = OP_AWAY;
    world_send(&w, MSG_OP, op, 0);
    expect(&c, 503, "unavailable");
    ask(&c, "&rooms=chat");
    give_room(&w, next_fetch(&w, 10), 11, 11, 10, 11);
    expect(&c, 200, "\"data\":11");
    end(&w, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_new_asks_nobody),
        cmocka_unit_test(the_cursor_is_written_before_the_answer),
        cmocka_unit_test(explicit_polls_write_nothing_until_after),
        cmocka_unit_test(a_client_that_left_leaves_its_page_to_the_next),
        cmocka_unit_test(a_client_that_left_while_it_waited_takes_nothing),
        cmocka_unit_test(a_read_for_another_cursor_is_done_again),
        cmocka_unit_test(what_has_expired_is_not_asked_for_again),
        cmocka_unit_test(what_the_store_has_lost_is_not_asked_for_again),
        cmocka_unit_test(the_store_away),
        cmocka_unit_test(a_wait_that_is_over_is_answered),
        cmocka_unit_test(a_stop_answers_and_detaches),
        cmocka_unit_test(a_posted_ack_without_a_session_goes_to_the_store),
        cmocka_unit_test(a_room_is_read_only_when_there_is_something),
        cmocka_unit_test(who_waits_is_given_what_comes_to_the_room),
        cmocka_unit_test(a_room_page_that_reaches_nobody_is_read_again),
        cmocka_unit_test(what_a_room_has_lost_is_told),
        cmocka_unit_test(a_room_that_is_not_to_be_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
