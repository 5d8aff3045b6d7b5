/*
 * redis_ledger.c - writing the ledger.
 *
 * Idea: a message and each of its targets have a hash of their own, in the target's partition, so that storing a
 * message and noting that is one step (crier_send_tracked, redis_push.c). An index hash in the partition of the id
 * names the targets and holds the payload once, for a retry; it is written just before, in the same pipeline: an index
 * entry whose hash is not there says that nothing is known.
 *
 * Events come in batches from the shards. A batch leaves as one call a partition and ends with the last answer; if any
 * of them failed the shard gets it back and offers it again, which at worst counts a written message of a room twice.
 *
 * Dispatcher thread.
 */
#include "store/redis_ledger.h"

#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/config.h"
#include "core/hash.h"
#include "core/metrics.h"
#include "core/op.h"
#include "store/redis_keys.h"
#include "store/redis_store.h"

struct redis_tracked redis_tracked(struct span id, struct span payload)
{
    struct redis_tracked t = {.id = id, .payload = payload};
    uint8_t digest[20];
    sha1(payload, digest);
    for (unsigned i = 0; i < LEDGER_HASH / 2; i++)
        snprintf(t.hash + 2 * i, 3, "%02x", digest[i]);
    return t;
}

static char letter_of(enum target_kind kind)
{
    switch (kind) {
    case TARGET_USER:
        return 'u';
    case TARGET_ROOM:
        return 'r';
    case TARGET_ALL:
        break;
    }
    return 'a';
}

static uint8_t part_of(enum target_kind kind, struct span name, struct span id)
{
    return redis_part(kind == TARGET_ALL ? id : name);
}

static void join_name(const struct redis_store *s, struct resp_args *a, enum target_kind kind, struct span name,
                      struct span id)
{
    char head[32];
    int n = snprintf(head, sizeof(head), "t:%c:%zu:", letter_of(kind), name.n);
    const struct span pieces[] = {span_of(head, (size_t)n), name, SPAN_LIT(":"), id};
    if (s)
        redis_part_join(s, a, part_of(kind, name, id), pieces, ARRAY_LEN(pieces));
    else
        resp_join(a, pieces, ARRAY_LEN(pieces));
}

void redis_ledger_key(const struct redis_store *s, struct resp_args *a, enum target_kind kind, struct span name,
                      struct span id)
{
    join_name(s, a, kind, name, id);
}

void redis_ledger_name(struct resp_args *a, enum target_kind kind, struct span name, struct span id)
{
    join_name(NULL, a, kind, name, id);
}

/* ---- the index ---- */

static void on_noted(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    char why[96];
    (void)arg;
    if (redis_judge(s, r, why, sizeof(why)) != OP_OK)
        metric_add(s->metrics, M_LEDGER_DROPPED, 1);
    else if (r->type == REDIS_REPLY_INTEGER && r->integer > 1)
        metric_add(s->metrics, M_LEDGER_DROPPED, (uint64_t)r->integer);
}

static void send_note(struct redis_store *s)
{
    if (redis_send(s, on_noted, NULL, false) != REDIS_SENT)
        metric_add(s->metrics, M_LEDGER_DROPPED, 1);
}

void redis_ledger_open(struct redis_store *s, const struct redis_tracked *t)
{
    redis_fcall(s, "crier_track_open", 1);
    redis_key(s, &s->args, redis_part(t->id), "x", t->id);
    resp_u64(&s->args, (uint64_t)s->cfg->ledger_ttl_s + t->more_s);
    resp_str(&s->args, t->hash);
    resp_arg(&s->args, t->payload);
}

void redis_ledger_target(struct redis_store *s, enum target_kind kind, struct span name)
{
    const char letter[] = {letter_of(kind), ':'};
    const struct span pieces[] = {span_of(letter, 2), name};
    resp_join(&s->args, pieces, ARRAY_LEN(pieces));
}

void redis_ledger_opened(struct redis_store *s)
{
    send_note(s);
}

void redis_ledger_open_one(struct redis_store *s, const struct redis_tracked *t, enum target_kind kind,
                           struct span name)
{
    redis_ledger_open(s, t);
    redis_ledger_target(s, kind, name);
    redis_ledger_opened(s);
}

void redis_ledger_begin(struct redis_store *s, const struct redis_tracked *t, enum target_kind kind, struct span name)
{
    redis_fcall(s, "crier_track_begin", 1);
    redis_ledger_key(s, &s->args, kind, name, t->id);
    resp_u64(&s->args, s->cfg->ledger_ttl_s);
    resp_str(&s->args, t->hash);
    resp_str(&s->args, s->node);
    resp_u64(&s->args, 0);
    send_note(s);
}

void redis_ledger_seen(struct redis_store *s, const struct job *j, struct span payload)
{
    if (!redis_store_usable(s))
        return;
    struct redis_tracked t = redis_tracked(j->head.id, payload);
    redis_ledger_open_one(s, &t, j->head.kind, j->head.target);
    redis_ledger_begin(s, &t, j->head.kind, j->head.target);
}

/* ---- events ---- */

struct tracking {
    struct op *op;
    unsigned left; /* calls under way, and one for whoever is still sending */
    enum op_status status;
    char why[96];
};

struct placed {
    const struct track_event *e;
    uint8_t part;
};

static void end_call(struct redis_store *s, struct tracking *t, bool in_submit)
{
    if (--t->left > 0)
        return;
    if (t->status == OP_OK)
        metric_add(s->metrics, M_LEDGER_EVENTS, t->op->track.n);
    if (in_submit)
        redis_finish(s, t->op, t->status, t->why);
    else
        redis_finish_now(s, t->op, t->status, t->why);
    free(t);
}

static void on_tracked(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct tracking *t = arg;
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (status != OP_OK) {
        t->status = status;
        snprintf(t->why, sizeof(t->why), "%s", why);
    }
    end_call(s, t, false);
}

static void arg_event(struct resp_args *a, const struct track_event *e)
{
    struct span device = span_str(e->device);
    bool counted = e->job->head.kind != TARGET_USER;
    switch (e->what) {
    case TRACK_WRITTEN:
        resp_str(a, counted ? "W" : "w");
        resp_arg(a, device);
        resp_u64(a, e->at_ms);
        resp_u64(a, counted ? e->count : e->arrived_ms);
        break;
    case TRACK_ACKED:
        resp_str(a, "a");
        resp_arg(a, device);
        resp_u64(a, e->at_ms);
        resp_str(a, "");
        break;
    case TRACK_DROPPED:
        resp_str(a, counted ? "X" : "x");
        resp_arg(a, counted ? span_str(e->why) : device);
        resp_u64(a, e->at_ms);
        if (counted)
            resp_u64(a, e->count);
        else
            resp_str(a, e->why);
        break;
    }
}

static void send_events(struct redis_store *s, struct tracking *t, const struct placed *v, size_t n)
{
    redis_fcall(s, "crier_track", (unsigned)n);
    for (size_t i = 0; i < n; i++) {
        const struct job_head *h = &v[i].e->job->head;
        redis_ledger_key(s, &s->args, h->kind, h->target, h->id);
    }
    resp_str(&s->args, s->node);
    resp_u64(&s->args, t->op->shard);
    for (size_t i = 0; i < n; i++)
        arg_event(&s->args, v[i].e);
    t->left++;
    enum redis_sent sent = redis_send(s, on_tracked, t, false);
    if (sent == REDIS_SENT)
        return;
    t->left--;
    t->status = sent == REDIS_TOO_MUCH ? OP_FULL : OP_AWAY;
}

/* Events of one message and device stay in their order. */
static int by_partition(const void *pa, const void *pb)
{
    const struct placed *a = pa, *b = pb;
    if (a->part != b->part)
        return a->part < b->part ? -1 : 1;
    return a->e < b->e ? -1 : a->e > b->e;
}

void redis_track(struct redis_store *s, struct op *op)
{
    size_t n = op->track.n;
    if (!redis_store_usable(s)) {
        redis_finish(s, op, OP_AWAY, "Redis is away.");
        return;
    }
    struct placed *v = malloc((n ? n : 1) * sizeof(*v));
    struct tracking *t = calloc(1, sizeof(*t));
    if (!v || !t) {
        free(v);
        free(t);
        redis_finish(s, op, OP_FULL, "Memory is out.");
        return;
    }
    *t = (struct tracking){.op = op, .left = 1};
    for (size_t i = 0; i < n; i++) {
        const struct job_head *h = &op->track.v[i].job->head;
        v[i] = (struct placed){&op->track.v[i], part_of(h->kind, h->target, h->id)};
    }
    qsort(v, n, sizeof(*v), by_partition);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && v[end].part == v[i].part;)
            end++;
        send_events(s, t, v + i, end - i);
    }
    free(v);
    end_call(s, t, true);
}
