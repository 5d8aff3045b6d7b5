/*
 * test_session.c - the node rule on a real shard thread: a real socket as the client, and the test in the dispatcher's
 * place, so that every order of events can be made on purpose.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/job_codec.h"
#include "shard_world.h"
#include "ws_client.h"

static void start_with(struct world *w, unsigned window, unsigned ack_flush_ms)
{
    world_prepare(w);
    w->cfg.window = window;
    w->cfg.ack_flush_ms = ack_flush_ms;
    world_start(w);
}

static void start(struct world *w, unsigned window)
{
    start_with(w, window, 100);
}

static struct job *make_job(const char *user, uint64_t seq, uint64_t prev, const char *data)
{
    struct job_head h = {.kind = TARGET_USER,
                         .target = span_str(user),
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

static void push_stored(struct world *w, uint64_t seq, uint64_t prev)
{
    char data[32];
    snprintf(data, sizeof data, "%llu", (unsigned long long)seq);
    world_send(w, MSG_JOB, make_job("alice", seq, prev, data), 0);
}

/* Fills a page with entries first..last (seq = 1 step each, prev = seq - 1). */
static void fill_page(struct op_page *p, uint64_t first, uint64_t last, uint64_t top, bool more)
{
    unsigned n = last >= first && first ? (unsigned)(last - first + 1) : 0;
    p->top = top;
    p->more = more;
    p->jobs = n ? calloc(n, sizeof *p->jobs) : NULL;
    for (unsigned i = 0; i < n; i++) {
        char data[32];
        snprintf(data, sizeof data, "%llu", (unsigned long long)(first + i));
        p->jobs[p->njobs++] = make_job("alice", first + i, first + i - 1, data);
    }
}

static void answer_attach(struct world *w, uint64_t cursor, uint64_t first, uint64_t last, uint64_t top, uint64_t gap)
{
    struct op *op = world_next_op(w, OP_ATTACH);
    assert_string_equal(op->attach.user, "alice");
    op->attach.cursor = cursor;
    op->attach.pending = last >= first && first ? last - first + 1 : 0;
    op->attach.page.gap = gap;
    fill_page(&op->attach.page, first, last, top, false);
    world_send(w, MSG_OP, op, 0);
}

static void answer_fetch(struct world *w, uint64_t from, uint64_t first, uint64_t last, uint64_t top)
{
    struct op *op = world_next_op(w, OP_FETCH);
    assert_int_equal(op->fetch.from, from);
    fill_page(&op->fetch.page, first, last, top, false);
    world_send(w, MSG_OP, op, 0);
}

static void connect_alice(struct world *w, struct client *c, uint64_t top)
{
    dial(w, c, "user=alice&device=d1&ack=explicit");
    answer_attach(w, top, 0, 0, top, 0);
    skip_head(c);
    expect_text(c, "\"type\":\"welcome\"");
}

/* ---- tests ---- */

static void the_next_one_is_delivered_and_old_ones_are_not(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w, 256);
    connect_alice(&w, &c, 5);
    push_stored(&w, 6, 5);
    push_stored(&w, 6, 5);
    push_stored(&w, 5, 4);
    push_stored(&w, 7, 6);
    expect_seq(&c, 6);
    expect_seq(&c, 7);
    sync_client(&c); /* and nothing else */
    close(c.fd);
    world_stop(&w);
}

static void a_gap_is_fetched(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w, 256);
    connect_alice(&w, &c, 5);
    push_stored(&w, 9, 8);
    push_stored(&w, 10, 9); /* while it fetches: remembered only */
    answer_fetch(&w, 5, 6, 9, 9);
    for (uint64_t s = 6; s <= 9; s++)
        expect_seq(&c, s);
    answer_fetch(&w, 9, 10, 10, 10);
    expect_seq(&c, 10);
    push_stored(&w, 11, 10);
    expect_seq(&c, 11);
    close(c.fd);
    world_stop(&w);
}

static void a_push_that_overtakes_the_attach_is_not_lost(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w, 256);
    dial(&w, &c, "user=alice&device=d1&ack=explicit");
    struct op *attach = world_next_op(&w, OP_ATTACH);
    push_stored(&w, 6, 5);
    attach->attach.cursor = 3;
    attach->attach.pending = 2;
    fill_page(&attach->attach.page, 4, 5, 5, false);
    world_send(&w, MSG_OP, attach, 0);
    skip_head(&c);
    expect_text(&c, "\"cursor\":3");
    expect_seq(&c, 4);
    expect_seq(&c, 5);
    answer_fetch(&w, 5, 6, 6, 6);
    expect_seq(&c, 6);
    sync_client(&c);
    close(c.fd);
    world_stop(&w);
}

static void the_window_leaves_the_rest_to_the_inbox(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w, 4);
    connect_alice(&w, &c, 0);
    for (uint64_t s = 1; s <= 6; s++)
        push_stored(&w, s, s - 1);
    for (uint64_t s = 1; s <= 4; s++)
        expect_seq(&c, s);
    sync_client(&c);
    say(&c, "{\"type\":\"ack\",\"seq\":3}");
    answer_fetch(&w, 4, 5, 6, 6);
    expect_seq(&c, 5);
    expect_seq(&c, 6);
    struct op *ack = world_next_op(&w, OP_ACK);
    assert_int_equal(ack->ack.n, 1);
    assert_string_equal(ack->ack.v[0].device, "d1");
    assert_int_equal(ack->ack.v[0].seq, 3);
    op_free(ack);
    close(c.fd);
    world_stop(&w);
}

static void acks_are_clamped_and_end_in_the_detach(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start_with(&w, 256, 60000);
    connect_alice(&w, &c, 5);
    push_stored(&w, 6, 5);
    expect_seq(&c, 6);
    say(&c, "{\"type\":\"ack\",\"seq\":9007199254740000}");
    sync_client(&c);
    close(c.fd);
    struct op *d = world_next_op(&w, OP_DETACH);
    assert_true(d->detach.last);
    assert_int_equal(d->detach.acked, 6);
    op_free(d);
    world_stop(&w);
}

static void failed_acks_are_written_again(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w, 256);
    connect_alice(&w, &c, 5);
    push_stored(&w, 6, 5);
    expect_seq(&c, 6);
    say(&c, "{\"type\":\"ack\",\"seq\":6}");
    struct op *ack = world_next_op(&w, OP_ACK);
    ack->status = OP_AWAY;
    world_send(&w, MSG_OP, ack, 0);
    ack = world_next_op(&w, OP_ACK);
    assert_int_equal(ack->ack.v[0].seq, 6);
    op_free(ack);
    close(c.fd);
    world_stop(&w);
}

static void a_dropped_range_is_told_as_a_gap(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w, 256);
    dial(&w, &c, "user=alice&device=d1&ack=explicit");
    answer_attach(&w, 3, 8, 9, 9, 7);
    skip_head(&c);
    expect_text(&c, "\"type\":\"welcome\"");
    expect_text(&c, "\"type\":\"gap\"");
    expect_seq(&c, 8);
    expect_seq(&c, 9);
    close(c.fd);
    world_stop(&w);
}

static void live_only_messages_do_not_overtake_a_fetch(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w, 256);
    connect_alice(&w, &c, 5);
    world_send(&w, MSG_JOB, make_job("alice", 0, 0, "\"live-1\""), 0);
    expect_text(&c, "live-1");
    push_stored(&w, 8, 7);
    world_send(&w, MSG_JOB, make_job("alice", 0, 0, "\"live-2\""), 0);
    answer_fetch(&w, 5, 6, 8, 8);
    for (uint64_t s = 6; s <= 8; s++)
        expect_seq(&c, s);
    sync_client(&c);
    assert_int_equal(metric_get(&w.metrics, M_DROP_BEHIND), 1);
    close(c.fd);
    world_stop(&w);
}

static void the_store_away_only_delays(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w, 256);
    dial(&w, &c, "user=alice&device=d1&ack=explicit");
    struct op *op = world_next_op(&w, OP_ATTACH);
    op->status = OP_AWAY;
    world_send(&w, MSG_OP, op, 0);
    skip_head(&c); /* upgraded, no welcome yet */
    world_send(&w, MSG_STORE_STATE, NULL, 1);
    answer_attach(&w, 2, 3, 3, 3, 0);
    expect_text(&c, "\"type\":\"welcome\"");
    expect_seq(&c, 3);
    push_stored(&w, 5, 4);
    op = world_next_op(&w, OP_FETCH);
    op->status = OP_AWAY;
    world_send(&w, MSG_OP, op, 0);
    world_send(&w, MSG_STORE_STATE, NULL, 0);
    world_send(&w, MSG_STORE_STATE, NULL, 1);
    answer_fetch(&w, 3, 4, 5, 5);
    expect_seq(&c, 4);
    expect_seq(&c, 5);
    close(c.fd);
    world_stop(&w);
}

static void the_newer_connection_of_a_device_wins(void **state)
{
    (void)state;
    struct world w;
    struct client a, b;
    start(&w, 256);
    connect_alice(&w, &a, 5);
    dial(&w, &b, "user=alice&device=d1&ack=explicit");
    struct op *d = world_next_op(&w, OP_DETACH);
    assert_false(d->detach.last); /* the newer one is there already */
    op_free(d);
    assert_int_equal(next_frame(&a), 8);
    assert_int_equal((uint8_t)a.text[0] << 8 | (uint8_t)a.text[1], 4010);
    answer_attach(&w, 5, 0, 0, 5, 0);
    skip_head(&b);
    expect_text(&b, "\"type\":\"welcome\"");
    push_stored(&w, 6, 5);
    expect_seq(&b, 6);
    close(a.fd);
    close(b.fd);
    world_stop(&w);
}

static void behind_makes_it_fetch(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w, 256);
    connect_alice(&w, &c, 5);
    struct behind *b = behind_new(SPAN_LIT("alice"), 7);
    assert_non_null(b);
    world_send(&w, MSG_BEHIND, b, 0);
    answer_fetch(&w, 5, 6, 7, 7);
    expect_seq(&c, 6);
    expect_seq(&c, 7);
    close(c.fd);
    world_stop(&w);
}

static void what_the_store_has_lost_is_asked_for_once(void **state)
{
    (void)state;
    struct world w;
    struct client c;
    start(&w, 256);
    connect_alice(&w, &c, 5);
    world_send(&w, MSG_BEHIND, behind_new(SPAN_LIT("alice"), 9), 0);
    answer_fetch(&w, 5, 0, 0, 0);
    push_stored(&w, 12, 0);
    expect_seq(&c, 12);
    push_stored(&w, 15, 14);
    struct op *op = world_next_op(&w, OP_FETCH);
    push_stored(&w, 16, 15); /* while it is asked: 14 may be there by now, or not */
    world_send(&w, MSG_OP, op, 0);
    answer_fetch(&w, 12, 0, 0, 0);
    push_stored(&w, 17, 16);
    answer_fetch(&w, 12, 17, 17, 17);
    expect_seq(&c, 17);
    (void)inbox_drain(w.dispatcher, 64, world_keep, &w);
    for (unsigned i = 0; i < w.nops; i++)
        assert_int_not_equal(w.ops[i]->kind, OP_FETCH);
    close(c.fd);
    world_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_one_is_delivered_and_old_ones_are_not),
        cmocka_unit_test(a_gap_is_fetched),
        cmocka_unit_test(a_push_that_overtakes_the_attach_is_not_lost),
        cmocka_unit_test(the_window_leaves_the_rest_to_the_inbox),
        cmocka_unit_test(acks_are_clamped_and_end_in_the_detach),
        cmocka_unit_test(failed_acks_are_written_again),
        cmocka_unit_test(a_dropped_range_is_told_as_a_gap),
        cmocka_unit_test(live_only_messages_do_not_overtake_a_fetch),
        cmocka_unit_test(the_store_away_only_delays),
        cmocka_unit_test(the_newer_connection_of_a_device_wins),
        cmocka_unit_test(behind_makes_it_fetch),
        cmocka_unit_test(what_the_store_has_lost_is_asked_for_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
