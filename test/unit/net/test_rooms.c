/*
 * test_rooms.c - rooms with history and presence on a real shard thread: real sockets as the clients, and the test in
 * the dispatcher's place, so that every order of events can be made on purpose.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "core/clock.h"
#include "proto/job_codec.h"
#include "shard_world.h"
#include "ws_client.h"

static int setup(void **state)
{
    char err[160];
    struct world *w = malloc(sizeof *w);
    world_prepare(w);
    assert_true(config_set(&w->cfg, "room-history", "chat*:100:1h", true, err, sizeof err));
    assert_true(config_set(&w->cfg, "presence", "chat*", true, err, sizeof err));
    w->cfg.outq_soft = 64 * 1024;
    world_start(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_stop(*state);
    free(*state);
    return 0;
}

/* ---- the dispatcher's side ---- */

static void answer(struct world *w, struct op *op, enum op_status status)
{
    op->status = status;
    world_send(w, MSG_OP, op, 0);
}

/* seq 0: live only. */
static struct job *job_to(const char *room, uint64_t seq, uint64_t prev, const char *data)
{
    struct job_head h = {.kind = TARGET_ROOM,
                         .target = span_str(room),
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

static struct job *room_job(uint64_t seq, uint64_t prev, size_t padding)
{
    char *data = malloc(padding + 32);
    int n = snprintf(data, padding + 32, "\"%llu", (unsigned long long)seq);
    memset(data + n, 'x', padding);
    memcpy(data + n + padding, "\"", 2);
    struct job *j = job_to("chat", seq, prev, data);
    free(data);
    return j;
}

static void push(struct world *w, uint64_t seq, uint64_t prev)
{
    world_send(w, MSG_JOB, room_job(seq, prev, 0), 0);
}

/* The interest of the room "chat", confirmed where it stands. */
static void confirm(struct world *w, uint64_t top)
{
    struct op *op = world_next_op(w, OP_INTEREST);
    assert_string_equal(op->interest.room, "chat");
    assert_true(op->interest.on);
    op->interest.top = top;
    answer(w, op, OP_OK);
}

static void fill_page(struct op_page *p, uint64_t first, uint64_t last, uint64_t top)
{
    p->top = top;
    p->jobs = calloc(16, sizeof *p->jobs);
    for (uint64_t seq = first; first && seq <= last; seq++)
        p->jobs[p->njobs++] = room_job(seq, seq - 1, 0);
}

/* Entries first..last of the fetch that is asked for; by_room: not by a member for itself. */
static void answer_fetch(struct world *w, bool by_room, uint64_t from, uint64_t first, uint64_t last, uint64_t top)
{
    struct op *op = world_next_op(w, OP_FETCH);
    assert_true(op->fetch.room);
    assert_string_equal(op->fetch.user, "chat");
    assert_int_equal(op->conn == 0, by_room);
    assert_int_equal(op->fetch.from, from);
    fill_page(&op->fetch.page, first, last, top);
    answer(w, op, OP_OK);
}

static void nothing_is_asked(struct world *w, enum op_kind kind)
{
    (void)inbox_drain(w->dispatcher, 64, world_keep, w);
    for (unsigned i = 0; i < w->nops; i++)
        assert_int_not_equal(w->ops[i]->kind, kind);
}

/* ---- the clients' side ---- */

static void connect_user(struct world *w, struct client *c, const char *user)
{
    char query[64];
    snprintf(query, sizeof query, "user=%s&device=%s", user, user);
    dial(w, c, query);
    answer(w, world_next_op(w, OP_ATTACH), OP_OK);
    skip_head(c);
    expect_text(c, "\"type\":\"welcome\"");
}

/* The first member of "chat", which stands at 5. */
static void first_member(struct world *w, struct client *c)
{
    connect_user(w, c, "alice");
    say(c, "{\"type\":\"subscribe\",\"ref\":1,\"room\":\"chat\"}");
    confirm(w, 5);
    expect_text(c, "{\"type\":\"ok\",\"ref\":1,\"room\":\"chat\",\"seq\":5}");
}

static void next_member(struct world *w, struct client *c, const char *user, const char *more)
{
    char text[128];
    connect_user(w, c, user);
    snprintf(text, sizeof text, "{\"type\":\"subscribe\",\"ref\":1,\"room\":\"chat\"%s}", more);
    say(c, text);
}

static void expect_seqs(struct client *c, uint64_t first, uint64_t last)
{
    char part[64];
    for (uint64_t seq = first; seq <= last; seq++) {
        snprintf(part, sizeof part, "\"seq\":%llu,\"room\":\"chat\"", (unsigned long long)seq);
        expect_text(c, part);
    }
}

/* ---- the room's rule ---- */

static void members_get_what_comes_once_and_in_order(void **state)
{
    struct world *w = *state;
    struct client a, b;
    first_member(w, &a);
    next_member(w, &b, "bob", "");
    expect_text(&b, "\"seq\":5}");
    push(w, 6, 5);
    push(w, 6, 5);
    push(w, 5, 4);
    push(w, 7, 6);
    expect_seqs(&a, 6, 7);
    expect_seqs(&b, 6, 7);
    sync_client(&a); /* and nothing else */
    sync_client(&b);
    nothing_is_asked(w, OP_FETCH);
    close(a.fd);
    close(b.fd);
}

static void what_comes_before_the_confirmation_is_not_lost(void **state)
{
    struct world *w = *state;
    struct client a;
    connect_user(w, &a, "alice");
    say(&a, "{\"type\":\"subscribe\",\"ref\":1,\"room\":\"chat\"}");
    struct op *op = world_next_op(w, OP_INTEREST);
    push(w, 6, 5);
    op->interest.top = 5; /* it was asked before the message */
    answer(w, op, OP_OK);
    expect_text(&a, "\"seq\":5}");
    answer_fetch(w, true, 5, 6, 6, 6);
    expect_seqs(&a, 6, 6);
    close(a.fd);
}

static void a_gap_is_fetched_once_for_all_members(void **state)
{
    struct world *w = *state;
    struct client a, b;
    first_member(w, &a);
    next_member(w, &b, "bob", "");
    expect_text(&b, "\"seq\":5}");
    push(w, 9, 8);
    push(w, 10, 9);
    answer_fetch(w, true, 5, 6, 9, 9);
    expect_seqs(&a, 6, 9);
    expect_seqs(&b, 6, 9);
    answer_fetch(w, true, 9, 10, 10, 10);
    expect_seqs(&a, 10, 10);
    expect_seqs(&b, 10, 10);
    push(w, 11, 10);
    expect_seqs(&a, 11, 11);
    expect_seqs(&b, 11, 11);
    nothing_is_asked(w, OP_FETCH);
    close(a.fd);
    close(b.fd);
}

static void a_hint_that_something_was_missed_is_followed(void **state)
{
    struct world *w = *state;
    struct client a;
    first_member(w, &a);
    world_send(w, MSG_ROOM_BEHIND, behind_new(SPAN_LIT("chat"), 7), 0);
    world_send(w, MSG_ROOM_BEHIND, behind_new(SPAN_LIT("unknown"), 7), 0);
    answer_fetch(w, true, 5, 6, 7, 7);
    expect_seqs(&a, 6, 7);
    world_send(w, MSG_ROOM_BEHIND, behind_new(SPAN_LIT("chat"), 9), 0);
    answer_fetch(w, true, 7, 0, 0, 0); /* the store has lost them: asked once, not for ever */
    push(w, 12, 0);
    expect_seqs(&a, 12, 12);
    nothing_is_asked(w, OP_FETCH);
    close(a.fd);
}

static void a_hole_in_the_history_is_told(void **state)
{
    struct world *w = *state;
    struct client a;
    first_member(w, &a);
    push(w, 20, 19);
    struct op *op = world_next_op(w, OP_FETCH);
    fill_page(&op->fetch.page, 15, 20, 20);
    op->fetch.page.gap = 14;
    answer(w, op, OP_OK);
    expect_text(&a, "{\"type\":\"gap\",\"room\":\"chat\",\"from\":6,\"to\":14}");
    expect_seqs(&a, 15, 20);
    close(a.fd);
}

static void a_fetch_that_failed_is_made_again_when_the_store_is_back(void **state)
{
    struct world *w = *state;
    struct client a;
    first_member(w, &a);
    world_send(w, MSG_STORE_STATE, NULL, 1);
    push(w, 7, 6);
    struct op *op = world_next_op(w, OP_FETCH);
    world_send(w, MSG_STORE_STATE, NULL, 0);
    answer(w, op, OP_AWAY);
    sync_client(&a);
    nothing_is_asked(w, OP_FETCH);
    world_send(w, MSG_STORE_STATE, NULL, 1);
    answer_fetch(w, true, 5, 6, 7, 7);
    expect_seqs(&a, 6, 7);
    close(a.fd);
}

/* ---- since ---- */

static void since_brings_what_was_missed(void **state)
{
    struct world *w = *state;
    struct client a, b;
    first_member(w, &a);
    next_member(w, &b, "bob", ",\"since\":2");
    struct op *op = world_next_op(w, OP_FETCH);
    assert_int_equal(op->fetch.from, 2);
    assert_int_not_equal(op->conn, 0);
    push(w, 6, 5); /* meanwhile: not given before the answer */
    expect_seqs(&a, 6, 6);
    fill_page(&op->fetch.page, 3, 5, 5);
    answer(w, op, OP_OK);
    expect_text(&b, "{\"type\":\"ok\",\"ref\":1,\"room\":\"chat\",\"recovered\":true,\"seq\":6}");
    expect_seqs(&b, 3, 5);
    answer_fetch(w, false, 5, 6, 6, 6);
    expect_seqs(&b, 6, 6);
    push(w, 7, 6);
    expect_seqs(&a, 7, 7);
    expect_seqs(&b, 7, 7);
    close(a.fd);
    close(b.fd);
}

static void the_first_member_may_bring_since_too(void **state)
{
    struct world *w = *state;
    struct client a;
    connect_user(w, &a, "alice");
    say(&a, "{\"type\":\"subscribe\",\"ref\":1,\"room\":\"chat\",\"since\":5}");
    confirm(w, 5);
    answer_fetch(w, false, 5, 0, 0, 5);
    expect_text(&a, "\"recovered\":true,\"seq\":5}");
    push(w, 6, 5);
    expect_seqs(&a, 6, 6);
    close(a.fd);
}

static void since_that_is_too_old_or_unknown_is_said(void **state)
{
    struct world *w = *state;
    struct client a, b, c;
    first_member(w, &a);
    next_member(w, &b, "bob", ",\"since\":1");
    struct op *op = world_next_op(w, OP_FETCH);
    fill_page(&op->fetch.page, 4, 5, 5);
    op->fetch.page.gap = 3; /* 2 and 3 are gone */
    answer(w, op, OP_OK);
    expect_text(&b, "\"recovered\":false,\"seq\":5}");
    next_member(w, &c, "carol", ",\"since\":99");
    answer_fetch(w, false, 99, 0, 0, 5);
    expect_text(&c, "\"recovered\":false,\"seq\":5}");
    push(w, 6, 5);
    expect_seqs(&b, 6, 6); /* and none of the history before it */
    expect_seqs(&c, 6, 6);
    close(a.fd);
    close(b.fd);
    close(c.fd);
}

static void what_came_to_its_own_end_is_not_missed(void **state)
{
    struct world *w = *state;
    struct client a, b, c;
    first_member(w, &a);
    next_member(w, &b, "bob", ",\"since\":1");
    answer_fetch(w, false, 1, 4, 5, 5); /* 2 and 3 have expired, and the store says of no gap */
    expect_text(&b, "\"recovered\":true,\"seq\":5}");
    expect_seqs(&b, 4, 5);
    next_member(w, &c, "carol", ",\"since\":4");
    answer_fetch(w, false, 4, 0, 0, 5); /* so has 5 */
    expect_text(&c, "\"recovered\":true,\"seq\":5}");
    push(w, 6, 5);
    expect_seqs(&c, 6, 6);
    close(a.fd);
    close(b.fd);
    close(c.fd);
}

static void a_member_may_ask_for_the_past_again(void **state)
{
    struct world *w = *state;
    struct client a;
    first_member(w, &a);
    push(w, 6, 5);
    expect_seqs(&a, 6, 6);
    say(&a, "{\"type\":\"subscribe\",\"ref\":2,\"room\":\"chat\",\"since\":4}");
    answer_fetch(w, false, 4, 5, 6, 6);
    expect_text(&a, "\"ref\":2,\"room\":\"chat\",\"recovered\":true,\"seq\":6}");
    expect_seqs(&a, 5, 6);
    say(&a, "{\"type\":\"subscribe\",\"ref\":3,\"room\":\"chat\",\"since\":1}");
    say(&a, "{\"type\":\"subscribe\",\"ref\":4,\"room\":\"chat\",\"since\":5}");
    expect_text(&a, "\"type\":\"error\",\"ref\":3,\"code\":\"unavailable\""); /* the later one counts */
    answer_fetch(w, false, 1, 2, 6, 6);
    answer_fetch(w, false, 5, 6, 6, 6);
    expect_text(&a, "\"ref\":4,\"room\":\"chat\",\"recovered\":true,\"seq\":6}");
    expect_seqs(&a, 6, 6);
    push(w, 7, 6);
    expect_seqs(&a, 7, 7);
    close(a.fd);
}

static void a_store_that_is_away_is_said_and_the_room_left(void **state)
{
    struct world *w = *state;
    struct client a;
    connect_user(w, &a, "alice");
    say(&a, "{\"type\":\"subscribe\",\"ref\":1,\"room\":\"chat\",\"since\":3}");
    answer(w, world_next_op(w, OP_INTEREST), OP_AWAY);
    expect_text(&a, "\"ref\":1,\"code\":\"unavailable\"");
    struct op *off = world_next_op(w, OP_INTEREST);
    assert_false(off->interest.on);
    op_free(off);
    say(&a, "{\"type\":\"subscribe\",\"ref\":2,\"room\":\"chat\",\"since\":3}");
    confirm(w, 5);
    answer(w, world_next_op(w, OP_FETCH), OP_AWAY);
    expect_text(&a, "\"ref\":2,\"code\":\"unavailable\"");
    off = world_next_op(w, OP_INTEREST);
    assert_false(off->interest.on);
    op_free(off);
    say(&a, "{\"type\":\"unsubscribe\",\"ref\":3,\"room\":\"chat\"}");
    expect_text(&a, "not_subscribed");
    close(a.fd);
}

/* ---- the slow ---- */

static void nap(void)
{
    const struct timespec ms = {0, 1000000};
    nanosleep(&ms, NULL);
}

static void feed(struct world *w, uint64_t seq)
{
    struct job *j = room_job(seq, seq - 1, 8000);
    while (!inbox_push(w->shard_in[0], 1, (struct item){.kind = MSG_JOB, .ptr = j}))
        nap();
}

static void a_slow_member_is_left_to_the_history(void **state)
{
    struct world *w = *state;
    struct client slow, quick;
    first_member(w, &slow);
    next_member(w, &quick, "bob", "");
    expect_text(&quick, "\"seq\":5}");
    uint64_t seq = 5, got = 5;
    for (; metric_get(&w->metrics, M_LEFT_TO_INBOX) == 0 && seq < 5000; seq++) {
        feed(w, seq + 1);
        expect_seqs(&quick, seq + 1, seq + 1);
    }
    assert_true(seq < 5000);
    for (uint64_t more = 0; more < 20; more++, seq++) {
        feed(w, seq + 1);
        expect_seqs(&quick, seq + 1, seq + 1);
    }
    nothing_is_asked(w, OP_FETCH); /* not while its connection takes nothing */
    struct op *op = NULL;
    while (!op) {
        expect_seqs(&slow, got + 1, got + 1);
        got++;
        (void)inbox_drain(w->dispatcher, 64, world_keep, w);
        for (unsigned i = 0; i < w->nops; i++)
            op = w->ops[i]->kind == OP_FETCH ? w->ops[i] : op;
    }
    uint64_t from = op->fetch.from;
    assert_true(from >= got && from < seq);
    expect_seqs(&slow, got + 1, from);
    while (from < seq) { /* pages of 10, as the history would give them */
        uint64_t last = from + 10 < seq ? from + 10 : seq;
        op = world_next_op(w, OP_FETCH);
        assert_int_equal(op->fetch.from, from);
        fill_page(&op->fetch.page, from + 1, last, seq);
        op->fetch.page.more = last < seq;
        answer(w, op, OP_OK);
        expect_seqs(&slow, from + 1, last);
        from = last;
    }
    feed(w, seq + 1);
    expect_seqs(&slow, seq + 1, seq + 1);
    expect_seqs(&quick, seq + 1, seq + 1);
    close(slow.fd);
    close(quick.fd);
}

/* ---- presence ---- */

static void expect_presence(struct world *w, const char *user, bool on)
{
    struct op *op = world_next_op(w, OP_PRESENCE);
    assert_string_equal(op->presence.room, "chat");
    assert_string_equal(op->presence.user, user);
    assert_int_equal(op->presence.on, on);
    op_free(op);
}

static void first_and_last_connection_of_a_user_count(void **state)
{
    struct world *w = *state;
    struct client a, a2;
    first_member(w, &a);
    expect_presence(w, "alice", true);
    dial(w, &a2, "user=alice&device=other");
    answer(w, world_next_op(w, OP_ATTACH), OP_OK);
    skip_head(&a2);
    expect_text(&a2, "welcome");
    say(&a2, "{\"type\":\"subscribe\",\"ref\":1,\"room\":\"chat\"}");
    expect_text(&a2, "\"seq\":5}");
    say(&a, "{\"type\":\"unsubscribe\",\"ref\":2,\"room\":\"chat\"}");
    expect_text(&a, "\"ref\":2");
    nothing_is_asked(w, OP_PRESENCE);
    close(a2.fd);
    expect_presence(w, "alice", false);
    close(a.fd);
}

static void only_those_who_asked_are_told(void **state)
{
    struct world *w = *state;
    struct client a, b;
    connect_user(w, &a, "alice");
    say(&a, "{\"type\":\"subscribe\",\"ref\":1,\"room\":\"chat\",\"presence\":true}");
    confirm(w, 5);
    struct op *op = world_next_op(w, OP_WATCH);
    assert_string_equal(op->watch.room, "chat");
    assert_true(op->watch.on);
    sync_client(&a); /* no ok before presence is certain */
    answer(w, op, OP_OK);
    expect_text(&a, "\"type\":\"ok\",\"ref\":1");
    next_member(w, &b, "bob", "");
    expect_text(&b, "\"seq\":5}");
    world_send(w, MSG_PRESENCE, presence_new(SPAN_LIT("chat"), SPAN_LIT("zoe"), true, 7), 0);
    world_send(w, MSG_PRESENCE, presence_new(SPAN_LIT("elsewhere"), SPAN_LIT("zoe"), true, 8), 0);
    expect_text(&a, "{\"type\":\"presence\",\"room\":\"chat\",\"user\":\"zoe\",\"change\":\"join\",\"seq\":7}");
    sync_client(&b);
    sync_client(&a);
    close(a.fd);
    op = world_next_op(w, OP_WATCH);
    assert_false(op->watch.on);
    op_free(op);
    close(b.fd);
}

static void presence_that_cannot_be_had_is_said(void **state)
{
    struct world *w = *state;
    struct client a;
    connect_user(w, &a, "alice");
    say(&a, "{\"type\":\"subscribe\",\"ref\":1,\"room\":\"news\",\"presence\":true}");
    expect_text(&a, "\"ref\":1,\"code\":\"not_available\"");
    say(&a, "{\"type\":\"subscribe\",\"ref\":2,\"room\":\"chat\",\"presence\":true}");
    confirm(w, 5);
    answer(w, world_next_op(w, OP_WATCH), OP_AWAY);
    expect_text(&a, "\"ref\":2,\"code\":\"unavailable\"");
    struct op *off = world_next_op(w, OP_INTEREST);
    assert_false(off->interest.on);
    op_free(off);
    close(a.fd);
}

/* ---- questions ---- */

static char *text(const char *s)
{
    return span_dup(span_str(s));
}

static void history_and_presence_are_asked_of_the_store(void **state)
{
    struct world *w = *state;
    struct client a;
    connect_user(w, &a, "alice");
    say(&a, "{\"type\":\"history\",\"ref\":\"h\",\"room\":\"chat\",\"before\":9,\"limit\":3}");
    struct op *op = world_next_op(w, OP_QUERY);
    assert_int_equal(op->query.kind, QUERY_ROOM_HISTORY);
    assert_string_equal(op->query.args[0], "chat");
    assert_string_equal(op->query.args[1], "9");
    assert_null(op->query.args[2]);
    assert_string_equal(op->query.args[3], "3");
    op->query.reply = (uint8_t *)text("{\"room\":\"chat\",\"messages\":[]}");
    op->query.reply_len = strlen((char *)op->query.reply);
    answer(w, op, OP_OK);
    expect_text(&a, "{\"type\":\"ok\",\"ref\":\"h\",\"room\":\"chat\",\"messages\":[]}");
    say(&a, "{\"type\":\"presence\",\"ref\":5,\"room\":\"chat\",\"after\":\"bob\"}");
    op = world_next_op(w, OP_QUERY);
    assert_int_equal(op->query.kind, QUERY_ROOM_PRESENCE);
    assert_string_equal(op->query.args[1], "bob");
    assert_null(op->query.args[2]);
    answer(w, op, OP_AWAY);
    expect_text(&a, "\"ref\":5,\"code\":\"unavailable\"");
    say(&a, "{\"type\":\"history\",\"ref\":6,\"room\":\"news\"}");
    expect_text(&a, "\"ref\":6,\"code\":\"not_available\"");
    close(a.fd);
}

static void a_connection_that_goes_leaves_nothing_behind(void **state)
{
    struct world *w = *state;
    struct client a, b;
    first_member(w, &a);
    say(&a, "{\"type\":\"history\",\"ref\":1,\"room\":\"chat\"}");
    struct op *query = world_next_op(w, OP_QUERY);
    next_member(w, &b, "bob", ",\"since\":1,\"presence\":true");
    struct op *watch = world_next_op(w, OP_WATCH);
    expect_presence(w, "alice", true);
    expect_presence(w, "bob", true);
    close(a.fd);
    expect_presence(w, "alice", false);
    close(b.fd);
    expect_presence(w, "bob", false);
    struct op *off = world_next_op(w, OP_INTEREST);
    assert_false(off->interest.on);
    op_free(off);
    answer(w, query, OP_OK);
    answer(w, watch, OP_OK);
    first_member(w, &a); /* the room anew; the old answers were not its */
    close(a.fd);
}

/* ---- rooms with the same members ---- */

#define HALLS  12
#define GUESTS 5
#define SAID   4 /* all together less than the shard's inbox holds */

static struct job *hall_job(unsigned hall, unsigned round)
{
    char name[16], data[16];
    snprintf(name, sizeof name, "hall-%u", hall);
    snprintf(data, sizeof data, "\"%u.%u\"", round, hall);
    return job_to(name, 0, 0, data);
}

/* Messages that meet in one write are each one that was delivered, and what waited for the write is counted out again.
 */
static void rooms_with_the_same_members_are_counted_right(void **state)
{
    struct world *w = *state;
    struct client c[GUESTS];
    char text[96];
    for (unsigned i = 0; i < GUESTS; i++) {
        dial(w, &c[i], "");
        skip_head(&c[i]);
        expect_text(&c[i], "\"type\":\"welcome\"");
        for (unsigned h = 0; h < HALLS; h++) {
            snprintf(text, sizeof text, "{\"type\":\"subscribe\",\"ref\":1,\"room\":\"hall-%u\"}", h);
            say(&c[i], text);
            if (i == 0)
                answer(w, world_next_op(w, OP_INTEREST), OP_OK);
            expect_text(&c[i], "\"type\":\"ok\"");
        }
    }
    uint64_t before = metric_get(&w->metrics, M_DELIVERED);
    for (unsigned round = 0; round < SAID; round++)
        for (unsigned h = 0; h < HALLS; h++)
            world_send(w, MSG_JOB, hall_job(h, round), 0);
    for (unsigned i = 0; i < GUESTS; i++) {
        for (unsigned h = 0; h < HALLS; h++) /* some order of rooms, and each room in its own */
            for (unsigned round = 0; round < SAID; round++)
                expect_text(&c[i], "\"type\":\"message\"");
        sync_client(&c[i]);
    }
    assert_int_equal(metric_get(&w->metrics, M_DELIVERED) - before, GUESTS * HALLS * SAID);
    /* The last answer may be here before the shard is told that it has left. */
    for (unsigned i = 0; metric_get(&w->metrics, M_OUTQ_BYTES) != 0; i++) {
        if (i > DEADLINE_MS)
            fail_msg("%llu bytes wait still", (unsigned long long)metric_get(&w->metrics, M_OUTQ_BYTES));
        (void)poll(NULL, 0, 1);
    }
    for (unsigned i = 0; i < GUESTS; i++)
        close(c[i].fd);
}

/* ---- a large room ---- */

#define CROWD  800 /* more than three slices */
#define ROUNDS 12

static void crowd_comes(struct world *w, struct client *c, bool named)
{
    char user[16];
    for (unsigned i = 0; i < CROWD; i++) {
        snprintf(user, sizeof user, "u%u", i);
        if (named) {
            connect_user(w, &c[i], user);
        } else {
            dial(w, &c[i], "");
            skip_head(&c[i]);
            expect_text(&c[i], "\"type\":\"welcome\"");
        }
        say(&c[i], "{\"type\":\"subscribe\",\"ref\":1,\"room\":\"crowd\"}");
        if (i == 0)
            answer(w, world_next_op(w, OP_INTEREST), OP_OK);
        expect_text(&c[i], "\"type\":\"ok\"");
    }
}

static void say_to_all(struct world *w, unsigned round)
{
    char data[16];
    snprintf(data, sizeof data, "\"r%u\"", round);
    world_send(w, MSG_JOB, job_to("crowd", 0, 0, data), 0);
}

static void put_out(struct world *w, unsigned member)
{
    char user[16];
    snprintf(user, sizeof user, "u%u", member);
    struct op *op = op_new(OP_CONTROL);
    assert_non_null(op);
    op->control.act = CONTROL_LEAVE;
    op->control.user = span_dup(span_str(user));
    op->control.text = span_dup(SPAN_LIT("crowd"));
    world_send(w, MSG_OP, op, 0);
}

/* The members stand in the order of their coming and are served from the last on: once that one has the message, one
 * of those that still wait for it leaves. */
static void a_large_room_is_served_once_whoever_leaves(void **state)
{
    struct world *w = *state;
    struct client *c = calloc(CROWD, sizeof *c);
    char part[16];
    assert_non_null(c);
    crowd_comes(w, c, true);
    for (unsigned round = 0; round < ROUNDS; round++) {
        say_to_all(w, round);
        snprintf(part, sizeof part, "\"r%u\"", round);
        expect_text(&c[CROWD - 1], part);
        put_out(w, round);
        for (unsigned i = CROWD - 1; i-- > ROUNDS;)
            expect_text(&c[i], part);
    }
    for (unsigned i = ROUNDS; i < CROWD; i++)
        sync_client(&c[i]); /* and nothing besides */
    for (unsigned i = 0; i < CROWD; i++)
        close(c[i].fd);
    free(c);
}

static void everybody_may_leave_a_large_room_at_once(void **state)
{
    struct world *w = *state;
    struct client *c = calloc(CROWD, sizeof *c);
    assert_non_null(c);
    crowd_comes(w, c, false);
    say_to_all(w, 0);
    expect_text(&c[CROWD - 1], "\"r0\"");
    say_to_all(w, 1); /* waits for the walk to end */
    for (unsigned i = 0; i < CROWD; i++)
        close(c[i].fd);
    struct op *off = world_next_op(w, OP_INTEREST);
    assert_false(off->interest.on);
    op_free(off);
    free(c);
}

#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(members_get_what_comes_once_and_in_order),
        EACH(what_comes_before_the_confirmation_is_not_lost),
        EACH(a_gap_is_fetched_once_for_all_members),
        EACH(a_hint_that_something_was_missed_is_followed),
        EACH(a_hole_in_the_history_is_told),
        EACH(a_fetch_that_failed_is_made_again_when_the_store_is_back),
        EACH(since_brings_what_was_missed),
        EACH(the_first_member_may_bring_since_too),
        EACH(since_that_is_too_old_or_unknown_is_said),
        EACH(what_came_to_its_own_end_is_not_missed),
        EACH(a_member_may_ask_for_the_past_again),
        EACH(a_store_that_is_away_is_said_and_the_room_left),
        EACH(a_slow_member_is_left_to_the_history),
        EACH(first_and_last_connection_of_a_user_count),
        EACH(only_those_who_asked_are_told),
        EACH(presence_that_cannot_be_had_is_said),
        EACH(history_and_presence_are_asked_of_the_store),
        EACH(a_connection_that_goes_leaves_nothing_behind),
        EACH(rooms_with_the_same_members_are_counted_right),
        EACH(a_large_room_is_served_once_whoever_leaves),
        EACH(everybody_may_leave_a_large_room_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
