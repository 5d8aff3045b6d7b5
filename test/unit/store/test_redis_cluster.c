/*
 * test_redis_cluster.c - several nodes on one real Redis, each a store with a loop of its own in this process: who
 * reads bare publishes, and that none is lost or stored twice when nodes die, freeze, leave, or lose their
 * subscription.
 *
 * A node that is not turned is frozen (SIGSTOP); one that is dropped without a goodbye was killed.
 */
#include "store/store_bench.h"

#include "core/census.h"
#include "store/redis_proc.h"

enum { MAX_NODES = 5 };

static struct redis_proc server;
static unsigned serial;

struct cluster {
    char prefix[32];
    unsigned n;
    struct bench *v[MAX_NODES]; /* NULL: gone */
    bool frozen[MAX_NODES];
    unsigned published;
    bool heard[MAX_SEEN]; /* message i had at least one receiver */
};

static void turn(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->v[i] && !c->frozen[i])
            event_base_loop(c->v[i]->base, EVLOOP_NONBLOCK);
    }
    struct timespec nap = {0, 500000};
    nanosleep(&nap, NULL); /* the machine is the others' too: conditions are looked at in between */
}

#define UNTIL(c, cond)                                                                                                 \
    do {                                                                                                               \
        uint64_t give_up_ = clock_mono_ms() + 20000;                                                                   \
        while (!(cond)) {                                                                                              \
            if (clock_mono_ms() > give_up_)                                                                            \
                fail_msg("waited too long for: %s", #cond);                                                            \
            turn(c);                                                                                                   \
        }                                                                                                              \
    } while (0)

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

static void add_node(struct cluster *c)
{
    char name[32];
    struct bench *b = malloc(sizeof(*b));
    assert_true(c->n < MAX_NODES);
    snprintf(name, sizeof(name), "node-%u.x", c->n);
    bench_init(b, server.url, c->prefix, name);
    bench_open(b);
    c->v[c->n++] = b;
    UNTIL(c, b->ready);
}

static void drop_node(struct cluster *c, unsigned i)
{
    bench_close(c->v[i]);
    free(c->v[i]);
    c->v[i] = NULL;
}

static void open_cluster(struct cluster *c, unsigned n)
{
    memset(c, 0, sizeof(*c));
    snprintf(c->prefix, sizeof(c->prefix), "c%u:", serial++);
    for (unsigned i = 0; i < n; i++)
        add_node(c);
    for (unsigned i = 0; i < n; i++)
        UNTIL(c, metric_get(&c->v[i]->metrics, M_NODES) == n);
}

static void close_cluster(struct cluster *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (c->v[i])
            drop_node(c, i);
    }
}

static uint64_t sum(const struct cluster *c, enum metric id)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < c->n; i++)
        n += c->v[i] ? metric_get(&c->v[i]->metrics, id) : 0;
    return n;
}

enum { USERS = 40 };

/* Message number `published` to one of USERS users. */
static void publish(struct cluster *c)
{
    unsigned i = c->published++;
    redisReply *r = cmd("PUBLISH %suser:u%u %u", c->prefix, i % USERS, i);
    c->heard[i] = r->integer > 0;
}

static void publish_many(struct cluster *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        publish(c);
}

/* How often each message stands in the inboxes. */
static void read_inboxes(struct cluster *c, unsigned stored[MAX_SEEN])
{
    memset(stored, 0, MAX_SEEN * sizeof(stored[0]));
    redisReply *keys = redisCommand(server.c, "KEYS %s{*}:q:*", c->prefix);
    for (size_t k = 0; k < keys->elements; k++) {
        redisReply *list = redisCommand(server.c, "LRANGE %s 0 -1", keys->element[k]->str);
        for (size_t i = 0; i < list->elements; i++) {
            const char *e = list->element[i]->str;
            size_t head = 21 + (uint8_t)e[20];
            char text[16] = "";
            assert_true(list->element[i]->len - head < sizeof(text));
            memcpy(text, e + head, list->element[i]->len - head);
            unsigned number = (unsigned)strtoul(text, NULL, 10);
            assert_true(number < MAX_SEEN);
            stored[number]++;
        }
        freeReplyObject(list);
    }
    freeReplyObject(keys);
}

/* Everything that somebody heard is there once. */
static bool all_there(struct cluster *c)
{
    unsigned stored[MAX_SEEN];
    read_inboxes(c, stored);
    for (unsigned i = 0; i < c->published; i++) {
        if (c->heard[i] && stored[i] == 0)
            return false;
    }
    return true;
}

static void expect_all_once(struct cluster *c)
{
    unsigned stored[MAX_SEEN], heard = 0;
    UNTIL(c, all_there(c));
    uint64_t end = clock_mono_ms() + 300; /* and nothing comes after it */
    while (clock_mono_ms() < end)
        turn(c);
    read_inboxes(c, stored);
    for (unsigned i = 0; i < c->published; i++) {
        heard += c->heard[i];
        if (stored[i] > 1 || (c->heard[i] && stored[i] != 1))
            fail_msg("message %u is there %u times", i, stored[i]);
    }
    assert_true(heard > 0);
}

static unsigned readers(const struct cluster *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < c->n; i++)
        n += c->v[i] && metric_get(&c->v[i]->metrics, M_INGEST_READER);
    return n;
}

/* ---- who reads ---- */

static void three_of_five_read_and_everything_is_stored_once(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 5);
    UNTIL(&c, readers(&c) == 3);
    assert_int_equal(cmd("PUBLISH %suser:u0 0", c.prefix)->integer, 3);
    c.heard[c.published++] = true;
    bench_attach(c.v[4], "u1", "d");
    publish_many(&c, 200);
    UNTIL(&c, c.v[4]->njobs == 5);
    expect_all_once(&c);
    assert_int_equal(sum(&c, M_STORED), 201);
    assert_int_equal(sum(&c, M_CLAIMS_REFUSED), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_true(metric_get(&c.v[i]->metrics, M_STORED) > 20);
    close_cluster(&c);
}

static void all_nodes_show_the_same_members(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 4);
    UNTIL(&c, readers(&c) == 3);
    char first[4096] = "";
    uint64_t end = clock_mono_ms() + 2500; /* everybody has heard that the readers read */
    while (clock_mono_ms() < end)
        turn(&c);
    for (unsigned i = 0; i < 4; i++) {
        struct op *op = op_new(OP_QUERY);
        op->query.kind = QUERY_NODES;
        unsigned before = c.v[i]->ndone;
        c.v[i]->store->ops->submit(c.v[i]->store, op);
        UNTIL(&c, c.v[i]->ndone > before);
        assert_int_equal(op->status, OP_OK);
        char text[4096] = "";
        assert_true(op->query.reply_len < sizeof(text));
        memcpy(text, op->query.reply, op->query.reply_len);
        char *nodes = strstr(text, "\"nodes\":");
        assert_non_null(nodes);
        if (i == 0)
            snprintf(first, sizeof(first), "%s", nodes);
        assert_string_equal(nodes, first);
        char *at = first;
        for (unsigned k = 0; k < 4; k++) { /* in order of seniority */
            char name[32];
            snprintf(name, sizeof(name), "\"name\":\"node-%u.x\"", k);
            at = strstr(at, name);
            assert_non_null(at);
        }
    }
    assert_non_null(strstr(first, "\"ingest\":false"));
    close_cluster(&c);
}

static void a_live_only_publish_reaches_users_on_nodes_that_do_not_read(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 4);
    for (unsigned i = 0; i < 4; i++)
        bench_attach(c.v[i], "alice", "d");
    UNTIL(&c, readers(&c) == 3);
    cmd("PUBLISH %suser:alice {\"data\":1,\"ttl\":0}", c.prefix);
    UNTIL(&c, c.v[0]->njobs && c.v[1]->njobs && c.v[2]->njobs && c.v[3]->njobs);
    uint64_t end = clock_mono_ms() + 200;
    while (clock_mono_ms() < end)
        turn(&c);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(c.v[i]->njobs, 1);
        assert_int_equal(c.v[i]->jobs[0]->head.seq, 0);
    }
    close_cluster(&c);
}

/* ---- deaths ---- */

static void a_reader_killed_with_its_share_unstored_costs_nothing(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 4);
    UNTIL(&c, readers(&c) == 3);
    publish_many(&c, 100);
    expect_all_once(&c);
    c.frozen[1] = true; /* what it reads from here on it never stores */
    publish_many(&c, 200);
    UNTIL(&c, sum(&c, M_STORED) > 150);
    drop_node(&c, 1);
    publish_many(&c, 200);
    expect_all_once(&c);
    UNTIL(&c, sum(&c, M_INGEST_REPLAYS) > 50);
    UNTIL(&c, readers(&c) == 3); /* the fourth has taken its place */
    assert_int_equal(metric_get(&c.v[3]->metrics, M_INGEST_READER), 1);
    publish_many(&c, 100);
    expect_all_once(&c);
    close_cluster(&c);
}

static void two_of_three_readers_may_die(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 3);
    UNTIL(&c, readers(&c) == 3);
    c.frozen[0] = c.frozen[1] = true;
    publish_many(&c, 150);
    drop_node(&c, 0);
    drop_node(&c, 1);
    publish_many(&c, 50);
    expect_all_once(&c);
    UNTIL(&c, metric_get(&c.v[2]->metrics, M_NODES) == 1);
    close_cluster(&c);
}

/* Nodes that were just killed stand in the list of the living for a while yet: they take no reader's place. */
static void who_hears_nothing_keeps_nobody_from_reading(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 4);
    UNTIL(&c, readers(&c) == 3);
    drop_node(&c, 0);
    drop_node(&c, 1);
    drop_node(&c, 2);
    UNTIL(&c, readers(&c) == 1);
    assert_int_equal(cmd("HLEN %s{c}:nodes", c.prefix)->integer, 4);
    assert_int_equal(cmd("HLEN %s{c}:dead", c.prefix)->integer, 0);
    publish_many(&c, 50);
    expect_all_once(&c);
    close_cluster(&c);
}

/* The other survivor may still be at its first sweep, and call that the late one. */
static bool swept_again(struct cluster *c, const char *part, const char *long_ago)
{
    if (strstr(cmd("HGET %s{c}:dead node-0.x", c->prefix)->str, " 2 0"))
        cmd("HSET %s{c}:dead node-0.x %s", c->prefix, long_ago);
    return cmd("EXISTS %so:node-0.x", part)->integer == 0;
}

static void what_a_dead_node_had_registered_is_swept(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 3);
    for (unsigned i = 0; i < 30; i++) {
        char user[16];
        snprintf(user, sizeof(user), "w%u", i);
        bench_attach(c.v[0], user, "d");
        if (i % 3 == 0)
            bench_attach(c.v[1], user, "e");
    }
    drop_node(&c, 0);
    uint64_t began = clock_mono_ms();
    UNTIL(&c, cmd("KEYS %s{*}:o:node-0.x", c.prefix)->elements == 0);
    assert_true(clock_mono_ms() - began < 6000);
    for (unsigned i = 0; i < 30; i++) {
        char user[16];
        snprintf(user, sizeof(user), "w%u", i);
        redisReply *keys = cmd("KEYS %s{*}:m:%s", c.prefix, user);
        assert_int_equal(keys->elements, 1);
        redisReply *n = redisCommand(server.c, "HGET %s n", keys->element[0]->str);
        if (i % 3 == 0)
            assert_string_equal(n->str, "node-1.x");
        else
            assert_int_equal(n->type, REDIS_REPLY_NIL);
        freeReplyObject(n);
    }
    UNTIL(&c, strstr(cmd("HGET %s{c}:dead node-0.x", c.prefix)->str, " 1 0") != NULL);
    /* What was long on its way is found half a minute later: here that has passed, and something came. */
    redisReply *keys = cmd("KEYS %s{*}:m:w1", c.prefix);
    char part[64];
    snprintf(part, sizeof(part), "%.*s", (int)(strlen(keys->element[0]->str) - 4), keys->element[0]->str);
    cmd("FCALL crier_sync 2 %so:node-0.x %sm:w1 node-0.x w1 0", part, part);
    assert_string_equal(cmd("HGET %sm:w1 n", part)->str, "node-0.x");
    char long_ago[48];
    snprintf(long_ago, sizeof(long_ago), "%llu 1 0", (unsigned long long)(clock_real_us() / 1000 - 31000));
    cmd("HSET %s{c}:dead node-0.x %s", c.prefix, long_ago);
    UNTIL(&c, swept_again(&c, part, long_ago));
    assert_int_equal(cmd("HEXISTS %sm:w1 n", part)->integer, 0);
    UNTIL(&c, strstr(cmd("HGET %s{c}:dead node-0.x", c.prefix)->str, " 2 0") != NULL);
    close_cluster(&c);
}

/* A node that is fenced goes on under a new name at once: it has to be known by that before anything is registered
 * under it, or nobody would take that back if it is killed then. */
static void a_name_is_known_before_it_is_used(void **state)
{
    (void)state;
    struct cluster c;
    char name[sizeof(c.v[0]->renamed)], key[sizeof(name) + 64];
    open_cluster(&c, 2);
    bench_attach(c.v[0], "u1", "d");
    c.frozen[0] = true;
    UNTIL(&c, metric_get(&c.v[1]->metrics, M_NODES) == 1);
    cmd("CLIENT KILL TYPE pubsub"); /* it cannot join before it has subscribed again */
    c.frozen[0] = false;
    UNTIL(&c, metric_get(&c.v[0]->metrics, M_FENCED) >= 1);
    bench_attach(c.v[0], "u2", "d");
    snprintf(name, sizeof(name), "%s", c.v[0]->renamed);
    drop_node(&c, 0);
    snprintf(key, sizeof(key), "%s{*}:o:%s", c.prefix, name);
    assert_int_equal(cmd("KEYS %s", key)->elements, 1);
    UNTIL(&c, cmd("KEYS %s", key)->elements == 0);
    close_cluster(&c);
}

static void a_frozen_node_comes_back_as_another_and_stores_nothing_twice(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 3);
    bench_attach(c.v[0], "u3", "d");
    UNTIL(&c, readers(&c) == 3);
    c.frozen[0] = true;
    publish_many(&c, 200);
    UNTIL(&c, metric_get(&c.v[1]->metrics, M_NODES) == 2);
    UNTIL(&c, all_there(&c));
    UNTIL(&c, cmd("KEYS %s{*}:o:node-0.x", c.prefix)->elements == 0);
    publish_many(&c, 40); /* its user is not there: nobody tells it */
    UNTIL(&c, all_there(&c));
    c.frozen[0] = false;
    /* Once, or again on a machine too slow for its heartbeat. */
    UNTIL(&c, metric_get(&c.v[0]->metrics, M_FENCED) >= 1 && c.v[0]->ready);
    assert_non_null(strstr(c.v[0]->renamed, "node-0.x-"));
    publish_many(&c, 100);
    expect_all_once(&c);
    assert_true(metric_get(&c.v[0]->metrics, M_CLAIMS_REFUSED) > 20);
    /* Its user hears again, from the sync on. */
    UNTIL(&c, c.v[0]->nbehind > 0);
    assert_string_equal(c.v[0]->behind_user, "u3");
    redisReply *keys = cmd("KEYS %s{*}:m:u3", c.prefix);
    redisReply *n = redisCommand(server.c, "HGET %s n", keys->element[0]->str);
    assert_string_equal(n->str, c.v[0]->renamed);
    freeReplyObject(n);
    UNTIL(&c, cmd("KEYS %s{*}:o:node-0.x", c.prefix)->elements == 0);
    close_cluster(&c);
}

static void a_reader_that_leaves_loses_nothing_and_nobody_waits(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 3);
    UNTIL(&c, readers(&c) == 3);
    bench_attach(c.v[0], "z", "d");
    c.v[0]->store->ops->leave(c.v[0]->store);
    while (!c.v[0]->store->ops->idle(c.v[0]->store)) {
        publish(&c);
        turn(&c);
        assert_true(c.published < 3000);
    }
    drop_node(&c, 0);
    publish_many(&c, 100);
    uint64_t began = clock_mono_ms();
    UNTIL(&c, all_there(&c));
    assert_true(clock_mono_ms() - began < 1500);
    expect_all_once(&c);
    assert_int_equal(cmd("KEYS %s{*}:o:node-0.x", c.prefix)->elements, 0);
    close_cluster(&c);
}

/* ---- subscriptions ---- */

static void all_subscriptions_cut_at_once_under_load(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 3);
    UNTIL(&c, readers(&c) == 3);
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i < 200; i++) {
            if (i == 60)
                cmd("CLIENT KILL TYPE pubsub");
            publish(&c);
            if (i % 4 == 0)
                turn(&c);
        }
        UNTIL(&c, c.v[0]->ready && c.v[1]->ready && c.v[2]->ready && readers(&c) == 3);
    }
    expect_all_once(&c);
    close_cluster(&c);
}

static void a_sole_node_loses_nothing_it_has_read(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 1);
    for (unsigned round = 0; round < 10; round++) {
        cmd("CLIENT KILL TYPE pubsub");
        for (unsigned i = 0; i < 150; i++) {
            publish(&c);
            turn(&c);
        }
        UNTIL(&c, c.v[0]->ready);
    }
    expect_all_once(&c);
    close_cluster(&c);
}

static void one_cut_reader_leaves_a_hole_that_others_fill(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 3);
    UNTIL(&c, readers(&c) == 3);
    /* The eldest connection in subscribed state is the first node's. */
    redisReply *r = cmd("CLIENT LIST TYPE pubsub");
    long long id = 0;
    assert_int_equal(sscanf(r->str, "id=%lld", &id), 1);
    c.frozen[0] = true; /* it cannot say so at once */
    publish_many(&c, 60);
    cmd("CLIENT KILL ID %lld", id);
    publish_many(&c, 60);
    c.frozen[0] = false;
    publish_many(&c, 60);
    expect_all_once(&c);
    UNTIL(&c, readers(&c) == 3);
    UNTIL(&c, sum(&c, M_HOLES) > 0);
    publish_many(&c, 60);
    expect_all_once(&c);
    close_cluster(&c);
}

static void a_killed_redis_and_what_was_read_before(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 2);
    UNTIL(&c, readers(&c) == 2);
    redis_proc_kill(&server);
    UNTIL(&c, !c.v[0]->ready && !c.v[1]->ready);
    redis_proc_run(&server); /* empty */
    UNTIL(&c, c.v[0]->ready && c.v[1]->ready && readers(&c) == 2);
    publish_many(&c, 100);
    expect_all_once(&c);
    assert_int_equal(sum(&c, M_FENCED), 0);
    close_cluster(&c);
}

/* A reader says that it lives and reads nothing, to a server that has been restarted. */
static bool beat_after_restart(struct cluster *c, const char *node)
{
    cmd("FCALL crier_beat 4 %s{c}:mark %s{c}:nodes %s{c}:dead %s{c}:holes %s - i 3000 another-run %smark %sn:",
        c->prefix, c->prefix, c->prefix, c->prefix, node, c->prefix, c->prefix);
    return all_there(c);
}

/* What was on its way to a reader when the server died never comes: others store it, though the reader lives. */
static void a_restarted_redis_leaves_holes(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 3);
    UNTIL(&c, readers(&c) == 3);
    c.frozen[0] = true;
    publish_many(&c, 150);
    UNTIL(&c, beat_after_restart(&c, "node-0.x"));
    c.frozen[0] = false;
    expect_all_once(&c);
    close_cluster(&c);
}

/* ---- the audit ---- */

static void tell(struct census *page, const char *user, uint64_t last)
{
    struct census_user *u = &page->v[page->n++];
    u->last = last;
    u->len = (uint8_t)strlen(user);
    memcpy(u->name, user, u->len);
}

static bool is_on(struct cluster *c, const char *user, const char *node)
{
    redisReply *keys = cmd("KEYS %s{*}:m:%s", c->prefix, user);
    if (keys->elements != 1)
        return false;
    redisReply *n = redisCommand(server.c, "HGET %s n", keys->element[0]->str);
    bool on = n->type == REDIS_REPLY_STRING && strstr(n->str, node);
    freeReplyObject(n);
    return on;
}

static void an_audit_mends_what_the_three_views_differ_in(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 1);
    struct bench *b = c.v[0];
    assert_int_equal(b->naudits, 1); /* it follows the join */
    b->store->ops->census(b->store, NULL);
    UNTIL(&c, metric_get(&b->metrics, M_AUDITS) == 1);

    static const char *const users[] = {"missed", "fine", "unsaid", "gone"};
    uint64_t seq[4];
    for (unsigned i = 0; i < 4; i++) {
        bench_attach(b, users[i], "d");
        seq[i] = bench_push(b, TARGET_USER, users[i], "1", NULL, UINT32_MAX)->seq;
    }
    bench_attach(b, "elsewhere", "d");
    for (unsigned i = 0; i < 300; i++) { /* more than a batch and a page */
        char name[16];
        snprintf(name, sizeof(name), "many%u", i);
        bench_attach(b, name, "d");
    }
    UNTIL(&c, b->njobs == 4);
    /* A registration that nobody here knows of, and one that Redis has lost. */
    redisReply *keys = cmd("KEYS %s{*}:m:elsewhere", c.prefix);
    char key[80], set[160];
    snprintf(key, sizeof(key), "%s", keys->element[0]->str);
    snprintf(set, sizeof(set), "%s{%.2s}:o:%s", c.prefix, strchr(key, '{') + 1, b->node);
    bench_detach(b, "elsewhere", "d", true, 0);
    UNTIL(&c, !is_on(&c, "elsewhere", b->node));
    cmd("HSET %s n %s", key, b->node);
    cmd("SADD %s elsewhere", set);
    keys = cmd("KEYS %s{*}:m:fine", c.prefix);
    redisReply *gone = redisCommand(server.c, "HDEL %s n", keys->element[0]->str);
    freeReplyObject(gone);

    cmd("CLIENT KILL TYPE pubsub"); /* joins again, and audits */
    UNTIL(&c, b->naudits == 2);
    struct census *page = calloc(1, sizeof(*page));
    assert_non_null(page);
    tell(page, "missed", seq[0] - 1);
    tell(page, "fine", seq[1]);
    tell(page, "unsaid", CENSUS_HERE);
    tell(page, "unknown", 0); /* a session is here, and the store has forgotten it */
    b->store->ops->census(b->store, page);
    for (unsigned i = 0; i < 300; i++) {
        char name[16];
        if (page->n == CENSUS_USERS || i == 0) {
            b->store->ops->census(b->store, page);
            page->n = 0;
        }
        snprintf(name, sizeof(name), "many%u", i);
        tell(page, name, 0);
    }
    b->store->ops->census(b->store, page);
    free(page);
    bench_attach(b, "late", "d"); /* while the round runs: told of by nobody, and not gone */
    b->nbehind = 0;
    b->store->ops->census(b->store, NULL);
    UNTIL(&c, metric_get(&b->metrics, M_AUDITS) == 2);
    assert_int_equal(b->nbehind, 1);
    assert_string_equal(b->behind_user, "missed");
    assert_int_equal(b->behind_seq, seq[0]);
    UNTIL(&c, !is_on(&c, "gone", b->node) && !is_on(&c, "elsewhere", b->node));
    assert_true(is_on(&c, "missed", b->node) && is_on(&c, "fine", b->node) && is_on(&c, "unsaid", b->node));
    assert_true(is_on(&c, "unknown", b->node) && is_on(&c, "late", b->node));
    assert_true(is_on(&c, "many0", b->node) && is_on(&c, "many299", b->node));
    assert_int_equal(metric_get(&b->metrics, M_AUDIT_MENDED), 3);
    assert_int_equal(bench_push(b, TARGET_USER, "unknown", "1", NULL, UINT32_MAX)->online, 1);
    close_cluster(&c);
}

/* ---- time ---- */

static void steps_of_the_servers_clock_kill_nobody(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 3);
    UNTIL(&c, readers(&c) == 3);
    static const long long steps[] = {-3600000, 3600000, 60000, -60000};
    for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
        /* As if the clock had been elsewhere at the last heartbeat. */
        long long at = strtoll(cmd("HGET %s{c}:mark at", c.prefix)->str, NULL, 10);
        cmd("HSET %s{c}:mark at %lld", c.prefix, at + steps[k]);
        uint64_t end = clock_mono_ms() + 2500;
        while (clock_mono_ms() < end)
            turn(&c);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(metric_get(&c.v[i]->metrics, M_NODES), 3);
    }
    assert_int_equal(sum(&c, M_FENCED), 0);
    publish_many(&c, 50);
    expect_all_once(&c);
    close_cluster(&c);
}

/* A marker from long ago, by the server's clock: claims are too old, and the messages are stored all the same. */
static void a_step_forward_refuses_claims_and_loses_nothing(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 1);
    cmd("PUBLISH %smark %s node-0.x", c.prefix, "1000000");
    publish_many(&c, 30);
    expect_all_once(&c);
    close_cluster(&c);
}

/* Markers follow each other, so that identities stay young. */
static void markers_are_renewed(void **state)
{
    (void)state;
    struct cluster c;
    open_cluster(&c, 2);
    UNTIL(&c, readers(&c) == 2);
    char first[32];
    snprintf(first, sizeof(first), "%s", cmd("HGET %s{c}:mark id", c.prefix)->str);
    uint64_t began = clock_mono_ms();
    UNTIL(&c, strcmp(first, cmd("HGET %s{c}:mark id", c.prefix)->str) != 0);
    assert_true(clock_mono_ms() - began < 8000);
    publish_many(&c, 30);
    expect_all_once(&c);
    close_cluster(&c);
}

/* A name, perhaps with wildcards, runs those tests alone. */
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    log_setup(LOG_ERROR, false, "test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_of_five_read_and_everything_is_stored_once),
        cmocka_unit_test(all_nodes_show_the_same_members),
        cmocka_unit_test(a_live_only_publish_reaches_users_on_nodes_that_do_not_read),
        cmocka_unit_test(a_reader_killed_with_its_share_unstored_costs_nothing),
        cmocka_unit_test(two_of_three_readers_may_die),
        cmocka_unit_test(who_hears_nothing_keeps_nobody_from_reading),
        cmocka_unit_test(what_a_dead_node_had_registered_is_swept),
        cmocka_unit_test(a_name_is_known_before_it_is_used),
        cmocka_unit_test(a_frozen_node_comes_back_as_another_and_stores_nothing_twice),
        cmocka_unit_test(a_reader_that_leaves_loses_nothing_and_nobody_waits),
        cmocka_unit_test(all_subscriptions_cut_at_once_under_load),
        cmocka_unit_test(a_sole_node_loses_nothing_it_has_read),
        cmocka_unit_test(one_cut_reader_leaves_a_hole_that_others_fill),
        cmocka_unit_test(a_killed_redis_and_what_was_read_before),
        cmocka_unit_test(a_restarted_redis_leaves_holes),
        cmocka_unit_test(an_audit_mends_what_the_three_views_differ_in),
        cmocka_unit_test(steps_of_the_servers_clock_kill_nobody),
        cmocka_unit_test(a_step_forward_refuses_claims_and_loses_nothing),
        cmocka_unit_test(markers_are_renewed),
    };
    redis_proc_start(&server);
    int bad = cmocka_run_group_tests_name("the redis store as a cluster", tests, NULL, NULL);
    cmd(NULL);
    redis_proc_stop(&server);
    return bad;
}
