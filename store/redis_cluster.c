/*
 * redis_cluster.c - names, channels, setting a connection up, and what the node knows of the cluster.
 *
 * Idea: after a connection the server's version and run are looked at, then the version of our functions there; older
 * or missing ones are loaded, newer ones kept. Then commands work (redis_beat.c goes on from there).
 *
 * Dispatcher thread.
 */
#include "store/redis_cluster.h"

#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/config.h"
#include "core/hash.h"
#include "core/room_rule.h"
#include "crier_lua.h"
#include "store/redis_beat.h"
#include "store/redis_keys.h"
#include "store/redis_ledger.h"
#include "store/redis_room_query.h"
#include "store/redis_store.h"
#include "store/redis_user_query.h"

enum { OLDEST_REDIS = 7 };

/* ---- names and channels ---- */

/* A name without spaces, control bytes and what has a meaning in markers, since names are kept in lists with spaces
 * between. */
void redis_name_node(struct redis_store *s, bool renew)
{
    char salt[9] = "";
    if (renew)
        random_hex(salt, 4);
    snprintf(s->node, sizeof(s->node), "%.180s%s%s", s->node_base, renew ? "-" : "", salt);
    for (char *p = s->node; *p; p++) {
        if ((unsigned char)*p <= ' ' || *p == 127 || strchr("!=*", *p))
            *p = '_';
    }
}

struct base_channel {
    const char *kind;
    bool named; /* the node's name follows */
};
static const struct base_channel base_channels[] = {{"n:", true}, {"all", false}, {"mark", false}};

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
    for (size_t i = 0; i < ARRAY_LEN(base_channels); i++) {
        struct span name = base_channel(s, &base_channels[i]);
        good = good && name.n && redis_sub_add(s->sub, name, false);
    }
    return good;
}

bool redis_base_confirmed(struct redis_store *s)
{
    for (size_t i = 0; i < ARRAY_LEN(base_channels); i++) {
        if (!redis_sub_confirmed(s->sub, base_channel(s, &base_channels[i])))
            return false;
    }
    return true;
}

bool redis_own_channel_add(struct redis_store *s)
{
    struct span name = base_channel(s, &base_channels[0]);
    return name.n && redis_sub_add(s->sub, name, false);
}

void redis_own_channel_remove(struct redis_store *s)
{
    redis_sub_remove(s->sub, base_channel(s, &base_channels[0]));
}

/* ---- patterns ---- */

static struct span user_pattern(struct redis_store *s)
{
    return base_channel(s, &(const struct base_channel){"user:*", false});
}

/* Both in one command: no message can come between them. */
bool redis_patterns_add(struct redis_store *s)
{
    struct span user = user_pattern(s);
    char *first = user.n ? span_dup(user) : NULL;
    if (!first)
        return false;
    struct span both[2] = {span_str(first), room_pattern(s)};
    bool good = (s->cfg->room_history.n == 0 || both[1].n) && redis_sub_add_patterns(s->sub, both, both[1].n ? 2 : 1);
    free(first);
    return good;
}

void redis_patterns_remove(struct redis_store *s)
{
    redis_sub_remove(s->sub, user_pattern(s));
    struct span rooms = room_pattern(s);
    if (rooms.n)
        redis_sub_remove(s->sub, rooms);
}

bool redis_patterns_confirmed(struct redis_store *s)
{
    return redis_sub_confirmed(s->sub, user_pattern(s)) &&
           (s->cfg->room_history.n == 0 || redis_sub_confirmed(s->sub, room_pattern(s)));
}

/* ---- setup ---- */

/* The number behind "local VERSION = " of our own library. */
static long long our_version(void)
{
    static const char word[] = "\nlocal VERSION = ";
    const char *at = strstr(crier_lua, word);
    return at ? strtoll(at + sizeof(word) - 1, NULL, 10) : 0;
}

void redis_must_send(struct redis_store *s, redis_reply_cb *cb)
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
    resp_str(&s->args, "ledger");
    resp_u64(&s->args, s->cfg->ledger_ttl_s);
    redis_must_send(s, NULL);
}

static void opened(struct redis_store *s)
{
    s->phase = REDIS_OPEN;
    redis_conn_praise(s->cmd);
    write_conf(s);
    if (s->sub_ready)
        redis_join(s);
    else
        redis_beat_now(s); /* it lives, and reads nothing */
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
    redis_must_send(s, on_loaded);
}

/* Each start of the server has a run id of its own. */
static void read_run_id(struct redis_store *s, const struct redisReply *r)
{
    static const char word[] = "run_id:";
    const char *at = strstr(r->str, word);
    at = at ? at + sizeof(word) - 1 : "none";
    snprintf(s->run_id, sizeof(s->run_id), "%.*s", (int)strcspn(at, "\r\n"), at);
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
    read_run_id(s, r);
    redis_fcall(s, "crier_version", 0);
    redis_must_send(s, on_version);
}

void redis_setup(struct redis_store *s)
{
    s->phase = REDIS_SETUP;
    snprintf(s->why, sizeof(s->why), "it is being set up");
    resp_reset(&s->args);
    resp_str(&s->args, "INFO");
    resp_str(&s->args, "server");
    redis_must_send(s, on_info);
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
    case QUERY_MESSAGE:
    case QUERY_UNDELIVERED:
    case QUERY_RETRY:
        redis_ledger_query(s, op);
        return;
    case QUERY_USER:
    case QUERY_INBOX:
    case QUERY_INBOX_CLEAR:
    case QUERY_DISCONNECT:
    case QUERY_ROOM_ADD:
    case QUERY_ROOM_REMOVE:
    case QUERY_ADDRESSES:
    case QUERY_ADDRESSES_SET:
        redis_user_query(s, op);
        return;
    }
    redis_finish(s, op, status, NULL);
}
