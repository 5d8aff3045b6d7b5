/*
 * sweep.c - the walk over the partitions.
 *
 * Idea: each round asks all partitions how many wait there (ZCARD: next to nothing, and the gauge of what is pending
 * comes with it), and those where any do for what is due. A call that claims reserves its limit beforehand, so that all
 * claims together never exceed the room: what was claimed can be sent at once, well within its lease. A partition that
 * gave as much as was asked for is asked again; where the room ends the walk waits for an attempt to end.
 */
#include "cmd/crier-relay/sweep.h"

#include <hiredis/hiredis.h>

#include "cmd/crier-relay/attempt.h"
#include "cmd/crier-relay/relay.h"

void sweep_init(struct sweep *w, struct relay *r)
{
    *w = (struct sweep){.r = r};
    for (unsigned i = 0; i < LEDGER_PARTS; i++)
        w->slot[i] = (struct slot){.sweep = w, .part = (uint8_t)i};
}

static void want(struct sweep *w, struct slot *s, bool ask)
{
    w->asks += ask && !s->ask;
    w->asks -= !ask && s->ask;
    s->ask = ask;
}

/* The names behind the claim, as attempts. */
static unsigned start_attempts(struct relay *r, const redisReply *reply)
{
    unsigned started = 0;
    for (size_t i = 1; i < reply->elements; i++) {
        const redisReply *name = reply->element[i];
        if (name->type == REDIS_REPLY_STRING)
            started += attempt_start(r, span_of(name->str, name->len), (uint64_t)reply->element[0]->integer);
    }
    return started;
}

static void on_due(void *owner, void *arg, const struct redisReply *reply)
{
    struct relay *r = owner;
    struct slot *s = arg;
    struct sweep *w = s->sweep;
    unsigned limit = s->reserved;
    w->reserved -= limit;
    s->reserved = 0;
    bool good = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
                reply->element[0]->type == REDIS_REPLY_INTEGER;
    want(w, s, good && reply->elements > limit);
    if (r->closing)
        return;
    if (good)
        start_attempts(r, reply);
    else
        relay_bad_reply(r, reply, "what is due");
    relay_attempt_ended(r);
}

/* The next slot to ask, NULL when all are asked or being asked. */
static struct slot *next_slot(struct sweep *w)
{
    for (unsigned i = 0; w->asks && i < LEDGER_PARTS; i++) {
        struct slot *s = &w->slot[w->at++ % LEDGER_PARTS];
        if (s->ask && !s->reserved)
            return s;
    }
    return NULL;
}

void sweep_more(struct sweep *w)
{
    struct relay *r = w->r;
    unsigned room = relay_room(r);
    while (room > 0 && r->has_library && !r->stopping) {
        struct slot *s = next_slot(w);
        if (!s)
            return;
        unsigned limit = room / w->asks;
        s->reserved = limit > 0 ? limit : 1;
        if (!ledger_due(r->ledger, s->part, s->reserved, r->s->lease_ms, on_due, s)) {
            s->reserved = 0;
            return;
        }
        w->reserved += s->reserved;
        room -= s->reserved;
    }
}

void sweep_nudge(struct sweep *w, uint8_t part)
{
    want(w, &w->slot[part], true);
}

static void on_count(void *owner, void *arg, const struct redisReply *reply)
{
    struct relay *r = owner;
    struct slot *s = arg;
    struct sweep *w = s->sweep;
    bool good = reply && reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0;
    w->counting--;
    w->miscounted = w->miscounted || !good;
    w->count += good ? (uint64_t)reply->integer : 0;
    want(w, s, s->ask || (good && reply->integer > 0));
    if (r->closing || w->counting > 0)
        return;
    if (!w->miscounted)
        r->counters.pending = w->count;
    sweep_more(w);
}

void sweep_tick(struct sweep *w)
{
    if (w->counting > 0)
        return;
    w->count = 0;
    w->miscounted = false;
    for (unsigned i = 0; i < LEDGER_PARTS; i++) {
        if (!ledger_pending(w->r->ledger, (uint8_t)i, on_count, &w->slot[i]))
            w->miscounted = true;
        else
            w->counting++;
    }
}
