/*
 * redis_users.c - the users registered on this node, and keeping Redis' view of them true.
 *
 * Idea: Redis' keys say which nodes a user is on; this table is what this node thinks about it, so that after any loss
 * (connection, FLUSHALL, failover, fencing) everything can be registered again, and `last` tells which users have
 * entries that did not come through: those go upstairs as `behind`.
 *
 * A user lives in the table while a session wants it here (`registered`) or a command under way points to it (`refs`).
 * The table is also kept by partition, since a sync call carries users of one partition only.
 *
 * Dispatcher thread.
 */
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/clock.h"
#include "core/metrics.h"
#include "store/redis_audit.h"
#include "store/redis_keys.h"
#include "store/redis_store.h"
#include "store/redis_users.h"

enum { SYNC_BATCH = 128, SWEEP_COUNT = 500 };

static struct span name_of(const struct ruser *u)
{
    return span_of(u->name, u->len);
}

struct ruser *redis_user(const struct redis_store *s, struct span name)
{
    return map_get(&s->users, name);
}

uint8_t redis_user_part(const struct redis_store *s, struct span name)
{
    const struct ruser *u = redis_user(s, name);
    return u ? u->part : redis_part(name);
}

static struct ruser *add(struct redis_store *s, struct span name)
{
    if (name.n > UINT8_MAX)
        return NULL;
    struct ruser *u = calloc(1, sizeof(*u) + name.n + 1);
    if (!u)
        return NULL;
    u->len = (uint8_t)name.n;
    memcpy(u->name, name.p, name.n);
    redis_hash(name, u->hash);
    u->part = u->hash[0];
    if (!map_put(&s->users, name_of(u), u)) {
        free(u);
        return NULL;
    }
    list_push(&s->parts[u->part], &u->link);
    return u;
}

struct ruser *redis_user_want(struct redis_store *s, struct span name)
{
    struct ruser *u = redis_user(s, name);
    if (!u)
        u = add(s, name);
    if (!u)
        return NULL;
    u->registered = true;
    u->refs++;
    redis_audit_touch(s, u);
    return u;
}

static void release(struct redis_store *s, struct ruser *u)
{
    if (u->registered || u->refs)
        return;
    list_unlink(&u->link);
    map_remove(&s->users, name_of(u));
    free(u);
}

void redis_user_unwant(struct redis_store *s, struct ruser *u)
{
    u->registered = false;
    u->attached = false;
    release(s, u);
}

void redis_user_unref(struct redis_store *s, struct ruser *u)
{
    u->refs--;
    release(s, u);
}

void redis_users_free(struct redis_store *s)
{
    size_t it = 0;
    struct ruser *u;
    while ((u = map_next(&s->users, &it)) != NULL)
        free(u);
    map_fini(&s->users);
}

/* ---- sync ---- */

struct sync {
    uint64_t began_ms;
    unsigned n;
    struct ruser *v[SYNC_BATCH]; /* one reference each */
};

static void take_sync(struct redis_store *s, struct sync *sy, const struct redisReply *r)
{
    for (size_t i = 1; i + 1 < r->elements; i += 2) {
        const struct redisReply *at = r->element[i], *top = r->element[i + 1];
        if (at->type != REDIS_REPLY_INTEGER || top->type != REDIS_REPLY_INTEGER || at->integer < 1 ||
            at->integer > (long long)sy->n || top->integer < 0)
            return;
        struct ruser *u = sy->v[at->integer - 1];
        if ((uint64_t)top->integer <= u->last || !u->registered)
            continue;
        u->last = (uint64_t)top->integer;
        s->up.behind(s->up.arg, name_of(u), u->last);
    }
}

static void on_sync(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct sync *sy = arg;
    metric_set(s->metrics, M_SYNC_MS, clock_mono_ms() - sy->began_ms); /* the last one says how long all took */
    char why[96];
    if (redis_judge(s, r, why, sizeof(why)) == OP_OK && r->type == REDIS_REPLY_ARRAY)
        take_sync(s, sy, r);
    else if (r)
        redis_conn_drop(s->cmd, "the users could not be registered again");
    for (unsigned i = 0; i < sy->n; i++)
        redis_user_unref(s, sy->v[i]);
    free(sy);
}

static void send_sync(struct redis_store *s, struct sync *sy, uint8_t part)
{
    redis_fcall(s, "crier_sync", sy->n + 1);
    redis_key(s, &s->args, part, "o", span_str(s->node));
    for (unsigned i = 0; i < sy->n; i++)
        redis_key(s, &s->args, part, "m", name_of(sy->v[i]));
    resp_str(&s->args, s->node);
    for (unsigned i = 0; i < sy->n; i++) {
        resp_arg(&s->args, name_of(sy->v[i]));
        resp_u64(&s->args, sy->v[i]->last);
    }
    if (redis_send(s, on_sync, sy, true) == REDIS_SENT)
        return;
    redis_conn_drop(s->cmd, "the users could not be registered again");
    for (unsigned i = 0; i < sy->n; i++)
        redis_user_unref(s, sy->v[i]);
    free(sy);
}

static void sync_part(struct redis_store *s, uint8_t part, uint64_t began_ms)
{
    struct list *l = s->parts[part].next;
    while (l != &s->parts[part]) {
        struct sync *sy = malloc(sizeof(*sy));
        if (!sy) {
            redis_conn_drop(s->cmd, "memory is out");
            return;
        }
        sy->n = 0;
        sy->began_ms = began_ms;
        for (; l != &s->parts[part] && sy->n < SYNC_BATCH; l = l->next) {
            struct ruser *u = CONTAINER_OF(l, struct ruser, link);
            if (!u->registered)
                continue;
            u->refs++;
            sy->v[sy->n++] = u;
        }
        if (sy->n == 0)
            free(sy);
        else
            send_sync(s, sy, part);
    }
}

void redis_users_sync(struct redis_store *s)
{
    uint64_t now = clock_mono_ms();
    for (unsigned part = 0; part < REDIS_PARTS && redis_conn_is_up(s->cmd); part++)
        sync_part(s, (uint8_t)part, now);
}

/* ---- goodbye ---- */

static void send_sweep(struct redis_store *s, uint8_t part);

static void on_sweep(void *owner, void *arg, const struct redisReply *r)
{
    bool more = r && r->type == REDIS_REPLY_ARRAY && r->elements > 0 && r->element[0]->type == REDIS_REPLY_INTEGER &&
                r->element[0]->integer > 0;
    if (more)
        send_sweep(owner, (uint8_t)(uintptr_t)arg);
}

static void send_sweep(struct redis_store *s, uint8_t part)
{
    redis_fcall(s, "crier_sweep", 1);
    redis_key(s, &s->args, part, "o", span_str(s->node));
    resp_str(&s->args, s->node);
    resp_u64(&s->args, SWEEP_COUNT);
    redis_key(s, &s->args, part, "m", span_of(NULL, 0));
    if (redis_send(s, on_sweep, (void *)(uintptr_t)part, true) != REDIS_SENT)
        redis_conn_drop(s->cmd, "the users could not be taken back");
}

void redis_users_sweep(struct redis_store *s)
{
    for (unsigned part = 0; part < REDIS_PARTS; part++) {
        if (!list_empty(&s->parts[part]))
            send_sweep(s, (uint8_t)part);
    }
}
