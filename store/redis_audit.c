/*
 * redis_audit.c - the audit.
 *
 * Idea: three views of who is on this node have to agree: the sessions (known to the shards alone), the table of users
 * here, and Redis' keys. A round asks the shards for all their users and what each has got, then walks the partitions:
 *   registered here, told of by a shard     Redis is asked, by crier_sync, in batches of one partition: it registers
 *                                           the user again should that be lost, and names those with more than they
 * got: they are `behind` registered here, told of by no shard    stale: a detach was lost. Taken back registered in
 * Redis for this node,      a stray: found when a partition's set is larger than our list, by reading not here the set
 * page by page. Taken back A user who is told of and not registered here is registered.
 *
 * A round began with a number; a user that is wanted during the round gets that number too, so nobody who comes while
 * it runs is taken for gone. One command is under way at a time: an audit costs Redis little and nobody waits for it. A
 * lost connection ends the round; the next join begins another.
 *
 * Dispatcher thread. A batch holds a reference to each of its users.
 */
#include "store/redis_audit.h"

#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/census.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/metrics.h"
#include "store/redis_keys.h"
#include "store/redis_rooms.h"
#include "store/redis_store.h"
#include "store/redis_users.h"

enum { EVERY_MS = 60000, JITTER_MS = 5000, PATIENCE_MS = 30000, BATCH = 128, SCAN_COUNT = 200 };

enum audit_phase { AUDIT_IDLE, AUDIT_ASKING, AUDIT_WALKING };

struct redis_audit {
    enum audit_phase phase;
    uint32_t round;
    uint64_t due_ms, began_ms;
    unsigned part;
};

struct batch {
    uint32_t round;
    unsigned n;
    struct ruser *v[BATCH]; /* one reference each */
};

static void walk(struct redis_store *s);

/* ---- the shards' answers ---- */

void redis_audit_touch(struct redis_store *s, struct ruser *u)
{
    u->round = s->audit->round;
    u->seen = CENSUS_HERE;
}

static void take_user(struct redis_store *s, const struct census_user *c)
{
    struct span name = span_of(c->name, c->len);
    struct ruser *u = redis_user(s, name);
    if (!u || !u->registered) {
        if (c->last == CENSUS_HERE || !(u = redis_user_want(s, name)))
            return; /* its attach is under way, or will be */
        u->attached = true;
        redis_user_unref(s, u);
        metric_add(s->metrics, M_AUDIT_MENDED, 1);
    }
    u->round = s->audit->round;
    u->seen = c->last;
}

void redis_audit_census(struct redis_store *s, const struct census *page)
{
    struct redis_audit *a = s->audit;
    if (a->phase != AUDIT_ASKING)
        return;
    for (unsigned i = 0; page && i < page->n; i++)
        take_user(s, &page->v[i]);
    if (page)
        return;
    a->phase = AUDIT_WALKING;
    a->part = 0;
    walk(s);
}

/* ---- strays ---- */

static void next_part(struct redis_store *s)
{
    s->audit->part++;
    walk(s);
}

static void on_scanned(void *owner, void *arg, const struct redisReply *r);

static void scan(struct redis_store *s, const char *cursor)
{
    char count[16];
    snprintf(count, sizeof(count), "%d", SCAN_COUNT);
    resp_reset(&s->args);
    resp_str(&s->args, "SSCAN");
    redis_key(s, &s->args, (uint8_t)s->audit->part, "o", span_str(s->node));
    resp_str(&s->args, cursor);
    resp_str(&s->args, "COUNT");
    resp_str(&s->args, count);
    if (redis_send(s, on_scanned, (void *)(uintptr_t)s->audit->round, true) != REDIS_SENT)
        s->audit->phase = AUDIT_IDLE;
}

static void take_strays(struct redis_store *s, const struct redisReply *names)
{
    for (size_t i = 0; i < names->elements; i++) {
        const struct redisReply *e = names->element[i];
        if (e->type != REDIS_REPLY_STRING || e->len > CENSUS_NAME)
            continue;
        struct ruser *u = redis_user(s, span_of(e->str, (size_t)e->len));
        if (u && (u->registered || u->refs))
            continue;
        metric_add(s->metrics, M_AUDIT_MENDED, 1);
        redis_unregister(s, e->str);
    }
}

/* {cursor, {name...}} */
static void on_scanned(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct redis_audit *a = s->audit;
    if (a->phase != AUDIT_WALKING || a->round != (uint32_t)(uintptr_t)arg)
        return;
    if (!r || r->type != REDIS_REPLY_ARRAY || r->elements != 2 || r->element[0]->type != REDIS_REPLY_STRING ||
        r->element[1]->type != REDIS_REPLY_ARRAY) {
        a->phase = AUDIT_IDLE;
        return;
    }
    take_strays(s, r->element[1]);
    if (strcmp(r->element[0]->str, "0") != 0)
        scan(s, r->element[0]->str);
    else
        next_part(s);
}

/* ---- the walk ---- */

static void let_go(struct redis_store *s, struct batch *b)
{
    for (unsigned i = 0; i < b->n; i++)
        redis_user_unref(s, b->v[i]);
    free(b);
}

static void compare(struct redis_store *s, const struct batch *b, const struct redisReply *r)
{
    for (size_t i = 1; i + 1 < r->elements; i += 2) {
        const struct redisReply *at = r->element[i], *top = r->element[i + 1];
        if (at->type != REDIS_REPLY_INTEGER || top->type != REDIS_REPLY_INTEGER || at->integer < 1 ||
            at->integer > (long long)b->n || top->integer < 0)
            return;
        struct ruser *u = b->v[at->integer - 1];
        uint64_t seq = (uint64_t)top->integer;
        if (!u->registered)
            continue;
        if (seq > u->last)
            u->last = seq;
        metric_add(s->metrics, M_AUDIT_BEHIND, 1);
        s->up.behind(s->up.arg, span_of(u->name, u->len), seq);
    }
}

static unsigned registered_in(const struct redis_store *s, unsigned part)
{
    unsigned n = 0;
    for (struct list *l = s->parts[part].next; l != &s->parts[part]; l = l->next)
        n += CONTAINER_OF(l, struct ruser, link)->registered;
    return n;
}

/* {size of the set, index, top, index, top...} */
static void on_compared(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct redis_audit *a = s->audit;
    struct batch *b = arg;
    unsigned n = b->n;
    bool good = r && r->type == REDIS_REPLY_ARRAY && r->elements > 0 && r->element[0]->type == REDIS_REPLY_INTEGER;
    bool ours = a->phase == AUDIT_WALKING && a->round == b->round;
    if (good)
        compare(s, b, r);
    let_go(s, b);
    if (!ours)
        return;
    if (!good)
        a->phase = AUDIT_IDLE;
    else if (n == BATCH)
        walk(s); /* perhaps there are more in this partition */
    else if (r->element[0]->integer > (long long)registered_in(s, a->part))
        scan(s, "0");
    else
        next_part(s);
}

/* Those of the partition that have not been looked at in this round. Stale ones are taken back on the way. */
static struct batch *collect(struct redis_store *s)
{
    struct redis_audit *a = s->audit;
    struct batch *b = malloc(sizeof(*b));
    if (!b)
        return NULL;
    *b = (struct batch){.round = a->round};
    struct list *l = s->parts[a->part].next;
    while (l != &s->parts[a->part] && b->n < BATCH) {
        struct ruser *u = CONTAINER_OF(l, struct ruser, link);
        l = l->next;
        if (!u->registered || u->checked == a->round)
            continue;
        if (u->round == a->round) {
            u->checked = a->round;
            u->refs++;
            b->v[b->n++] = u;
        } else if (u->refs == 0) {
            char name[UINT8_MAX + 1];
            memcpy(name, u->name, u->len);
            name[u->len] = '\0';
            metric_add(s->metrics, M_AUDIT_MENDED, 1);
            redis_user_unwant(s, u);
            redis_unregister(s, name);
        }
    }
    return b;
}

static void finish(struct redis_store *s)
{
    struct redis_audit *a = s->audit;
    a->phase = AUDIT_IDLE;
    metric_add(s->metrics, M_AUDITS, 1);
    metric_set(s->metrics, M_AUDIT_MS, clock_mono_ms() - a->began_ms);
    redis_rooms_sync(s);
}

static void walk(struct redis_store *s)
{
    struct redis_audit *a = s->audit;
    if (a->part == REDIS_PARTS) {
        finish(s);
        return;
    }
    struct batch *b = collect(s);
    if (!b) {
        a->phase = AUDIT_IDLE;
        return;
    }
    uint8_t part = (uint8_t)a->part;
    redis_fcall(s, "crier_sync", b->n + 1);
    redis_key(s, &s->args, part, "o", span_str(s->node));
    for (unsigned i = 0; i < b->n; i++)
        redis_key(s, &s->args, part, "m", span_of(b->v[i]->name, b->v[i]->len));
    resp_str(&s->args, s->node);
    for (unsigned i = 0; i < b->n; i++) {
        resp_arg(&s->args, span_of(b->v[i]->name, b->v[i]->len));
        resp_u64(&s->args, b->v[i]->seen);
    }
    if (redis_send(s, on_compared, b, true) == REDIS_SENT)
        return;
    a->phase = AUDIT_IDLE;
    let_go(s, b);
}

/* ---- rounds ---- */

void redis_audit_begin(struct redis_store *s)
{
    struct redis_audit *a = s->audit;
    uint64_t now = clock_mono_ms();
    a->due_ms = now + EVERY_MS + random_below(JITTER_MS);
    if (!s->up.audit)
        return;
    a->round++;
    a->phase = AUDIT_ASKING;
    a->began_ms = now;
    s->up.audit(s->up.arg);
}

void redis_audit_tick(struct redis_store *s)
{
    const struct redis_audit *a = s->audit;
    uint64_t now = clock_mono_ms();
    if (a->due_ms && now >= a->due_ms && (a->phase == AUDIT_IDLE || now - a->began_ms > PATIENCE_MS))
        redis_audit_begin(s);
}

struct redis_audit *redis_audit_new(void)
{
    return calloc(1, sizeof(struct redis_audit));
}

void redis_audit_free(struct redis_audit *a)
{
    free(a);
}
