/*
 * test_rooms.c - rooms with history and presence: what both back-ends promise, by one suite run over each; then what
 * only several nodes and a mortal Redis can show.
 */
#include "store/store_bench.h"

#include "store/redis_proc.h"

static struct redis_proc server;
static const char *backend_url; /* NULL: embedded */
static unsigned serial;         /* a prefix of its own for each test */

static void open_bench(struct bench *b, const char *prefix, const char *node)
{
    char err[160];
    bench_init(b, backend_url, prefix, node);
    assert_true(config_set(&b->cfg, "room-history", "chat.*:5:1h", true, err, sizeof(err)));
    assert_true(config_set(&b->cfg, "room-history", "many*:500:1h", false, err, sizeof(err)));
    assert_true(config_set(&b->cfg, "room-history", "brief*:4:3s", false, err, sizeof(err)));
    assert_true(config_set(&b->cfg, "presence", "chat.*", true, err, sizeof(err)));
    bench_open(b);
    BENCH_WAIT(b, b->ready);
}

static int setup(void **state)
{
    struct bench *b = malloc(sizeof(*b));
    char prefix[32];
    snprintf(prefix, sizeof(prefix), "r%u:", serial++);
    open_bench(b, prefix, "node-1.abc");
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    bench_close(*state);
    free(*state);
    return 0;
}

/* ---- asking ---- */

static struct op *wait_done(struct bench *b, struct op *op)
{
    for (;;) {
        for (unsigned i = 0; i < b->ndone; i++) {
            if (b->done[i] == op)
                return op;
        }
        unsigned before = b->ndone;
        BENCH_WAIT(b, b->ndone > before);
    }
}

static uint64_t join(struct bench *b, const char *room)
{
    struct op *op = op_new(OP_INTEREST);
    op->interest.room = text(room);
    op->interest.on = true;
    b->store->ops->subscribe(b->store, span_str(room), op);
    wait_done(b, op);
    assert_int_equal(op->status, OP_OK);
    return op->interest.top;
}

static struct op_target *say(struct bench *b, const char *room, const char *payload)
{
    struct op_target *t = bench_push(b, TARGET_ROOM, room, payload, NULL, UINT32_MAX);
    assert_int_equal(t->status, OP_OK);
    return t;
}

static struct op_page *read_from(struct bench *b, const char *room, uint64_t from)
{
    struct op *op = op_new(OP_FETCH);
    op->fetch.user = text(room);
    op->fetch.room = true;
    op->fetch.from = from;
    bench_run(b, op);
    assert_int_equal(op->status, OP_OK);
    return &op->fetch.page;
}

/* Arguments as in store/room_query.h. The reply (JSON) lives until bench_forget. */
static struct op *ask(struct bench *b, enum query_kind kind, const char *a0, const char *a1, const char *a2,
                      const char *a3)
{
    struct op *op = op_new(OP_QUERY);
    op->query.kind = kind;
    op->query.args[0] = text(a0);
    op->query.args[1] = text(a1);
    op->query.args[2] = text(a2);
    op->query.args[3] = text(a3);
    return bench_run(b, op);
}

static bool replied(const struct op *op, const char *json)
{
    struct span got = span_of(op->query.reply, op->query.reply_len);
    if (op->status == OP_OK && span_eq(got, span_str(json)))
        return true;
    fprintf(stderr, "status %d, reply %.*s, not %s (%s)\n", (int)op->status, SPAN_ARG(got), json, op->error);
    return false;
}

static bool reply_has(const struct op *op, const char *part)
{
    return op->status == OP_OK && memmem(op->query.reply, op->query.reply_len, part, strlen(part)) != NULL;
}

static void presence(struct bench *b, const char *room, const char *user, bool on)
{
    struct op *op = op_new(OP_PRESENCE);
    op->presence.room = text(room);
    op->presence.user = text(user);
    op->presence.on = on;
    assert_int_equal(bench_run(b, op)->status, OP_OK);
}

static void watch(struct bench *b, const char *room)
{
    struct op *op = op_new(OP_WATCH);
    op->watch.room = text(room);
    op->watch.on = true;
    b->store->ops->watch(b->store, span_str(room), op);
    assert_int_equal(wait_done(b, op)->status, OP_OK);
}

static bool change_is(const struct bench *b, unsigned i, const char *user, bool join_)
{
    return i < b->nchanges && span_says(presence_user(b->changes[i]), user) && b->changes[i]->join == join_;
}

/* ---- history ---- */

static void a_room_with_history_keeps_what_was_said(void **state)
{
    struct bench *b = *state;
    assert_int_equal(join(b, "chat.1"), 0);
    uint64_t one = say(b, "chat.1", "{\"data\":1,\"from\":\"eve\"}")->seq;
    struct op_target *t = say(b, "chat.1", "two");
    assert_true(one > 0 && t->seq > one);
    assert_int_equal(t->online, 1);
    BENCH_WAIT(b, b->njobs == 2);
    const struct job_head *h = &b->jobs[1]->head;
    assert_int_equal(h->kind, TARGET_ROOM);
    assert_true(span_says(h->target, "chat.1"));
    assert_int_equal(h->seq, t->seq);
    assert_int_equal(h->prev, one);
    assert_true(h->expires_s > t->seq / 1000000 + 3500 && h->expires_s <= t->seq / 1000000 + 3601);
    struct op_page *page = read_from(b, "chat.1", 0);
    assert_int_equal(page->njobs, 2);
    assert_int_equal(page->top, t->seq);
    assert_true(span_says(page->jobs[0]->head.from, "eve"));
    assert_true(span_eq(page->jobs[1]->head.id, h->id)); /* called the same, live and fetched */
    assert_int_equal(read_from(b, "chat.1", one)->njobs, 1);
    assert_int_equal(join(b, "chat.1"), t->seq); /* once more: where it stands */
}

static void nobody_hears_what_is_kept_all_the_same(void **state)
{
    struct bench *b = *state;
    struct op_target *t = say(b, "chat.1", "1");
    assert_int_equal(t->online, 0);
    assert_true(t->seq > 0);
    assert_int_equal(join(b, "chat.1"), t->seq);
    b->store->ops->unsubscribe(b->store, SPAN_LIT("chat.1"));
    BENCH_WAIT(b, say(b, "chat.1", "2")->online == 0);
    join(b, "chat.1");
    unsigned before = b->njobs;
    assert_int_equal(say(b, "chat.1", "3")->online, 1);
    BENCH_WAIT(b, b->njobs > before);
    assert_true(span_says(b->jobs[before]->head.data, "3"));
}

static void other_rooms_keep_nothing(void **state)
{
    struct bench *b = *state;
    join(b, "news");
    assert_int_equal(say(b, "news", "1")->seq, 0);
    BENCH_WAIT(b, b->njobs == 1);
    assert_int_equal(b->jobs[0]->head.seq, 0);
    assert_int_equal(read_from(b, "news", 0)->njobs, 0);
}

static void the_length_drops_the_oldest_and_says_so(void **state)
{
    struct bench *b = *state;
    uint64_t seq[8];
    for (unsigned i = 0; i < 8; i++)
        seq[i] = say(b, "chat.1", "1")->seq;
    struct op_page *page = read_from(b, "chat.1", seq[0]);
    assert_int_equal(page->njobs, 5);
    assert_int_equal(page->gap, seq[2]);
    assert_int_equal(page->jobs[0]->head.seq, seq[3]);
    assert_int_equal(page->jobs[0]->head.prev, seq[2]);
}

static void a_message_lives_as_long_as_its_room_or_shorter(void **state)
{
    struct bench *b = *state;
    join(b, "chat.1");
    assert_int_equal(bench_push(b, TARGET_ROOM, "chat.1", "\"live\"", NULL, 0)->seq, 0);
    uint64_t now_s = clock_real_us() / 1000000;
    assert_true(bench_push(b, TARGET_ROOM, "chat.1", "{\"data\":1,\"ttl\":60}", NULL, UINT32_MAX)->seq > 0);
    assert_true(bench_push(b, TARGET_ROOM, "chat.1", "1", NULL, 1000000)->seq > 0);
    BENCH_WAIT(b, b->njobs == 3);
    assert_int_equal(b->jobs[0]->head.seq, 0);
    assert_int_equal(b->jobs[1]->head.prev, 0);
    assert_true(b->jobs[1]->head.expires_s <= now_s + 62);
    assert_true(b->jobs[2]->head.expires_s > now_s + 3500 && b->jobs[2]->head.expires_s < now_s + 3700);
    assert_int_equal(read_from(b, "chat.1", 0)->njobs, 2);
}

static uint64_t say_for(struct bench *b, const char *room, uint32_t ttl_s)
{
    struct op_target *t = bench_push(b, TARGET_ROOM, room, "1", NULL, ttl_s);
    assert_int_equal(t->status, OP_OK);
    return t->seq;
}

static void what_came_to_its_own_end_is_no_gap(void **state)
{
    struct bench *b = *state;
    uint64_t first = say_for(b, "chat.1", UINT32_MAX);
    for (unsigned i = 0; i < 3; i++)
        say_for(b, "chat.1", 1);
    uint64_t last = say_for(b, "chat.1", UINT32_MAX);
    BENCH_WAIT(b, read_from(b, "chat.1", first)->njobs == 1);
    const struct op_page *page = read_from(b, "chat.1", first);
    assert_int_equal(page->jobs[0]->head.seq, last);
    assert_true(page->jobs[0]->head.prev > first);
    assert_true(page->gap <= first);
    say(b, "chat.1", "1"); /* and none when the length drops it afterwards */
    say(b, "chat.1", "1");
    say(b, "chat.1", "1");
    assert_true(read_from(b, "chat.1", first)->gap <= first);
}

static void what_lived_as_long_as_the_room_keeps_any_is_a_gap(void **state)
{
    struct bench *b = *state;
    uint64_t first = say(b, "brief", "1")->seq;
    uint64_t second = say(b, "brief", "1")->seq;
    uint64_t brief = say_for(b, "brief", 1);
    BENCH_WAIT(b, read_from(b, "brief", first)->njobs == 1);
    assert_true(read_from(b, "brief", first)->gap <= first);
    BENCH_WAIT(b, read_from(b, "brief", first)->njobs == 0);
    const struct op_page *page = read_from(b, "brief", first);
    assert_int_equal(page->gap, second);
    assert_int_equal(page->top, brief);
    assert_true(read_from(b, "brief", second)->gap <= second);
    uint64_t more = say(b, "brief", "1")->seq;
    page = read_from(b, "brief", first);
    assert_int_equal(page->gap, second);
    assert_int_equal(page->njobs, 1);
    assert_int_equal(page->jobs[0]->head.seq, more);
}

static void an_id_counts_once_for_a_room(void **state)
{
    struct bench *b = *state;
    struct op_target *one = bench_push(b, TARGET_ROOM, "chat.1", "1", "id-1", UINT32_MAX);
    struct op_target *two = bench_push(b, TARGET_ROOM, "chat.1", "1", "id-1", UINT32_MAX);
    struct op_target *user = bench_push(b, TARGET_USER, "chat.1", "1", "id-1", UINT32_MAX);
    assert_false(one->duplicate);
    assert_true(two->duplicate);
    assert_int_equal(two->seq, one->seq);
    assert_false(user->duplicate);
    assert_int_equal(read_from(b, "chat.1", 0)->njobs, 1);
    assert_true(span_says(read_from(b, "chat.1", 0)->jobs[0]->head.id, "id-1"));
}

/* ---- questions ---- */

static void history_is_read_from_its_end(void **state)
{
    struct bench *b = *state;
    uint64_t seq[5];
    char want[64], arg[24];
    for (unsigned i = 0; i < 5; i++) {
        snprintf(want, sizeof(want), "{\"data\":\"m%u\"}", i);
        seq[i] = say(b, "chat.1", want)->seq;
    }
    struct op *op = ask(b, QUERY_ROOM_HISTORY, "chat.1", NULL, NULL, "2");
    assert_true(reply_has(op, "\"data\":\"m3\"") && reply_has(op, "\"data\":\"m4\"") && !reply_has(op, "\"m2\""));
    snprintf(want, sizeof(want), "],\"more\":true,\"next\":%llu}", (unsigned long long)seq[3]);
    assert_true(reply_has(op, want));
    snprintf(arg, sizeof(arg), "%llu", (unsigned long long)seq[3]);
    op = ask(b, QUERY_ROOM_HISTORY, "chat.1", arg, NULL, "10");
    assert_true(reply_has(op, "\"m0\"") && reply_has(op, "\"m2\"") && !reply_has(op, "\"m3\""));
    assert_true(reply_has(op, "\"more\":false}"));
    snprintf(arg, sizeof(arg), "%llu", (unsigned long long)seq[1]);
    op = ask(b, QUERY_ROOM_HISTORY, "chat.1", NULL, arg, "2");
    assert_true(reply_has(op, "\"m2\"") && reply_has(op, "\"m3\"") && !reply_has(op, "\"m1\"") &&
                !reply_has(op, "\"m4\""));
    op = ask(b, QUERY_ROOM_HISTORY, "chat.none", NULL, NULL, NULL);
    assert_true(replied(op, "{\"room\":\"chat.none\",\"seq\":0,\"messages\":[],\"more\":false}"));
}

static void long_histories_come_in_pages(void **state)
{
    struct bench *b = *state;
    char p[24], before[24] = "";
    for (unsigned i = 0; i < 130; i++) {
        snprintf(p, sizeof(p), "{\"data\":%u}", i);
        say(b, "many", p);
    }
    unsigned pages = 0;
    for (; pages < 10; pages++) {
        struct op *op = ask(b, QUERY_ROOM_HISTORY, "many", pages ? before : NULL, NULL, "60");
        assert_int_equal(op->status, OP_OK);
        char *next = memmem(op->query.reply, op->query.reply_len, "\"next\":", 7);
        if (!next)
            break;
        snprintf(before, sizeof(before), "%.16s", next + 7);
    }
    assert_int_equal(pages, 2);
}

static void questions_that_make_no_sense_are_refused(void **state)
{
    struct bench *b = *state;
    const struct {
        enum query_kind kind;
        const char *args[4];
        bool absent;
    } bad[] = {{QUERY_ROOM_HISTORY, {"news"}, true},
               {QUERY_ROOM_PRESENCE, {"news"}, true},
               {QUERY_ROOM_HISTORY, {"chat.1", "x"}, false},
               {QUERY_ROOM_HISTORY, {"chat.1", "1", "2"}, false},
               {QUERY_ROOM_HISTORY, {"chat.1", NULL, NULL, "0"}, false},
               {QUERY_ROOM_HISTORY, {"chat.1", "99999999999999999999"}, false},
               {QUERY_ROOM_PRESENCE, {"chat.1", NULL, "-1"}, false},
               {QUERY_ROOM, {"a\nb"}, false},
               {QUERY_ROOMS, {NULL, ""}, false}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *const *a = bad[i].args;
        struct op *op = ask(b, bad[i].kind, a[0], a[1], a[2], a[3]);
        assert_int_equal(op->status, OP_REFUSED);
        assert_int_equal(op->query.absent, bad[i].absent);
        assert_true(op->error[0] != '\0');
    }
}

static void rooms_are_listed_and_known(void **state)
{
    struct bench *b = *state;
    join(b, "news");
    join(b, "chat.empty");
    say(b, "chat.left", "1");
    assert_true(
        replied(ask(b, QUERY_ROOMS, NULL, NULL, NULL, NULL), "{\"rooms\":[\"chat.empty\",\"chat.left\",\"news\"]}"));
    assert_true(replied(ask(b, QUERY_ROOMS, NULL, "2", NULL, NULL),
                        "{\"rooms\":[\"chat.empty\",\"chat.left\"],\"next\":\"chat.left\"}"));
    assert_true(replied(ask(b, QUERY_ROOMS, "chat.left", "2", NULL, NULL), "{\"rooms\":[\"news\"]}"));
    assert_true(replied(ask(b, QUERY_ROOM, "news", NULL, NULL, NULL), "{\"room\":\"news\",\"nodes\":1}"));
    assert_true(replied(ask(b, QUERY_ROOM, "chat.empty", NULL, NULL, NULL),
                        "{\"room\":\"chat.empty\",\"nodes\":1,\"presence\":0,\"history\":{\"length\":5,\"ttl\":3600,"
                        "\"messages\":0,\"seq\":0}}"));
    assert_true(reply_has(ask(b, QUERY_ROOM, "chat.left", NULL, NULL, NULL), "\"nodes\":0"));
    assert_true(reply_has(ask(b, QUERY_ROOM, "chat.left", NULL, NULL, NULL), "\"messages\":1"));
    b->store->ops->unsubscribe(b->store, SPAN_LIT("chat.empty"));
    BENCH_WAIT(
        b, replied(ask(b, QUERY_ROOMS, NULL, "1", NULL, NULL), "{\"rooms\":[\"chat.left\"],\"next\":\"chat.left\"}"));
}

/* ---- presence ---- */

static void who_comes_and_goes_is_told_once(void **state)
{
    struct bench *b = *state;
    join(b, "chat.1");
    presence(b, "chat.1", "alice", true);
    watch(b, "chat.1");
    assert_int_equal(b->nchanges, 0); /* she was there before */
    presence(b, "chat.1", "bob", true);
    presence(b, "chat.1", "bob", true);
    presence(b, "chat.1", "alice", false);
    BENCH_WAIT(b, b->nchanges == 2);
    assert_true(change_is(b, 0, "bob", true));
    assert_true(change_is(b, 1, "alice", false));
    assert_true(span_says(presence_room(b->changes[0]), "chat.1"));
    assert_true(b->changes[1]->seq > b->changes[0]->seq);
    presence(b, "chat.1", "nobody", false);
    presence(b, "chat.2", "bob", true); /* nobody watches there */
    presence(b, "chat.1", "carol", true);
    BENCH_WAIT(b, b->nchanges == 3);
    assert_true(change_is(b, 2, "carol", true));
    b->store->ops->unwatch(b->store, SPAN_LIT("chat.1"));
    presence(b, "chat.1", "dave", true);
    watch(b, "chat.1");
    presence(b, "chat.1", "erin", true);
    BENCH_WAIT(b, b->nchanges == 4);
    assert_true(change_is(b, 3, "erin", true));
}

static void presence_is_listed_in_pages(void **state)
{
    struct bench *b = *state;
    const char *names[] = {"bob", "alice", "b", "zoe", "bob2"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        presence(b, "chat.1", names[i], true);
    BENCH_WAIT(b, reply_has(ask(b, QUERY_ROOM_PRESENCE, "chat.1", NULL, NULL, NULL), "\"count\":5,"));
    struct op *op = ask(b, QUERY_ROOM_PRESENCE, "chat.1", NULL, NULL, NULL);
    assert_true(reply_has(op, "\"users\":[\"alice\",\"b\",\"bob\",\"bob2\",\"zoe\"]}"));
    op = ask(b, QUERY_ROOM_PRESENCE, "chat.1", NULL, "2", NULL);
    assert_true(reply_has(op, "\"users\":[\"alice\",\"b\"],\"next\":\"b\"}"));
    op = ask(b, QUERY_ROOM_PRESENCE, "chat.1", "b", "2", NULL);
    assert_true(reply_has(op, "\"users\":[\"bob\",\"bob2\"],\"next\":\"bob2\"}"));
    op = ask(b, QUERY_ROOM_PRESENCE, "chat.1", "bob2", "2", NULL);
    assert_true(reply_has(op, "\"users\":[\"zoe\"]}"));
    presence(b, "chat.1", "b", false);
    BENCH_WAIT(b, reply_has(ask(b, QUERY_ROOM_PRESENCE, "chat.1", NULL, NULL, NULL), "\"count\":4,"));
    assert_true(reply_has(ask(b, QUERY_ROOM, "chat.1", NULL, NULL, NULL), "\"presence\":4"));
}

static void what_waits_for_presence_ends_with_the_store(void **state)
{
    struct bench *b = *state;
    struct bench other;
    open_bench(&other, b->cfg.prefix, "node-9.xyz");
    struct op *op = op_new(OP_WATCH);
    op->watch.room = text("chat.9");
    op->watch.on = true;
    other.store->ops->watch(other.store, SPAN_LIT("chat.9"), op);
    other.store->ops->submit(other.store, push_op(TARGET_ROOM, "chat.9", "1", NULL, 60));
    bench_close(&other); /* leaks nothing, and every op has come back */
    assert_non_null(b);
}

/* ---- several nodes ---- */

static void turn(struct bench *b)
{
    event_base_loop(b->base, EVLOOP_NONBLOCK);
}

#define WAIT2(b, c, cond) BENCH_WAIT(b, (turn(c), (cond)))

/* Blocks on one of two nodes while the other goes on turning. */
static uint64_t join2(struct bench *b, struct bench *c, const char *room)
{
    struct op *op = op_new(OP_INTEREST);
    unsigned before = b->ndone;
    op->interest.room = text(room);
    op->interest.on = true;
    b->store->ops->subscribe(b->store, span_str(room), op);
    WAIT2(b, c, b->ndone > before);
    return op->interest.top;
}

static struct bench *second(struct bench *b, const char *node)
{
    struct bench *c = malloc(sizeof(*c));
    open_bench(c, b->cfg.prefix, node);
    return c;
}

static redisReply *cmd(const char *fmt, ...)
{
    static redisReply *last;
    va_list args;
    if (last)
        freeReplyObject(last);
    va_start(args, fmt);
    last = fmt ? redisvCommand(server.c, fmt, args) : NULL;
    va_end(args);
    return last;
}

static void every_node_has_the_same_order(void **state)
{
    struct bench *b = *state, *c = second(b, "node-2.def");
    join(b, "chat.1");
    join2(c, b, "chat.1");
    for (unsigned i = 0; i < 10; i++) {
        struct bench *from = i % 2 ? b : c;
        from->store->ops->submit(from->store, push_op(TARGET_ROOM, "chat.1", "1", NULL, UINT32_MAX));
    }
    WAIT2(b, c, b->njobs == 10 && c->njobs == 10);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(b->jobs[i]->head.seq, c->jobs[i]->head.seq);
        assert_int_equal(b->jobs[i]->head.prev, i ? b->jobs[i - 1]->head.seq : 0);
    }
    bench_close(c);
    free(c);
}

static void a_bare_publish_to_a_room_is_stored_by_one_node(void **state)
{
    struct bench *b = *state, *c = second(b, "node-2.def");
    join(b, "chat.1");
    join2(c, b, "chat.1");
    join2(c, b, "news");
    WAIT2(b, c, metric_get(&b->metrics, M_NODES) == 2 && metric_get(&c->metrics, M_NODES) == 2);
    cmd("PUBLISH %sroom:news once", b->cfg.prefix);
    WAIT2(b, c, c->njobs == 1);
    assert_true(span_says(c->jobs[0]->head.target, "news"));
    for (unsigned i = 0; i < 5; i++)
        cmd("PUBLISH %sroom:chat.1 {\"data\":%u}", b->cfg.prefix, i);
    WAIT2(b, c, b->njobs == 5 && c->njobs == 6);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(b->jobs[i]->head.seq, c->jobs[i + 1]->head.seq);
        assert_true(b->jobs[i]->head.seq > 0);
        assert_int_equal(b->jobs[i]->head.data.p[0], '0' + i);
    }
    assert_int_equal(metric_get(&b->metrics, M_STORED) + metric_get(&c->metrics, M_STORED), 5);
    bench_close(c);
    free(c);
}

static void a_user_on_two_nodes_comes_once_and_leaves_once(void **state)
{
    struct bench *b = *state, *c = second(b, "node-2.def");
    join(b, "chat.1");
    watch(b, "chat.1");
    presence(c, "chat.1", "alice", true);
    WAIT2(b, c, b->nchanges == 1);
    presence(b, "chat.1", "alice", true);
    presence(b, "chat.1", "bob", true);
    WAIT2(b, c, b->nchanges == 2);
    assert_true(change_is(b, 0, "alice", true));
    assert_true(change_is(b, 1, "bob", true));
    presence(c, "chat.1", "alice", false);
    presence(c, "chat.1", "carol", true);
    WAIT2(b, c, b->nchanges == 3);
    assert_true(change_is(b, 2, "carol", true)); /* alice is still here */
    presence(b, "chat.1", "alice", false);
    WAIT2(b, c, b->nchanges == 4);
    assert_true(change_is(b, 3, "alice", false));
    c->store->ops->leave(c->store); /* takes carol along */
    WAIT2(b, c, b->nchanges == 5);
    assert_true(change_is(b, 4, "carol", false));
    bench_close(c);
    free(c);
}

/* Cuts the subscription of the only node. */
static void cut_subscription(void)
{
    cmd("CLIENT KILL TYPE pubsub");
}

static void a_cut_subscription_tells_which_rooms_are_behind_and_who_came(void **state)
{
    struct bench *b = *state;
    join(b, "chat.1");
    watch(b, "chat.1");
    presence(b, "chat.1", "alice", true);
    BENCH_WAIT(b, b->nchanges == 1);
    cut_subscription();
    uint64_t seq = say(b, "chat.1", "1")->seq; /* perhaps through the hole, perhaps before it is noticed */
    BENCH_WAIT(b, b->njobs == 1 || b->nroom_behind == 1);
    if (b->nroom_behind) {
        assert_string_equal(b->room_behind, "chat.1");
        assert_int_equal(b->room_behind_seq, seq);
    }
    BENCH_WAIT(b, b->ready);
    presence(b, "chat.1", "bob", true);
    BENCH_WAIT(b, b->nchanges == 2);
    assert_true(change_is(b, 1, "bob", true));
}

static void a_forgetful_redis_is_told_again_and_nobody_leaves(void **state)
{
    struct bench *b = *state;
    join(b, "chat.1");
    watch(b, "chat.1");
    presence(b, "chat.1", "alice", true);
    presence(b, "chat.1", "bob", true);
    BENCH_WAIT(b, b->nchanges == 2);
    uint64_t seq = say(b, "chat.1", "1")->seq;
    BENCH_WAIT(b, b->njobs == 1);
    redis_proc_kill(&server);
    BENCH_WAIT(b, !b->ready);
    presence(b, "chat.1", "bob", false); /* while it is away */
    presence(b, "chat.1", "carol", true);
    redis_proc_run(&server); /* it has forgotten everything */
    BENCH_WAIT(b, b->ready);
    uint64_t later = say(b, "chat.1", "2")->seq;
    assert_true(later > seq);
    BENCH_WAIT(b, b->njobs == 2);
    assert_int_equal(b->jobs[1]->head.seq, later);
    BENCH_WAIT(b, b->nchanges == 4); /* bob's leave is known when others had time to come back too */
    assert_true(change_is(b, 2, "carol", true));
    assert_true(change_is(b, 3, "bob", false));
    assert_true(reply_has(ask(b, QUERY_ROOM_PRESENCE, "chat.1", NULL, NULL, NULL), "[\"alice\",\"carol\"]"));
}

/* Redis comes back as it was before somebody left: the node takes back what it no longer stands for. */
static void a_leave_that_redis_has_forgotten_is_written_again(void **state)
{
    struct bench *b = *state;
    join(b, "chat.1");
    watch(b, "chat.1");
    presence(b, "chat.1", "alice", true);
    BENCH_WAIT(b, b->nchanges == 1);
    redisReply *r = cmd("KEYS %s*:p:chat.1", b->cfg.prefix);
    char part[128];
    snprintf(part, sizeof(part), "%.*s", (int)strlen(r->element[0]->str) - 8, r->element[0]->str);
    redis_proc_kill(&server);
    BENCH_WAIT(b, !b->ready);
    redis_proc_run(&server); /* empty */
    char member[96];
    snprintf(member, sizeof(member), "ghost\n%s", b->node);
    cmd("ZADD %sp:chat.1 0 %s", part, member);
    cmd("SADD %sP:%s %s", part, b->node, "chat.1\nghost");
    BENCH_WAIT(b, b->ready);
    BENCH_WAIT(b, cmd("ZSCORE %sp:chat.1 %s", part, member)->type == REDIS_REPLY_NIL);
    assert_int_equal(cmd("SISMEMBER %sP:%s %s", part, b->node, "chat.1\nghost")->integer, 0);
    assert_true(reply_has(ask(b, QUERY_ROOM_PRESENCE, "chat.1", NULL, NULL, NULL), "[\"alice\"]"));
}

static uint64_t big_endian(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static void a_missed_change_is_found(void **state)
{
    struct bench *b = *state;
    join(b, "chat.1");
    watch(b, "chat.1");
    presence(b, "chat.1", "alice", true);
    BENCH_WAIT(b, b->nchanges == 1);
    /* Two changes by another node, the first of which is lost on the way: it is told to a channel nobody hears. */
    redisReply *r = cmd("KEYS %s*:p:chat.1", b->cfg.prefix);
    char key[128];
    snprintf(key, sizeof(key), "%s", r->element[0]->str);
    char *p = strstr(key, ":p:");
    *p = '\0';
    cmd("FCALL crier_come 3 %s:P:other %s:p:chat.1 %s:v:chat.1 other nowhere: PUBLISH chat.1 lost", key, key, key);
    cmd("FCALL crier_come 3 %s:P:other %s:p:chat.1 %s:v:chat.1 other %spresence: PUBLISH chat.1 zoe", key, key, key,
        b->cfg.prefix);
    BENCH_WAIT(b, b->nchanges == 3);
    assert_true(change_is(b, 1, "lost", true)); /* in its place and under its own number */
    assert_true(change_is(b, 2, "zoe", true));
    r = cmd("LRANGE %s:V:chat.1 -2 -1", key);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(b->changes[1 + i]->seq, big_endian((const uint8_t *)r->element[i]->str + 1));
    cmd("FCALL crier_presence_sweep 1 %s:P:other other 10 %s: %spresence: PUBLISH", key, key, b->cfg.prefix);
    BENCH_WAIT(b, b->nchanges == 5);
    assert_false(b->changes[3]->join);
    assert_false(b->changes[4]->join);
}

/* Where Redis has not kept what was missed either, the list says what is true. */
static void changes_that_nobody_kept_are_found_in_the_list(void **state)
{
    struct bench *b = *state;
    join(b, "chat.1");
    watch(b, "chat.1");
    presence(b, "chat.1", "alice", true);
    BENCH_WAIT(b, b->nchanges == 1);
    redisReply *r = cmd("KEYS %s*:p:chat.1", b->cfg.prefix);
    char key[128];
    snprintf(key, sizeof(key), "%s", r->element[0]->str);
    char *p = strstr(key, ":p:");
    *p = '\0';
    cmd("FCALL crier_come 3 %s:P:other %s:p:chat.1 %s:v:chat.1 other nowhere: PUBLISH chat.1 lost", key, key, key);
    cmd("DEL %s:V:chat.1", key);
    cmd("FCALL crier_come 3 %s:P:other %s:p:chat.1 %s:v:chat.1 other %spresence: PUBLISH chat.1 zoe", key, key, key,
        b->cfg.prefix);
    BENCH_WAIT(b, b->nchanges == 3);
    assert_true(change_is(b, 1, "lost", true));
    assert_true(change_is(b, 2, "zoe", true));
    cmd("FCALL crier_go 3 %s:P:other %s:p:chat.1 %s:v:chat.1 other nowhere: PUBLISH chat.1 lost", key, key, key);
    cmd("DEL %s:V:chat.1", key);
    cmd("FCALL crier_go 3 %s:P:other %s:p:chat.1 %s:v:chat.1 other %spresence: PUBLISH chat.1 zoe", key, key, key,
        b->cfg.prefix);
    BENCH_WAIT(b, b->nchanges == 5);
    assert_false(b->changes[3]->join);
    assert_false(b->changes[4]->join);
}

static void a_list_that_ended_is_a_gap_up_to_what_lived_as_long_as_the_room_keeps_any(void **state)
{
    struct bench *b = *state;
    uint64_t first = say(b, "chat.1", "1")->seq;
    uint64_t whole = say(b, "chat.1", "1")->seq;
    uint64_t brief = say_for(b, "chat.1", 1);
    char key[128];
    redisReply *r = cmd("KEYS %s*:h:chat.1", b->cfg.prefix);
    snprintf(key, sizeof(key), "%s", r->element[0]->str);
    cmd("DEL %s", key); /* as Redis does when its time has come */
    const struct op_page *page = read_from(b, "chat.1", first);
    assert_int_equal(page->gap, whole);
    assert_int_equal(page->top, brief);
    assert_true(read_from(b, "chat.1", whole)->gap <= whole);
}

static void the_number_of_a_lost_message_is_never_given_out_again(void **state)
{
    struct bench *b = *state;
    join(b, "chat.1");
    uint64_t seq = say(b, "chat.1", "1")->seq;
    BENCH_WAIT(b, b->njobs == 1);
    char key[128], ahead[24];
    redisReply *r = cmd("KEYS %s*:R:chat.1", b->cfg.prefix);
    snprintf(key, sizeof(key), "%s", r->element[0]->str);
    /* As if this server, whose clock is an hour behind, had not heard of the message. */
    snprintf(ahead, sizeof(ahead), "%llu", (unsigned long long)(seq + UINT64_C(3600000000)));
    cmd("HSET %s s %s", key, ahead);
    uint64_t next = say(b, "chat.1", "2")->seq;
    assert_true(next > seq + UINT64_C(3600000000));
    BENCH_WAIT(b, b->njobs == 2);
    cmd("HSET %s s 1", key);
    cut_subscription();
    BENCH_WAIT(b, !b->ready);
    BENCH_WAIT(b, b->ready);
    assert_true(say(b, "chat.1", "3")->seq > next);
    BENCH_WAIT(b, b->njobs == 3);
}

static void a_list_never_outlives_what_knows_of_it(void **state)
{
    struct bench *b = *state;
    char key[128];
    assert_true(bench_push(b, TARGET_USER, "alice", "1", NULL, 90 * 86400)->seq > 0);
    redisReply *r = cmd("KEYS %s*:m:alice", b->cfg.prefix);
    snprintf(key, sizeof(key), "%s", r->element[0]->str);
    assert_true(cmd("TTL %s", key)->integer > 90 * 86400);
    cmd("HSET %s y 1", key); /* the next look at it renews its life, which must not make it shorter */
    assert_true(bench_push(b, TARGET_USER, "alice", "1", NULL, 60)->seq > 0);
    assert_true(cmd("TTL %s", key)->integer > 89 * 86400);
    assert_true(bench_push(b, TARGET_USER, "bob", "1", NULL, 60)->seq > 0);
    r = cmd("KEYS %s*:m:bob", b->cfg.prefix);
    snprintf(key, sizeof(key), "%s", r->element[0]->str);
    assert_true(cmd("TTL %s", key)->integer <= 30 * 86400);
}

#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    log_setup(LOG_ERROR, false, "test");
    const struct CMUnitTest both[] = {
        EACH(a_room_with_history_keeps_what_was_said),
        EACH(nobody_hears_what_is_kept_all_the_same),
        EACH(other_rooms_keep_nothing),
        EACH(the_length_drops_the_oldest_and_says_so),
        EACH(a_message_lives_as_long_as_its_room_or_shorter),
        EACH(what_came_to_its_own_end_is_no_gap),
        EACH(what_lived_as_long_as_the_room_keeps_any_is_a_gap),
        EACH(an_id_counts_once_for_a_room),
        EACH(history_is_read_from_its_end),
        EACH(long_histories_come_in_pages),
        EACH(questions_that_make_no_sense_are_refused),
        EACH(rooms_are_listed_and_known),
        EACH(who_comes_and_goes_is_told_once),
        EACH(presence_is_listed_in_pages),
        EACH(what_waits_for_presence_ends_with_the_store),
    };
    const struct CMUnitTest redis[] = {
        EACH(every_node_has_the_same_order),
        EACH(a_bare_publish_to_a_room_is_stored_by_one_node),
        EACH(a_user_on_two_nodes_comes_once_and_leaves_once),
        EACH(a_cut_subscription_tells_which_rooms_are_behind_and_who_came),
        EACH(a_forgetful_redis_is_told_again_and_nobody_leaves),
        EACH(a_leave_that_redis_has_forgotten_is_written_again),
        EACH(a_missed_change_is_found),
        EACH(changes_that_nobody_kept_are_found_in_the_list),
        EACH(a_list_that_ended_is_a_gap_up_to_what_lived_as_long_as_the_room_keeps_any),
        EACH(the_number_of_a_lost_message_is_never_given_out_again),
        EACH(a_list_never_outlives_what_knows_of_it),
    };
    int bad = cmocka_run_group_tests_name("rooms, embedded", both, NULL, NULL);
    redis_proc_start(&server);
    backend_url = server.url;
    bad += cmocka_run_group_tests_name("rooms, redis", both, NULL, NULL);
    bad += cmocka_run_group_tests_name("rooms, several nodes", redis, NULL, NULL);
    cmd(NULL);
    redis_proc_stop(&server);
    return bad;
}
