/*
 * test_store_behaviour.c - what both back-ends promise, by one suite run over each.
 */
#include "store/store_bench.h"

#include "store/memory_store.h"
#include "store/redis_proc.h"

static struct redis_proc server;
static const char *backend_url; /* NULL: embedded */
static unsigned serial;         /* a prefix of its own for each test */

static int setup(void **state)
{
    struct bench *b = malloc(sizeof(*b));
    char prefix[32];
    snprintf(prefix, sizeof(prefix), "t%u:", serial++);
    bench_init(b, backend_url, prefix, "node-1.abc");
    b->cfg.inbox_cap = 10;
    bench_open(b);
    BENCH_WAIT(b, b->ready);
    assert_true(b->state);
    assert_true(b->store->ops->ready(b->store));
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    bench_close(*state);
    free(*state);
    return 0;
}

/* ---- to nobody, to somebody ---- */

static void offline_messages_come_in_order_on_attach(void **state)
{
    struct bench *b = *state;
    uint64_t seq[3];
    char p[32];
    for (unsigned i = 0; i < 3; i++) {
        snprintf(p, sizeof(p), "{\"data\":%u}", i);
        struct op_target *t = bench_push(b, TARGET_USER, "alice", p, NULL, UINT32_MAX);
        assert_int_equal(t->status, OP_OK);
        assert_int_equal(t->online, 0);
        seq[i] = t->seq;
        assert_true(i == 0 || seq[i] > seq[i - 1]);
    }
    struct op_attach *a = bench_attach(b, "alice", "phone");
    assert_int_equal(a->cursor, 0);
    assert_int_equal(a->pending, 3);
    assert_int_equal(a->page.njobs, 3);
    assert_int_equal(a->page.top, seq[2]);
    assert_int_equal(a->page.gap, 0);
    assert_false(a->page.more);
    for (unsigned i = 0; i < 3; i++) {
        const struct job_head *h = &a->page.jobs[i]->head;
        assert_int_equal(h->seq, seq[i]);
        assert_int_equal(h->prev, i ? seq[i - 1] : 0);
        assert_int_equal(h->kind, TARGET_USER);
        assert_true(span_says(h->target, "alice"));
        assert_int_equal(h->format, DATA_JSON);
        assert_int_equal(h->data.n, 1);
        assert_int_equal(h->data.p[0], '0' + i);
        assert_int_equal(h->ts_ms, seq[i] / 1000);
        assert_true(h->expires_s > seq[i] / 1000000);
        assert_true(h->id.n > 10);
    }
    assert_int_equal(b->njobs, 0);
}

static void an_attached_user_gets_it_at_once_and_keeps_it(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "bob", "d1");
    struct op_target *t =
        bench_push(b, TARGET_USER, "bob", "{\"data\":\"x\",\"event\":\"e\",\"from\":\"eve\"}", NULL, UINT32_MAX);
    assert_int_equal(t->online, 1);
    BENCH_WAIT(b, b->njobs == 1);
    const struct job_head *h = &b->jobs[0]->head;
    assert_int_equal(h->seq, t->seq);
    assert_int_equal(h->prev, 0);
    assert_true(span_says(h->event, "e"));
    assert_true(span_says(h->from, "eve"));
    assert_true(b->jobs[0]->born_us > 0);
    assert_int_equal(bench_fetch(b, "bob", 0)->njobs, 1);
    assert_int_equal(bench_fetch(b, "bob", t->seq)->njobs, 0);
}

static void a_stored_message_is_called_the_same_live_and_fetched(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "bob", "d1");
    bench_push(b, TARGET_USER, "bob", "hello", NULL, UINT32_MAX);
    BENCH_WAIT(b, b->njobs == 1);
    struct op_page *page = bench_fetch(b, "bob", 0);
    assert_int_equal(page->njobs, 1);
    assert_true(span_eq(page->jobs[0]->head.id, b->jobs[0]->head.id));
    assert_int_equal(page->jobs[0]->head.format, DATA_TEXT);
    assert_true(span_says(page->jobs[0]->head.data, "hello"));
}

static void many_targets_each_get_their_own(void **state)
{
    struct bench *b = *state;
    enum { N = 40 };
    struct op *op = push_op(TARGET_USER, "u0", "{\"data\":1}", "same", UINT32_MAX);
    free(op->push.targets[0].name);
    op->push.targets = realloc(op->push.targets, N * sizeof(struct op_target));
    memset(op->push.targets, 0, N * sizeof(struct op_target));
    op->push.ntargets = N;
    char name[16];
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "many%u", i);
        op->push.targets[i] = (struct op_target){.kind = TARGET_USER, .name = text(name)};
    }
    bench_run(b, op);
    assert_int_equal(op->status, OP_OK);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(op->push.targets[i].status, OP_OK);
        assert_true(op->push.targets[i].seq > 0);
        assert_false(op->push.targets[i].duplicate);
        assert_int_equal(bench_fetch(b, op->push.targets[i].name, 0)->njobs, 1);
    }
}

static void a_detached_user_gets_nothing_live(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "bob", "d1");
    bench_attach(b, "bob", "d2");
    bench_detach(b, "bob", "d1", false, 0);
    assert_int_equal(bench_push(b, TARGET_USER, "bob", "1", NULL, UINT32_MAX)->online, 1);
    BENCH_WAIT(b, b->njobs == 1);
    bench_detach(b, "bob", "d2", true, 0);
    assert_int_equal(bench_push(b, TARGET_USER, "bob", "2", NULL, UINT32_MAX)->online, 0);
    bench_push(b, TARGET_ALL, NULL, "3", NULL, UINT32_MAX);
    BENCH_WAIT(b, b->njobs >= 2);
    assert_int_equal(b->jobs[1]->head.kind, TARGET_ALL);
}

/* ---- live only ---- */

static void ttl_0_is_neither_stored_nor_counted(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "bob", "d1");
    struct op_target *first = bench_push(b, TARGET_USER, "bob", "\"kept\"", NULL, UINT32_MAX);
    assert_int_equal(bench_push(b, TARGET_USER, "bob", "\"live\"", NULL, 0)->seq, 0);
    assert_int_equal(bench_push(b, TARGET_USER, "bob", "{\"data\":\"live\",\"ttl\":0}", NULL, UINT32_MAX)->seq, 0);
    bench_push(b, TARGET_USER, "bob", "\"kept too\"", NULL, UINT32_MAX);
    BENCH_WAIT(b, b->njobs == 4);
    assert_int_equal(b->jobs[1]->head.seq, 0);
    assert_int_equal(b->jobs[2]->head.seq, 0);
    assert_false(span_eq(b->jobs[1]->head.id, b->jobs[2]->head.id));
    assert_int_equal(b->jobs[3]->head.prev, first->seq);
    assert_int_equal(bench_fetch(b, "bob", 0)->njobs, 2);
}

static void arguments_win_over_members(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "bob", "d1");
    assert_true(bench_push(b, TARGET_USER, "bob", "{\"data\":1,\"ttl\":0,\"id\":\"mine\"}", "yours", 60)->seq > 0);
    BENCH_WAIT(b, b->njobs == 1);
    assert_true(span_says(b->jobs[0]->head.id, "yours"));
    struct op_page *page = bench_fetch(b, "bob", 0);
    assert_int_equal(page->njobs, 1);
    assert_true(span_says(page->jobs[0]->head.id, "yours"));
    assert_true(bench_push(b, TARGET_USER, "bob", "2", "yours", 60)->duplicate);
    assert_false(bench_push(b, TARGET_USER, "bob", "2", "mine", 60)->duplicate);
}

/* ---- once ---- */

static void an_id_is_stored_once_for_each_user(void **state)
{
    struct bench *b = *state;
    struct op_target *one = bench_push(b, TARGET_USER, "alice", "1", "id-1", UINT32_MAX);
    struct op_target *two = bench_push(b, TARGET_USER, "alice", "1", "id-1", UINT32_MAX);
    struct op_target *other = bench_push(b, TARGET_USER, "bob", "1", "id-1", UINT32_MAX);
    struct op_target *inside = bench_push(b, TARGET_USER, "alice", "{\"data\":1,\"id\":\"id-1\"}", NULL, UINT32_MAX);
    assert_false(one->duplicate);
    assert_true(two->duplicate);
    assert_int_equal(two->seq, one->seq);
    assert_false(other->duplicate);
    assert_false(inside->duplicate); /* the op's id alone counts: P's may be one that the API made up */
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 2);
    assert_int_equal(bench_fetch(b, "bob", 0)->njobs, 1);
}

/* ---- cursors ---- */

static void acks_move_the_cursor_and_trim(void **state)
{
    struct bench *b = *state;
    uint64_t seq[4];
    bench_attach(b, "alice", "phone");
    bench_attach(b, "alice", "desk");
    for (unsigned i = 0; i < 4; i++)
        seq[i] = bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->seq;
    bench_ack(b, "alice", "phone", seq[2]);
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 4); /* desk holds them */
    bench_ack(b, "alice", "desk", seq[1]);
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 2);
    bench_ack(b, "alice", "desk", seq[0]); /* never back */
    bench_detach(b, "alice", "phone", false, seq[3]);
    bench_detach(b, "alice", "desk", true, 0);
    struct op_attach *a = bench_attach(b, "alice", "desk");
    assert_int_equal(a->cursor, seq[1]);
    assert_int_equal(a->page.njobs, 2);
    a = bench_attach(b, "alice", "phone");
    assert_int_equal(a->cursor, seq[3]);
    assert_int_equal(a->page.njobs, 0);
    bench_ack(b, "alice", "desk", seq[3] + 1000000); /* clamped to what was given out */
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 0);
    assert_int_equal(bench_attach(b, "alice", "desk")->cursor, seq[3]);
}

static void a_new_device_starts_where_the_quickest_is(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "phone");
    uint64_t one = bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->seq;
    uint64_t two = bench_push(b, TARGET_USER, "alice", "2", NULL, UINT32_MAX)->seq;
    bench_ack(b, "alice", "phone", one);
    struct op_attach *a = bench_attach(b, "alice", "tablet");
    assert_int_equal(a->cursor, one);
    assert_int_equal(a->page.njobs, 1);
    assert_int_equal(a->page.jobs[0]->head.seq, two);
}

static void what_the_client_brings_wins_within_bounds(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "hold");
    bench_attach(b, "alice", "phone");
    uint64_t seq[3];
    for (unsigned i = 0; i < 3; i++)
        seq[i] = bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->seq;
    bench_ack(b, "alice", "phone", seq[2]);
    struct op *op = bench_run(b, attach_op("alice", "phone", true, true, seq[0]));
    assert_int_equal(op->attach.cursor, seq[0]); /* back, and still there */
    assert_int_equal(op->attach.page.njobs, 2);
    assert_int_equal(op->attach.page.gap, 0);
    op = bench_run(b, attach_op("alice", "phone", true, true, seq[2] + 5000000));
    assert_int_equal(op->attach.cursor, seq[2]); /* clamped */
    bench_ack(b, "alice", "hold", seq[1]);
    op = bench_run(b, attach_op("alice", "phone", true, true, 0));
    assert_int_equal(op->attach.cursor, 0);
    assert_int_equal(op->attach.page.gap, seq[1]); /* trimmed: told of the gap */
    assert_int_equal(op->attach.page.njobs, 1);
}

static void what_the_client_brings_is_an_ack(void **state)
{
    struct bench *b = *state;
    uint64_t seq[3];
    bench_attach(b, "alice", "phone");
    bench_attach(b, "alice", "desk");
    for (unsigned i = 0; i < 3; i++)
        seq[i] = bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->seq;
    bench_run(b, attach_op("alice", "phone", true, true, seq[2]));
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 3); /* desk holds them */
    bench_run(b, attach_op("alice", "desk", true, true, seq[1]));
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 1);
    bench_run(b, attach_op("alice", "desk", true, true, seq[2]));
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 0);
    assert_int_equal(bench_attach(b, "alice", "new")->cursor, seq[2]);
}

static void a_guest_holds_nothing_for_long(void **state)
{
    struct bench *b = *state;
    b->cfg.guest_session_s = 1;
    bench_attach(b, "alice", "phone");
    bench_run(b, attach_op("alice", "~guest", false, false, 0));
    struct op *bye = op_new(OP_DETACH);
    uint64_t seq = bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->seq;
    bye->detach.user = text("alice");
    bye->detach.device = text("~guest");
    bench_run(b, bye);
    bench_ack(b, "alice", "phone", seq);
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 1);
    uint64_t left_s = clock_real_us() / 1000000;
    BENCH_WAIT(b, clock_real_us() / 1000000 > left_s + 2);
    bench_ack(b, "alice", "phone", seq);
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 0);
}

static void the_seventeenth_device_takes_the_oldest_place(void **state)
{
    struct bench *b = *state;
    char name[16];
    bench_attach(b, "alice", "hold");
    uint64_t one = bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->seq;
    bench_detach(b, "alice", "hold", true, 0);
    for (unsigned i = 0; i < 16; i++) { /* hold's cursor is the one that goes: it is the only one not attached */
        snprintf(name, sizeof(name), "d%u", i);
        bench_attach(b, "alice", name);
        bench_ack(b, "alice", name, one);
    }
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 0);
}

/* ---- bounds ---- */

static void the_cap_drops_the_oldest_and_says_so(void **state)
{
    struct bench *b = *state;
    uint64_t seq[13];
    for (unsigned i = 0; i < 13; i++)
        seq[i] = bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->seq;
    struct op_attach *a = bench_attach(b, "alice", "phone");
    assert_int_equal(a->page.njobs, 10);
    assert_int_equal(a->page.gap, seq[2]);
    assert_int_equal(a->page.jobs[0]->head.seq, seq[3]);
    assert_int_equal(a->page.jobs[0]->head.prev, seq[2]);
    assert_int_equal(bench_fetch(b, "alice", seq[5])->gap, seq[2]);
}

static void pages_end_and_go_on(void **state)
{
    struct bench *b = *state;
    char *big = malloc(30000 + 3);
    memset(big, 'x', 30000 + 2);
    big[0] = big[30001] = '"';
    big[30002] = '\0';
    for (unsigned i = 0; i < 5; i++)
        bench_push(b, TARGET_USER, "alice", big, NULL, UINT32_MAX);
    struct op_attach *a = bench_attach(b, "alice", "phone");
    assert_int_equal(a->page.njobs, 2); /* about 64 KiB a page */
    assert_true(a->page.more);
    assert_int_equal(a->pending, 5);
    struct op_page *page = bench_fetch(b, "alice", a->page.jobs[1]->head.seq);
    assert_int_equal(page->njobs, 2);
    assert_true(page->more);
    page = bench_fetch(b, "alice", page->jobs[1]->head.seq);
    assert_int_equal(page->njobs, 1);
    assert_false(page->more);
    free(big);
}

static void a_message_ends_with_its_ttl(void **state)
{
    struct bench *b = *state;
    bench_push(b, TARGET_USER, "alice", "\"short\"", NULL, 1);
    uint64_t longer = bench_push(b, TARGET_USER, "alice", "\"long\"", NULL, 100)->seq;
    uint64_t sent_s = clock_real_us() / 1000000;
    BENCH_WAIT(b, clock_real_us() / 1000000 > sent_s + 1);
    struct op_attach *a = bench_attach(b, "alice", "phone");
    assert_int_equal(a->page.njobs, 1);
    assert_int_equal(a->page.jobs[0]->head.seq, longer);
    assert_int_equal(a->page.gap, 0);
}

/* ---- rooms and everybody ---- */

static void a_room_delivers_from_its_confirmation_on(void **state)
{
    struct bench *b = *state;
    struct op *op = op_new(OP_INTEREST);
    op->interest.room = text("news");
    op->interest.on = true;
    b->store->ops->subscribe(b->store, SPAN_LIT("news"), op);
    BENCH_WAIT(b, b->ndone == 1);
    assert_int_equal(op->status, OP_OK);
    struct op_target *t = bench_push(b, TARGET_ROOM, "news", "{\"data\":[1]}", NULL, UINT32_MAX);
    assert_int_equal(t->online, 1);
    assert_int_equal(t->seq, 0);
    BENCH_WAIT(b, b->njobs == 1);
    assert_int_equal(b->jobs[0]->head.kind, TARGET_ROOM);
    assert_true(span_says(b->jobs[0]->head.target, "news"));
    struct op *again = op_new(OP_INTEREST); /* confirmed already: at once */
    again->interest.room = text("news");
    again->interest.on = true;
    b->store->ops->subscribe(b->store, SPAN_LIT("news"), again);
    BENCH_WAIT(b, b->ndone == 3);
    b->store->ops->unsubscribe(b->store, SPAN_LIT("news"));
    BENCH_WAIT(b, bench_push(b, TARGET_ROOM, "news", "1", NULL, UINT32_MAX)->online == 0);
}

static void all_reaches_all(void **state)
{
    struct bench *b = *state;
    struct op_target *t = bench_push(b, TARGET_ALL, NULL, "{\"data\":{\"a\":1},\"priority\":\"high\"}", NULL, 5);
    assert_int_equal(t->online, 1);
    BENCH_WAIT(b, b->njobs == 1);
    assert_int_equal(b->jobs[0]->head.kind, TARGET_ALL);
    assert_int_equal(b->jobs[0]->head.priority, PRIO_HIGH);
    assert_true(span_says(b->jobs[0]->head.data, "{\"a\":1}"));
}

/* ---- what is wrong ---- */

static void a_bad_push_is_refused_with_its_reason(void **state)
{
    struct bench *b = *state;
    struct op *op = bench_run(b, push_op(TARGET_USER, "alice", "{\"data\":1,\"ttl\":\"x\"}", NULL, UINT32_MAX));
    assert_int_equal(op->status, OP_REFUSED);
    assert_non_null(strstr(op->error, "ttl"));
    op = bench_run(b, push_op(TARGET_USER, "a\x01", "1", NULL, UINT32_MAX));
    assert_int_equal(op->status, OP_REFUSED);
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 0);
}

static void what_still_waits_ends_when_the_store_does(void **state)
{
    struct bench *b = *state;
    b->store->ops->submit(b->store, push_op(TARGET_USER, "alice", "1", NULL, UINT32_MAX));
    b->store->ops->submit(b->store, attach_op("alice", "d", true, false, 0));
    b->store->ops->submit(b->store, ack_op("alice", "d", 1));
    b->store->ops->free(b->store);
    assert_int_equal(b->ndone, 3);
    bench_forget(b);
    bench_open(b);
    BENCH_WAIT(b, b->ready);
}

static void leaving_takes_the_users_along(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "phone");
    b->store->ops->leave(b->store);
    BENCH_WAIT(b, b->store->ops->idle(b->store));
    if (!b->cfg.redis)
        return;
    redisReply *r = redisCommand(server.c, "HEXISTS %s{52}:m:alice n", b->cfg.prefix);
    assert_int_equal(r->integer, 0);
    freeReplyObject(r);
    r = redisCommand(server.c, "HLEN %s{c}:nodes", b->cfg.prefix);
    assert_int_equal(r->integer, 0);
    freeReplyObject(r);
    r = redisCommand(server.c, "HEXISTS %s{52}:m:alice d:phone", b->cfg.prefix);
    assert_int_equal(r->integer, 1);
    freeReplyObject(r);
}

/* ---- memory alone ---- */

static void memory_has_a_ceiling_and_gives_back(void **state)
{
    struct bench *b = *state;
    memory_store_set_ceiling(b->store, 2000);
    enum op_status status = OP_OK;
    unsigned n = 0;
    for (; n < 100 && status == OP_OK; n++)
        status = bench_push(b, TARGET_USER, "alice", "1", NULL, 1)->status;
    assert_int_equal(status, OP_FULL);
    assert_true(n > 2);
    assert_true(memory_store_sweeping(b->store));
    BENCH_WAIT(b, memory_store_users(b->store) == 0);
    assert_false(memory_store_sweeping(b->store)); /* nothing left: it sleeps */
    assert_int_equal(bench_push(b, TARGET_USER, "alice", "1", NULL, 1)->status, OP_OK);
}

#define BOTH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    log_setup(LOG_ERROR, false, "test");
    const struct CMUnitTest both[] = {
        BOTH(offline_messages_come_in_order_on_attach),
        BOTH(an_attached_user_gets_it_at_once_and_keeps_it),
        BOTH(a_stored_message_is_called_the_same_live_and_fetched),
        BOTH(many_targets_each_get_their_own),
        BOTH(a_detached_user_gets_nothing_live),
        BOTH(ttl_0_is_neither_stored_nor_counted),
        BOTH(arguments_win_over_members),
        BOTH(an_id_is_stored_once_for_each_user),
        BOTH(acks_move_the_cursor_and_trim),
        BOTH(a_new_device_starts_where_the_quickest_is),
        BOTH(what_the_client_brings_wins_within_bounds),
        BOTH(what_the_client_brings_is_an_ack),
        BOTH(a_guest_holds_nothing_for_long),
        BOTH(the_seventeenth_device_takes_the_oldest_place),
        BOTH(the_cap_drops_the_oldest_and_says_so),
        BOTH(pages_end_and_go_on),
        BOTH(a_message_ends_with_its_ttl),
        BOTH(a_room_delivers_from_its_confirmation_on),
        BOTH(all_reaches_all),
        BOTH(a_bad_push_is_refused_with_its_reason),
        BOTH(what_still_waits_ends_when_the_store_does),
        BOTH(leaving_takes_the_users_along),
    };
    const struct CMUnitTest memory[] = {BOTH(memory_has_a_ceiling_and_gives_back)};
    int bad = cmocka_run_group_tests_name("store behaviour, embedded", both, NULL, NULL);
    bad += cmocka_run_group_tests_name("store, embedded alone", memory, NULL, NULL);
    redis_proc_start(&server);
    backend_url = server.url;
    bad += cmocka_run_group_tests_name("store behaviour, redis", both, NULL, NULL);
    redis_proc_stop(&server);
    return bad;
}
