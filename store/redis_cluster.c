/*
 * redis_cluster.c - being a node among nodes: setting Redis up, heartbeat, markers, the probe, the goodbye.
 *
 * Idea: after a connection the server's version is looked at, then the version of our functions there; older or missing
 * ones are loaded, newer ones kept. Then, once the subscription stands too, the node joins:
 *   heartbeat -> (fenced? take a new incarnation and subscribe to its channel, then join again)
 *             -> detaches kept meanwhile -> sync of all local users -> a marker, so that the raw messages of this
 *                subscription can be placed -> the first probe.
 * All of it goes through one queue, so it is carried out in this order, before anything the shards ask next.
 *
 * The heartbeat repeats every REDIS_TICK_MS; the very call that finds a node dead tells everybody by a marker. The
 * node's name lives in s->node alone: whoever was declared dead goes on under a new one, and what was registered under
 * the old one is swept by others without touching the new.
 *
 * Dispatcher thread.
 */
#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/hash.h"
#include "core/metrics.h"
#include "core/room_rule.h"
#include "crier_lua.h"
#include "store/redis_keys.h"
#include "store/redis_presence.h"
#include "store/redis_room_query.h"
#include "store/redis_rooms.h"
#include "store/redis_store.h"
#include "store/redis_users.h"

enum { OLDEST_REDIS = 7, MAX_NODES = 1024 };

/* ---- names and channels ---- */

/* A name without spaces and control bytes, since names are kept in lists with spaces between. */
void redis_name_node(struct redis_store *s, bool renew)
{
    char salt[9] = "";
    if (renew)
        random_hex(salt, 4);
    snprintf(s->node, sizeof(s->node), "%.180s%s%s", s->node_base, renew ? "-" : "", salt);
    for (char *p = s->node; *p; p++) {
        if ((unsigned char)*p <= ' ' || *p == 127)
            *p = '_';
    }
}

struct base_channel {
    const char *kind;
    bool named, pattern;
};
static const struct base_channel base_channels[] = {
    {"n:", true, false}, {"all", false, false}, {"mark", false, false}, {"user:*", false, true}};

/* Borrowed from s->args until the next command is built. */
static struct span base_channel(struct redis_store *s, const struct base_channel *ch)
{
    resp_reset(&s->args);
    bool good = buf_append_str(&s->args.b, s->cfg->prefix) && buf_append_str(&s->args.b, ch->kind) &&
                (!ch->named || buf_append_str(&s->args.b, s->node));
    return good ? buf_span(&s->args.b) : span_of(NULL, 0);
}

/* What is published to rooms with history comes by one pattern: that of the one rule, with what is special to Redis'
 * globs and not to ours masked, and its "?" (a byte there, a character here) made wider; or, with several rules, since
 * a room that two patterns fit would come twice, one for all rooms (no name holds a line feed, so no room is called
 * like it). Borrowed from s->args until the next command is built; empty: there is no such rule, or memory is out. */
static struct span room_pattern(struct redis_store *s)
{
    struct room_rule rule;
    struct buf *b = &s->args.b;
    resp_reset(&s->args);
    if (s->cfg->room_history.n == 0)
        return span_of(NULL, 0);
    bool good = buf_append_str(b, s->cfg->prefix) && buf_append_str(b, "room:");
    if (s->cfg->room_history.n > 1 || !room_rule_parse(s->cfg->room_history.v[0], &rule))
        return good && buf_append_str(b, "[^\n]*") ? buf_span(b) : span_of(NULL, 0);
    for (size_t i = 0; i < rule.pattern.n; i++) {
        uint8_t c = rule.pattern.p[i];
        good = good && (!memchr("[]\\", c, 3) || buf_append_byte(b, '\\')) && buf_append_byte(b, c == '?' ? '*' : c);
    }
    return good ? buf_span(b) : span_of(NULL, 0);
}

bool redis_subscribe_base(struct redis_store *s)
{
    bool good = true;
    struct span rooms = room_pattern(s);
    if (s->cfg->room_history.n)
        good = rooms.n && redis_sub_add(s->sub, rooms, true);
    for (size_t i = 0; i < ARRAY_LEN(base_channels); i++) {
        struct span name = base_channel(s, &base_channels[i]);
        good = good && name.n && redis_sub_add(s->sub, name, base_channels[i].pattern);
    }
    return good;
}

bool redis_base_confirmed(struct redis_store *s)
{
    for (size_t i = 0; i < ARRAY_LEN(base_channels); i++) {
        if (!redis_sub_confirmed(s->sub, base_channel(s, &base_channels[i])))
            return false;
    }
    return s->cfg->room_history.n == 0 || redis_sub_confirmed(s->sub, room_pattern(s));
}

/* ---- setup ---- */

/* The number behind "local VERSION = " of our own library. */
static long long our_version(void)
{
    static const char word[] = "\nlocal VERSION = ";
    const char *at = strstr(crier_lua, word);
    return at ? strtoll(at + sizeof(word) - 1, NULL, 10) : 0;
}

static void must_send(struct redis_store *s, redis_reply_cb *cb)
{
    if (redis_send(s, cb, NULL, false) == REDIS_TOO_MUCH)
        redis_conn_drop(s->cmd, "too much is waiting");
}

/* True when the reply is good; otherwise the connection is given up with a sentence. */
static bool setup_good(struct redis_store *s, const char *step, const struct redisReply *r)
{
    if (!r)
        redis_conn_drop(s->cmd, "no answer while setting up");
    if (!r || r->type != REDIS_REPLY_ERROR)
        return r != NULL;
    char why[150];
    snprintf(why, sizeof(why), "%s failed: %.110s", step, r->str);
    redis_conn_drop(s->cmd, why);
    return false;
}

/* What crier_user takes as defaults, for backends that call it. */
static void write_conf(struct redis_store *s)
{
    resp_reset(&s->args);
    resp_str(&s->args, "HSET");
    redis_cluster_key(s, &s->args, "conf");
    resp_str(&s->args, "cap");
    resp_u64(&s->args, s->cfg->inbox_cap);
    resp_str(&s->args, "ttl");
    resp_u64(&s->args, s->cfg->ttl_s);
    resp_str(&s->args, "max");
    resp_u64(&s->args, s->cfg->max_payload);
    must_send(s, NULL);
}

static void opened(struct redis_store *s)
{
    s->phase = REDIS_OPEN;
    redis_conn_praise(s->cmd);
    write_conf(s);
    if (s->sub_ready)
        redis_join(s);
}

static void on_loaded(void *owner, void *arg, const struct redisReply *r)
{
    (void)arg;
    struct redis_store *s = owner;
    if (setup_good(s, "FUNCTION LOAD", r))
        opened(s);
}

static void on_version(void *owner, void *arg, const struct redisReply *r)
{
    (void)arg;
    struct redis_store *s = owner;
    enum redis_fault fault = redis_fault_of(r);
    long long there = 0;
    if (fault == REDIS_FINE && r->type == REDIS_REPLY_INTEGER)
        there = r->integer;
    else if (fault != REDIS_NO_FUNCTION && !setup_good(s, "crier_version", r))
        return;
    if (there >= our_version()) {
        if (there > our_version())
            log_line(LOG_INFO, "redis", "functions of version %lld are loaded, newer than ours: kept", there);
        opened(s);
        return;
    }
    resp_reset(&s->args);
    resp_str(&s->args, "FUNCTION");
    resp_str(&s->args, "LOAD");
    resp_str(&s->args, "REPLACE");
    resp_str(&s->args, crier_lua);
    must_send(s, on_loaded);
}

static void on_info(void *owner, void *arg, const struct redisReply *r)
{
    (void)arg;
    struct redis_store *s = owner;
    if (!setup_good(s, "INFO", r))
        return;
    static const char word[] = "redis_version:";
    const char *at = r->type == REDIS_REPLY_STRING ? strstr(r->str, word) : NULL;
    long major = at ? strtol(at + sizeof(word) - 1, NULL, 10) : 0;
    if (major < OLDEST_REDIS) {
        char why[120];
        snprintf(why, sizeof(why), "this Redis is version %.20s, Crier needs 7.0 or newer",
                 at ? at + sizeof(word) - 1 : "unknown");
        why[strcspn(why, "\r\n")] = '\0';
        log_limited(&s->noise, 3, LOG_ERROR, "redis", "this Redis is too old: Crier needs version 7.0 or newer");
        redis_conn_drop(s->cmd, why);
        return;
    }
    redis_fcall(s, "crier_version", 0);
    must_send(s, on_version);
}

void redis_setup(struct redis_store *s)
{
    s->phase = REDIS_SETUP;
    snprintf(s->why, sizeof(s->why), "it is being set up");
    resp_reset(&s->args);
    resp_str(&s->args, "INFO");
    resp_str(&s->args, "server");
    must_send(s, on_info);
}

/* ---- heartbeat ---- */

static void send_probe(struct redis_store *s)
{
    char text[24];
    snprintf(text, sizeof(text), "P%llu", (unsigned long long)clock_mono_us());
    resp_reset(&s->args);
    resp_str(&s->args, "PUBLISH");
    redis_channel(s, &s->args, "n:", span_str(s->node));
    resp_str(&s->args, text);
    must_send(s, NULL);
}

void redis_on_probe(struct redis_store *s, struct span text)
{
    uint64_t sent = 0;
    for (size_t i = 1; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++)
        sent = sent * 10 + (uint64_t)(text.p[i] - '0');
    uint64_t now = clock_mono_us();
    if (sent > now || now - sent > REDIS_PROBE_MS * 1000ull)
        return;
    s->probe_back_ms = now / 1000;
    metric_set(s->metrics, M_REDIS_PROBE_US, now - sent);
    redis_tell(s);
}

static void send_marker(struct redis_store *s)
{
    redis_fcall(s, "crier_mark", 2);
    redis_cluster_key(s, &s->args, "mark");
    redis_cluster_key(s, &s->args, "nodes");
    redis_channel(s, &s->args, "mark", span_of(NULL, 0));
    must_send(s, NULL);
}

static void fenced(struct redis_store *s)
{
    char old[sizeof(s->node)];
    memcpy(old, s->node, sizeof(old));
    redis_sub_remove(s->sub, base_channel(s, &base_channels[0]));
    redis_name_node(s, true);
    log_line(LOG_WARN, "redis", "the cluster took %s for dead: going on as %s", old, s->node);
    s->sub_ready = false;
    s->joined = false;
    s->marked = false;
    s->member = false;
    s->probe_back_ms = 0;
    struct span channel = base_channel(s, &base_channels[0]);
    if (!channel.n || !redis_sub_add(s->sub, channel, false))
        redis_sub_restart(s->sub, "memory is out");
    redis_tell(s);
}

static void read_members(struct redis_store *s, const struct redisReply *r)
{
    members_clear(&s->members);
    for (size_t i = 0; i + 1 < r->elements; i += 2) {
        const struct redisReply *name = r->element[i], *info = r->element[i + 1];
        if (name->type != REDIS_REPLY_STRING || info->type != REDIS_REPLY_STRING)
            continue;
        struct member *m = members_add(&s->members, span_of(name->str, (size_t)name->len));
        if (m)
            member_read_info(m, span_of(info->str, (size_t)info->len));
    }
}

/* {state, {live...}, {dead...}}: false when the connection is to be given up. */
static bool read_beat(struct redis_store *s, const struct redisReply *r)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 3 || r->element[0]->type != REDIS_REPLY_INTEGER ||
        r->element[1]->type != REDIS_REPLY_ARRAY)
        return false;
    if (r->element[0]->integer == 1) {
        if (s->phase == REDIS_OPEN)
            fenced(s);
        return true;
    }
    metric_set(s->metrics, M_NODES, r->element[1]->elements / 2);
    read_members(s, r->element[1]);
    return true;
}

static void on_beat(void *owner, void *arg, const struct redisReply *r)
{
    (void)arg;
    struct redis_store *s = owner;
    char why[96];
    if (redis_judge(s, r, why, sizeof(why)) == OP_OK && !read_beat(s, r))
        redis_conn_drop(s->cmd, "a heartbeat had a strange answer");
}

/* What the node says of itself to the others, as one argument. */
static void arg_about(struct redis_store *s)
{
    struct store_about about = {.address = "-"};
    struct buf info;
    if (s->up.about)
        s->up.about(s->up.arg, &about);
    buf_init(&info, 1024);
    if (member_write_info(&about, &info))
        resp_arg(&s->args, buf_span(&info));
    else
        resp_str(&s->args, "v=" CRIER_VERSION);
    buf_fini(&info);
}

static void send_beat(struct redis_store *s, redis_reply_cb *cb)
{
    redis_fcall(s, "crier_beat", 3);
    redis_cluster_key(s, &s->args, "mark");
    redis_cluster_key(s, &s->args, "nodes");
    redis_cluster_key(s, &s->args, "dead");
    resp_str(&s->args, s->node);
    arg_about(s);
    resp_u64(&s->args, REDIS_DEAD_MS);
    redis_channel(s, &s->args, "mark", span_of(NULL, 0));
    must_send(s, cb);
}

/* ---- joining ---- */

static void on_join_beat(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    on_beat(owner, arg, r);
    if (redis_fault_of(r) != REDIS_FINE) {
        redis_conn_drop(s->cmd, "the node could not join");
        return;
    }
    if (s->phase != REDIS_OPEN || !s->sub_ready)
        return; /* fenced, or the subscription went meanwhile: the next confirmation joins */
    s->joined = true;
    redis_kept_flush(s);
    redis_users_sync(s);
    redis_rooms_sync(s);
    redis_presence_sync(s);
    redis_watch_sync(s);
    send_marker(s);
    send_probe(s);
    redis_tell(s);
}

void redis_join(struct redis_store *s)
{
    send_beat(s, on_join_beat);
}

void redis_tick(struct redis_store *s)
{
    uint64_t now = clock_mono_ms();
    redis_tell(s);
    redis_watch_tick(s);
    if (s->phase != REDIS_OPEN || !s->sub_ready || !s->joined)
        return;
    send_beat(s, on_beat);
    send_probe(s);
    redis_kept_flush(s);
    redis_presence_flush(s);
    redis_held_flush(s);
    uint64_t heard = s->probe_back_ms > s->sub_since_ms ? s->probe_back_ms : s->sub_since_ms;
    if (now - heard > REDIS_PROBE_MS)
        redis_sub_restart(s->sub, "the node's own probe does not come back");
}

/* ---- markers ---- */

static struct span next_word(struct span *text)
{
    while (text->n && *text->p == ' ')
        *text = span_of(text->p + 1, text->n - 1);
    size_t n = 0;
    while (n < text->n && text->p[n] != ' ')
        n++;
    struct span word = span_of(text->p, n);
    *text = span_of(text->p + n, text->n - n);
    return word;
}

/* Rendezvous: the node with the highest hash of (node, partition). The key is fixed: all nodes have to agree. */
static uint64_t weight(struct span node, unsigned part)
{
    const uint64_t key[2] = {UINT64_C(0x637269657220696e), UINT64_C(0x6765737400000000) + part};
    return siphash13(key, node);
}

void redis_on_marker(struct redis_store *s, struct span text)
{
    uint64_t best[REDIS_PARTS] = {0};
    unsigned n = 0;
    bool among = false;
    (void)next_word(&text); /* the marker's number */
    memset(s->mine, 0, sizeof(s->mine));
    for (struct span node; n < MAX_NODES && (node = next_word(&text)).n > 0; n++) {
        bool me = span_eq(node, span_str(s->node));
        among |= me;
        for (unsigned part = 0; part < REDIS_PARTS; part++) {
            uint64_t w = weight(node, part);
            if (w <= best[part])
                continue;
            best[part] = w;
            s->mine[part] = me;
        }
    }
    if (!among)
        return; /* made before this node joined, or after it left: nothing is ours; one that names us follows */
    s->alone = n == 1;
    s->marked = true;
    redis_held_flush(s);
    s->member = true;
}

/* ---- questions ---- */

void redis_query(struct redis_store *s, struct op *op)
{
    enum op_status status = OP_AWAY;
    if (!redis_store_usable(s)) {
        char why[96];
        snprintf(why, sizeof(why), "Redis is away: %.70s", s->why);
        redis_finish(s, op, OP_AWAY, why);
        return;
    }
    switch (op->query.kind) {
    case QUERY_NODES:
    case QUERY_STATS:
        status = members_answer(&s->members, s->node, op);
        break;
    case QUERY_ROOMS:
    case QUERY_ROOM:
    case QUERY_ROOM_HISTORY:
    case QUERY_ROOM_PRESENCE:
        redis_room_query(s, op);
        return;
    }
    redis_finish(s, op, status, NULL);
}

/* ---- the goodbye ---- */

void redis_goodbye(struct redis_store *s)
{
    redis_batch_flush(s);
    if (!redis_store_usable(s) || s->phase == REDIS_LEAVING)
        return;
    redis_kept_flush(s);
    redis_users_sweep(s);
    redis_rooms_sweep(s);
    redis_presence_sweep(s);
    redis_fcall(s, "crier_leave", 3);
    redis_cluster_key(s, &s->args, "mark");
    redis_cluster_key(s, &s->args, "nodes");
    redis_cluster_key(s, &s->args, "dead");
    resp_str(&s->args, s->node);
    redis_channel(s, &s->args, "mark", span_of(NULL, 0));
    must_send(s, NULL);
    s->phase = REDIS_LEAVING;
}
