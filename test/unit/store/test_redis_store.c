/*
 * test_redis_store.c - the Redis back-end against a real server: raw publishes, the one-call form, and everything that
 * can happen to a server and its connections.
 */
#include "store/store_bench.h"

#include "store/redis_proc.h"

static struct redis_proc server;
static unsigned serial;

static void open_bench(struct bench *b, const char *prefix, const char *node)
{
    bench_init(b, server.url, prefix, node);
    bench_open(b);
    BENCH_WAIT(b, b->ready);
}

static int setup(void **state)
{
    struct bench *b = malloc(sizeof(*b));
    char prefix[32];
    snprintf(prefix, sizeof(prefix), "t%u:", serial++);
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

/* A command of the test's own; the reply lives until the next one. */
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

static void publish(struct bench *b, const char *channel, const char *payload)
{
    cmd("PUBLISH %s%s %s", b->cfg.prefix, channel, payload);
}

static void interest(struct bench *b, const char *room)
{
    struct op *op = op_new(OP_INTEREST);
    unsigned before = b->ndone;
    op->interest.room = text(room);
    op->interest.on = true;
    b->store->ops->subscribe(b->store, span_str(room), op);
    BENCH_WAIT(b, b->ndone > before);
    assert_int_equal(op->status, OP_OK);
}

/* ---- raw publishes ---- */

static void a_bare_publish_reaches_users_rooms_and_all(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "42", "d");
    interest(b, "news");
    publish(b, "user:42", "hello");
    BENCH_WAIT(b, b->njobs == 1);
    assert_true(b->jobs[0]->head.seq > 0);
    assert_int_equal(b->jobs[0]->head.format, DATA_TEXT);
    assert_true(span_says(b->jobs[0]->head.data, "hello"));
    assert_true(span_says(b->jobs[0]->head.target, "42"));
    publish(b, "room:news", "{\"data\":{\"x\":1},\"id\":\"m1\"}");
    publish(b, "all", "[1]");
    BENCH_WAIT(b, b->njobs == 3);
    assert_true(span_says(b->jobs[1]->head.id, "m1"));
    assert_true(span_says(b->jobs[2]->head.data, "[1]"));
    assert_int_equal(bench_fetch(b, "42", 0)->njobs, 1);
}

static void a_bare_publish_obeys_ttl_and_id(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "42", "d");
    publish(b, "user:42", "{\"data\":1,\"ttl\":0}");
    publish(b, "user:42", "{\"data\":2,\"id\":\"once\"}");
    publish(b, "user:42", "{\"data\":2,\"id\":\"once\"}");
    publish(b, "user:42", "{\"data\":3}");
    BENCH_WAIT(b, b->njobs == 3);
    assert_int_equal(b->jobs[0]->head.seq, 0);
    assert_true(span_says(b->jobs[1]->head.id, "once"));
    assert_int_equal(b->jobs[2]->head.prev, b->jobs[1]->head.seq);
}

static void a_bare_live_publish_reaches_a_user_on_every_node_once(void **state)
{
    struct bench *b = *state, *c = malloc(sizeof(*c));
    open_bench(c, b->cfg.prefix, "node-2.def");
    bench_attach(b, "42", "d");
    bench_attach(c, "42", "e");
    publish(b, "user:42", "{\"data\":1,\"ttl\":0}");
    publish(b, "user:nobody", "{\"data\":1,\"ttl\":0}");
    publish(b, "user:42", "{\"data\":2,\"ttl\":0,\"id\":\"claimed\"}");
    publish(b, "user:42", "{\"data\":\"not ttl\"}");
    BENCH_WAIT(b, (event_base_loop(c->base, EVLOOP_NONBLOCK), b->njobs >= 3 && c->njobs >= 3));
    const struct bench *each[] = {b, c};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(each[i]->njobs, 3);
        assert_true(span_says(each[i]->jobs[0]->head.data, "1"));
        assert_int_equal(each[i]->jobs[0]->head.seq, 0);
        assert_true(span_says(each[i]->jobs[1]->head.id, "claimed"));
        assert_true(each[i]->jobs[2]->head.seq > 0);
    }
    assert_int_equal(metric_get(&b->metrics, M_STORED) + metric_get(&c->metrics, M_STORED), 1);
    bench_close(c);
    free(c);
}

static void a_bare_publish_is_stored_by_one_of_two_nodes(void **state)
{
    struct bench *b = *state, *c = malloc(sizeof(*c));
    open_bench(c, b->cfg.prefix, "node-2.def");
    unsigned mine = 0;
    for (unsigned i = 0; i < 40; i++) {
        char channel[32];
        snprintf(channel, sizeof(channel), "user:u%u", i);
        publish(b, channel, "x");
    }
    BENCH_WAIT(b, (event_base_loop(c->base, EVLOOP_NONBLOCK),
                   metric_get(&b->metrics, M_STORED) + metric_get(&c->metrics, M_STORED) >= 40));
    mine = (unsigned)metric_get(&b->metrics, M_STORED);
    assert_true(mine > 0 && mine < 40);
    for (unsigned i = 0; i < 40; i++) {
        char user[16];
        snprintf(user, sizeof(user), "u%u", i);
        assert_int_equal(bench_fetch(b, user, 0)->njobs, 1);
    }
    /* One says goodbye: the other stores everything, without waiting for anybody to be found dead. */
    c->store->ops->leave(c->store);
    BENCH_WAIT(c, c->store->ops->idle(c->store));
    bench_close(c);
    free(c);
    for (unsigned i = 0; i < 40; i++) {
        char channel[32];
        snprintf(channel, sizeof(channel), "user:v%u", i);
        publish(b, channel, "x");
    }
    BENCH_WAIT(b, metric_get(&b->metrics, M_STORED) == mine + 40);
}

static void a_user_is_reached_on_another_node(void **state)
{
    struct bench *b = *state, *c = malloc(sizeof(*c));
    open_bench(c, b->cfg.prefix, "node-2.def");
    bench_attach(b, "bob", "d1");
    bench_attach(c, "bob", "d2");
    assert_int_equal(bench_push(c, TARGET_USER, "bob", "1", NULL, UINT32_MAX)->online, 2);
    BENCH_WAIT(b, (event_base_loop(c->base, EVLOOP_NONBLOCK), b->njobs == 1 && c->njobs == 1));
    assert_int_equal(b->jobs[0]->head.seq, c->jobs[0]->head.seq);
    assert_true(span_eq(b->jobs[0]->head.id, c->jobs[0]->head.id));
    bench_close(c);
    free(c);
}

static void what_is_refused_is_kept_with_its_reason(void **state)
{
    struct bench *b = *state;
    publish(b, "user:42", "{\"data\":1,\"ttl\":-3}");
    publish(b, "all", "{\"data\":1,\"priority\":\"urgent\"}");
    cmd("PUBLISH %suser:%b x", b->cfg.prefix, "a\x01", (size_t)2);
    BENCH_WAIT(b, metric_get(&b->metrics, M_BAD_PUBLISH) == 3);
    BENCH_WAIT(b, cmd("LLEN %srefused", b->cfg.prefix)->integer == 3);
    redisReply *r = cmd("LRANGE %srefused 0 -1", b->cfg.prefix);
    assert_non_null(strstr(r->element[0]->str, "not allowed"));
    assert_non_null(strstr(r->element[1]->str, "priority"));
    assert_non_null(strstr(r->element[1]->str, "urgent"));
    assert_non_null(strstr(r->element[2]->str, "ttl"));
    assert_int_equal(b->njobs, 0);
}

static void a_poisoned_inbox_blocks_nobody(void **state)
{
    struct bench *b = *state;
    char key[64];
    snprintf(key, sizeof(key), "%s{52}:q:alice", b->cfg.prefix);
    uint64_t first = bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->seq;
    cmd("FCALL crier_user 1 %s alice %s", b->cfg.prefix, "{\"data\":1,\"event\":\"a\\nb\"}"); /* Lua lets it pass */
    cmd("RPUSH %s short", key);
    cmd("LREM %s 0 short", key);
    uint64_t last = bench_push(b, TARGET_USER, "alice", "2", NULL, UINT32_MAX)->seq;
    struct op_attach *a = bench_attach(b, "alice", "d");
    assert_int_equal(a->page.njobs, 2);
    assert_int_equal(a->page.jobs[0]->head.seq, first);
    assert_int_equal(a->page.jobs[1]->head.seq, last);
    assert_int_equal(metric_get(&b->metrics, M_BAD_PUBLISH), 1);
}

static void a_lone_node_loses_nothing_of_what_comes_before_its_marker(void **state)
{
    struct bench *b = *state;
    cmd("CLIENT KILL TYPE pubsub");
    /* As soon as anybody listens, and long before the loop has seen a marker. */
    uint64_t give_up = clock_mono_ms() + 10000;
    while (cmd("PUBLISH %suser:alice early", b->cfg.prefix)->integer == 0) {
        assert_true(clock_mono_ms() < give_up);
        event_base_loop(b->base, EVLOOP_ONCE);
    }
    BENCH_WAIT(b, metric_get(&b->metrics, M_STORED) == 1);
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 1);
}

/* ---- the one-call form ---- */

static redisReply *call(struct bench *b, const char *payload, const char *ttl, const char *id)
{
    if (id)
        return cmd("FCALL crier_user 1 %s alice %s %s %s", b->cfg.prefix, payload, ttl, id);
    if (ttl)
        return cmd("FCALL crier_user 1 %s alice %s %s", b->cfg.prefix, payload, ttl);
    return cmd("FCALL crier_user 1 %s alice %s", b->cfg.prefix, payload);
}

static void the_one_call_form_stores_and_reaches(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "d");
    redisReply *r = call(b, "hi", NULL, NULL);
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    assert_true(r->element[0]->integer > 0);
    assert_int_equal(r->element[1]->integer, 1);
    assert_int_equal(r->element[2]->integer, 0);
    r = call(b, "{\"data\":1,\"id\":\"x\",\"ttl\":9}", NULL, NULL);
    assert_int_equal(r->element[2]->integer, 0);
    r = call(b, "{\"data\":1,\"id\":\"x\"}", NULL, NULL);
    assert_int_equal(r->element[2]->integer, 1);
    r = call(b, "{\"data\":1,\"id\":\"x\",\"ttl\":9}", "0", "y"); /* arguments win */
    assert_int_equal(r->element[0]->integer, 0);
    assert_int_equal(r->element[1]->integer, 1);
    BENCH_WAIT(b, b->njobs == 3);
    assert_true(span_says(b->jobs[1]->head.id, "x"));
    assert_int_equal(b->jobs[1]->head.expires_s - b->jobs[1]->head.seq / 1000000, 9);
    assert_true(span_says(b->jobs[2]->head.id, "y"));
    assert_int_equal(b->jobs[0]->head.expires_s - b->jobs[0]->head.seq / 1000000, b->cfg.ttl_s);
}

static void the_one_call_form_says_what_is_wrong(void **state)
{
    struct bench *b = *state;
    const char *const bad[][3] = {
        {"{\"data\":1,\"ttl\":\"x\"}", NULL, "ttl"},
        {"{\"data\":1,\"priority\":\"x\"}", NULL, "priority"},
        {"{\"data\":1,\"id\":7}", NULL, "id"},
        {"{\"data\":1,\"track\":1}", NULL, "track"},
        {"x", "1.5", "ttl"},
        {"x", "-1", "ttl"},
        {"{\"data\":1,\"ttl\":1e30}", NULL, "ttl"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        redisReply *r = call(b, bad[i][0], bad[i][1], NULL);
        assert_int_equal(r->type, REDIS_REPLY_ERROR);
        assert_non_null(strstr(r->str, bad[i][2]));
    }
    assert_int_equal(cmd("FCALL crier_user 0 alice")->type, REDIS_REPLY_ERROR);
    assert_int_equal(cmd("FCALL crier_user 0 %b x", "a\nb", (size_t)3)->type, REDIS_REPLY_ERROR);
    /* Members we do not know: the whole object is the data, as on the broker. */
    assert_int_equal(call(b, "{\"data\":1,\"ttl\":\"x\",\"colour\":1}", NULL, NULL)->type, REDIS_REPLY_ARRAY);
    assert_int_equal(bench_fetch(b, "alice", 0)->njobs, 1);
}

/* ---- what happens to servers and connections ---- */

static void a_cut_subscription_tells_who_is_behind(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "d");
    bench_attach(b, "bob", "d");
    cmd("CLIENT KILL TYPE pubsub");
    redisReply *r = call(b, "missed", NULL, NULL); /* before the loop has turned: nobody listens */
    uint64_t seq = (uint64_t)r->element[0]->integer;
    assert_int_equal(r->element[1]->integer, 0);
    BENCH_WAIT(b, b->nbehind == 1);
    assert_string_equal(b->behind_user, "alice");
    assert_int_equal(b->behind_seq, seq);
    BENCH_WAIT(b, b->ready);
    assert_int_equal(bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->online, 1);
    BENCH_WAIT(b, b->njobs == 1);
    assert_int_equal(b->njobs, 1);
}

static void a_killed_redis_is_found_again_and_knows_all_users(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "d");
    bench_attach(b, "bob", "d");
    interest(b, "news");
    redis_proc_kill(&server);
    BENCH_WAIT(b, !b->state && !b->ready);
    struct op *op = bench_run(b, push_op(TARGET_USER, "alice", "1", NULL, UINT32_MAX));
    assert_int_equal(op->status, OP_AWAY);
    assert_int_equal(op->push.targets[0].status, OP_AWAY);
    assert_non_null(strstr(op->error, "Redis"));
    assert_int_equal(bench_run(b, ack_op("alice", "d", 1))->status, OP_AWAY);
    assert_int_equal(bench_run(b, attach_op("carol", "d", true, false, 0))->status, OP_AWAY);
    bench_detach(b, "bob", "d", true, 0); /* kept */
    redis_proc_run(&server);              /* empty: nothing was saved */
    BENCH_WAIT(b, b->state && b->ready);
    assert_int_equal(bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->online, 1);
    assert_int_equal(bench_push(b, TARGET_USER, "bob", "1", NULL, UINT32_MAX)->online, 0);
    assert_int_equal(bench_push(b, TARGET_ROOM, "news", "1", NULL, UINT32_MAX)->online, 1);
    BENCH_WAIT(b, b->njobs == 2);
}

static void commands_cut_in_flight_end_and_detaches_are_made_later(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "d");
    uint64_t seq = bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->seq;
    cmd("CLIENT KILL TYPE normal SKIPME yes");
    bench_detach(b, "alice", "d", true, seq); /* written into a dead connection */
    BENCH_WAIT(b, !b->state);
    BENCH_WAIT(b, b->state);
    BENCH_WAIT(b, cmd("EXISTS %s{52}:q:alice", b->cfg.prefix)->integer == 0); /* acked after all */
    assert_int_equal(cmd("HEXISTS %s{52}:m:alice n", b->cfg.prefix)->integer, 0);
}

static void missing_functions_are_loaded_again(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "d");
    cmd("FUNCTION FLUSH");
    struct op *op = bench_run(b, push_op(TARGET_USER, "alice", "1", NULL, UINT32_MAX));
    assert_int_equal(op->status, OP_AWAY);
    BENCH_WAIT(b, b->state && b->store->ops->ready(b->store));
    assert_int_equal(bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->online, 1);
}

static void newer_functions_are_kept_and_older_replaced(void **state)
{
    struct bench *b = *state;
    static const char source[] = "#!lua name=crier\n"
                                 "redis.register_function{function_name='crier_version',"
                                 "callback=function() return %d end,flags={'no-writes'}}\n";
    char lib[300];
    snprintf(lib, sizeof(lib), source, 1000);
    cmd("FUNCTION LOAD REPLACE %s", lib);
    struct bench *c = malloc(sizeof(*c));
    bench_init(c, server.url, "other:", "node-9.x");
    bench_open(c);
    BENCH_WAIT(c, metric_get(&c->metrics, M_REDIS_ERRORS) > 0); /* its calls are not there */
    assert_int_equal(cmd("FCALL crier_version 0")->integer, 1000);
    bench_close(c);
    snprintf(lib, sizeof(lib), source, 0);
    cmd("FUNCTION LOAD REPLACE %s", lib);
    open_bench(c, "other:", "node-9.x");
    assert_true(cmd("FCALL crier_version 0")->integer > 0);
    bench_close(c);
    free(c);
    BENCH_WAIT(b, b->state && b->ready);
}

static void a_demoted_master_is_left(void **state)
{
    struct bench *b = *state;
    cmd("REPLICAOF 127.0.0.1 1");
    assert_int_equal(bench_run(b, push_op(TARGET_USER, "alice", "1", NULL, UINT32_MAX))->status, OP_AWAY);
    BENCH_WAIT(b, !b->state);
    cmd("REPLICAOF NO ONE");
    BENCH_WAIT(b, b->state && b->ready);
    assert_int_equal(bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->status, OP_OK);
}

static void a_full_redis_refuses_sends_but_takes_acks(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "d");
    uint64_t seq = bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->seq;
    cmd("CONFIG SET maxmemory 1");
    assert_int_equal(bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->status, OP_FULL);
    bench_ack(b, "alice", "d", seq);
    assert_int_equal(bench_attach(b, "alice", "e")->cursor, seq);
    cmd("CONFIG SET maxmemory 0");
    assert_int_equal(bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->status, OP_OK);
    assert_true(b->state);
}

static void a_wrong_type_of_one_user_harms_no_other(void **state)
{
    struct bench *b = *state;
    cmd("SET %s{52}:q:alice x", b->cfg.prefix);
    struct op *op = push_op(TARGET_USER, "alice", "1", NULL, UINT32_MAX);
    b->store->ops->submit(b->store, op);
    assert_int_equal(bench_push(b, TARGET_USER, "bob", "1", NULL, UINT32_MAX)->status, OP_OK); /* the same batch */
    assert_int_equal(op->status, OP_AWAY);
    assert_non_null(strstr(op->error, "WRONGTYPE"));
}

static void a_stopped_redis_costs_the_timeout(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "d");
    kill(server.pid, SIGSTOP);
    uint64_t began = clock_mono_ms();
    struct op *op = bench_run(b, push_op(TARGET_USER, "alice", "1", NULL, UINT32_MAX));
    uint64_t took = clock_mono_ms() - began;
    kill(server.pid, SIGCONT);
    assert_int_equal(op->status, OP_AWAY);
    assert_true(took >= b->cfg.redis_timeout_ms && took < b->cfg.redis_timeout_ms + 1000);
    BENCH_WAIT(b, b->njobs == 1); /* it was carried out all the same, and arrives */
    assert_int_equal(bench_push(b, TARGET_USER, "alice", "2", NULL, UINT32_MAX)->status, OP_OK);
}

/* What Redis says of the life of alice's hash and list: -1 for ever, -2 gone. */
static long long life(struct bench *b, const char *kind)
{
    return cmd("TTL %s{52}:%s:alice", b->cfg.prefix, kind)->integer;
}

static void only_absent_users_are_forgotten(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "d");
    assert_int_equal(life(b, "m"), -1);
    bench_push(b, TARGET_USER, "alice", "1", NULL, 1000);
    assert_int_equal(life(b, "m"), -1);
    bench_attach(b, "alice", "e");
    bench_detach(b, "alice", "e", false, 0);
    bench_ack(b, "alice", "d", 0); /* its answer says that Redis has carried out what was sent before */
    assert_int_equal(life(b, "m"), -1);
    bench_detach(b, "alice", "d", true, 0);
    bench_push(b, TARGET_USER, "bob", "1", NULL, 1000); /* never here */
    assert_true(life(b, "m") > 86400);
    assert_int_equal(cmd("KEYS %s*m:bob", b->cfg.prefix)->elements, 1);
    char *key = strdup(cmd("KEYS %s*m:bob", b->cfg.prefix)->element[0]->str);
    assert_true(cmd("TTL %s", key)->integer > 86400);
    free(key);
}

static void a_list_ends_a_little_after_its_last_message(void **state)
{
    struct bench *b = *state;
    bench_push(b, TARGET_USER, "alice", "1", NULL, 1000);
    assert_true(life(b, "q") >= 1290 && life(b, "q") <= 1300);
    bench_push(b, TARGET_USER, "alice", "2", NULL, 1100); /* it ends late enough: nothing to be done */
    assert_true(life(b, "q") <= 1300);
    bench_push(b, TARGET_USER, "alice", "3", NULL, 1300);
    assert_true(life(b, "q") >= 1590 && life(b, "q") <= 1600);
    bench_push(b, TARGET_USER, "alice", "4", NULL, 5);
    assert_true(life(b, "q") > 1500);
}

static void a_fenced_node_goes_on_under_a_new_name(void **state)
{
    struct bench *b = *state;
    bench_attach(b, "alice", "d");
    cmd("HSET %s{c}:dead node-1.abc 1", b->cfg.prefix);
    cmd("HDEL %s{c}:nodes node-1.abc", b->cfg.prefix);
    cmd("HSET %s{c}:dead node-1.abc 9999999999999", b->cfg.prefix);
    BENCH_WAIT(b, !b->ready);
    BENCH_WAIT(b, b->ready);
    redisReply *r = cmd("HGET %s{52}:m:alice n", b->cfg.prefix);
    assert_non_null(strstr(r->str, "node-1.abc-"));
    BENCH_WAIT(b, bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->online == 1 && b->njobs > 0);
}

static void logs_in_with_user_password_and_database(void **state)
{
    struct bench *b = *state, *c = malloc(sizeof(*c));
    char url[160];
    cmd("ACL SETUSER crier on >s%%ecret ~* &* +@all");
    snprintf(url, sizeof(url), "unix://crier:s%%25ecret@%s?db=3", server.sock);
    bench_init(c, url, b->cfg.prefix, "node-2.def");
    bench_open(c);
    BENCH_WAIT(c, c->ready);
    bench_push(c, TARGET_USER, "alice", "1", NULL, UINT32_MAX);
    assert_int_equal(cmd("EXISTS %s{52}:q:alice", b->cfg.prefix)->integer, 0);
    cmd("SELECT 3");
    assert_int_equal(cmd("EXISTS %s{52}:q:alice", b->cfg.prefix)->integer, 1);
    cmd("SELECT 0");
    bench_close(c);
    snprintf(url, sizeof(url), "unix://crier:wrong@%s", server.sock);
    bench_init(c, url, b->cfg.prefix, "node-2.def");
    bench_open(c);
    BENCH_WAIT(c, c->nstates == 1);
    assert_false(c->state);
    struct op *op = bench_run(c, push_op(TARGET_USER, "alice", "1", NULL, UINT32_MAX));
    assert_non_null(strstr(op->error, "AUTH"));
    bench_close(c);
    free(c);
}

/* ---- ceilings ---- */

static void too_many_sends_are_full_and_later_welcome(void **state)
{
    struct bench *b = *state;
    b->store->ops->free(b->store);
    b->cfg.redis_timeout_ms = 120000; /* the slowest machine gets its answers */
    bench_open(b);
    BENCH_WAIT(b, b->ready);
    kill(server.pid, SIGSTOP);
    unsigned n = 0;
    char *payload = malloc(60001);
    memset(payload, 'x', 60000);
    payload[60000] = '\0';
    for (; n < 3000; n++)
        b->store->ops->submit(b->store, push_op(TARGET_USER, "alice", payload, NULL, UINT32_MAX));
    free(payload);
    kill(server.pid, SIGCONT);
    BENCH_WAIT(b, b->ndone == n);
    unsigned full = 0, good = 0;
    for (unsigned i = 0; i < n; i++) {
        full += b->done[i]->status == OP_FULL;
        good += b->done[i]->status == OP_OK;
        if (b->done[i]->status != OP_FULL && b->done[i]->status != OP_OK)
            fail_msg("%u full, %u good, then: %s", full, good, b->done[i]->error);
    }
    assert_true(full > 1000 && good > 1000); /* 64 MiB of 60,000 bytes each */
    bench_forget(b);
    assert_int_equal(bench_push(b, TARGET_USER, "alice", "1", NULL, UINT32_MAX)->status, OP_OK);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    log_setup(LOG_ERROR, false, "test");
    const struct CMUnitTest tests[] = {
        T(a_bare_publish_reaches_users_rooms_and_all),
        T(a_bare_publish_obeys_ttl_and_id),
        T(a_bare_live_publish_reaches_a_user_on_every_node_once),
        T(a_bare_publish_is_stored_by_one_of_two_nodes),
        T(a_user_is_reached_on_another_node),
        T(what_is_refused_is_kept_with_its_reason),
        T(a_poisoned_inbox_blocks_nobody),
        T(a_lone_node_loses_nothing_of_what_comes_before_its_marker),
        T(the_one_call_form_stores_and_reaches),
        T(the_one_call_form_says_what_is_wrong),
        T(a_cut_subscription_tells_who_is_behind),
        T(a_killed_redis_is_found_again_and_knows_all_users),
        T(commands_cut_in_flight_end_and_detaches_are_made_later),
        T(missing_functions_are_loaded_again),
        T(newer_functions_are_kept_and_older_replaced),
        T(a_demoted_master_is_left),
        T(a_full_redis_refuses_sends_but_takes_acks),
        T(a_wrong_type_of_one_user_harms_no_other),
        T(a_stopped_redis_costs_the_timeout),
        T(only_absent_users_are_forgotten),
        T(a_list_ends_a_little_after_its_last_message),
        T(a_fenced_node_goes_on_under_a_new_name),
        T(logs_in_with_user_password_and_database),
        T(too_many_sends_are_full_and_later_welcome),
    };
    redis_proc_start(&server);
    int bad = cmocka_run_group_tests_name("the redis store", tests, NULL, NULL);
    cmd(NULL);
    redis_proc_stop(&server);
    return bad;
}
