/*
 * redis_sweep.c - taking back what dead nodes had registered.
 *
 * Idea: every survivor that hears of a dead node goes over all partitions and takes out what it finds under that name,
 * page by page, each page one atomic call; several survivors at it take different pages, and any of them may die. The
 * partitions are walked from a random one on, so that they meet late. A second pass after the first is over makes sure
 * that nothing was registered meanwhile (a node that is fenced and does not know it yet); then the name is marked as
 * swept, and heartbeats stop telling of it. Half a minute later they do so again, once: commands of a node that was
 * killed may have been on a link that was down.
 *
 * One node is swept at a time, WINDOW partitions at once. Any answer that does not come ends the pass: the next
 * heartbeat begins anew.
 *
 * Dispatcher thread. `flying` commands hold no pointer but the store's.
 */
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/clock.h"
#include "core/hash.h"
#include "core/metrics.h"
#include "store/redis_beat.h"
#include "store/redis_keys.h"
#include "store/redis_presence.h"
#include "store/redis_rooms.h"
#include "store/redis_store.h"

enum { WINDOW = 16, PAGE = 500, PASSES = 2, TOLD_AGAIN_MS = 2500 };

struct redis_sweep {
    char node[200]; /* empty: nothing to do */
    bool late;      /* once more, half a minute after its death: one pass will do */
    unsigned pass;  /* passes that are over */
    unsigned first, next, flying;
    bool broken; /* an answer did not come */
    bool under_way;
    uint64_t over_ms; /* when a pass was over */
};

static void sweep_users(struct redis_store *s, uint8_t part);
static void go_on(struct redis_store *s);

static void on_users(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct redis_sweep *w = s->sweep;
    w->flying--;
    if (!r || r->type != REDIS_REPLY_ARRAY || r->elements < 1 || r->element[0]->type != REDIS_REPLY_INTEGER)
        w->broken = true;
    else if (r->element[0]->integer > 0)
        sweep_users(s, (uint8_t)(uintptr_t)arg);
    go_on(s);
}

static void sweep_users(struct redis_store *s, uint8_t part)
{
    struct redis_sweep *w = s->sweep;
    redis_fcall(s, "crier_sweep", 1);
    redis_key(s, &s->args, part, "o", span_str(w->node));
    resp_str(&s->args, w->node);
    resp_u64(&s->args, PAGE);
    redis_key(s, &s->args, part, "m", span_of(NULL, 0));
    if (redis_send(s, on_users, (void *)(uintptr_t)part, true) == REDIS_SENT)
        w->flying++;
    else
        w->broken = true;
}

static void finish(struct redis_store *s)
{
    struct redis_sweep *w = s->sweep;
    w->under_way = false;
    w->over_ms = clock_mono_ms();
    if (w->broken) {
        w->node[0] = '\0';
        return;
    }
    if (++w->pass < PASSES && !w->late)
        return; /* the next heartbeat tells of it again */
    redis_fcall(s, "crier_swept", 1);
    redis_cluster_key(s, &s->args, "dead");
    resp_str(&s->args, w->node);
    if (redis_send(s, NULL, NULL, true) == REDIS_SENT && !w->late)
        log_line(LOG_INFO, "redis", "what %s had registered has been taken back", w->node);
    metric_add(s->metrics, M_SWEPT, 1);
    w->node[0] = '\0';
}

static void go_on(struct redis_store *s)
{
    struct redis_sweep *w = s->sweep;
    while (!w->broken && w->next < REDIS_PARTS && w->flying < WINDOW) {
        uint8_t part = (uint8_t)(w->first + w->next++);
        bool rooms = redis_rooms_sweep_part(s, w->node, part, true);
        bool presence = redis_presence_sweep_part(s, w->node, part, true);
        w->flying += (unsigned)rooms + (unsigned)presence;
        w->broken |= !rooms || !presence;
        sweep_users(s, part);
    }
    if (w->under_way && w->flying == 0)
        finish(s);
}

void redis_sweep_over(struct redis_store *s, bool good)
{
    s->sweep->flying--;
    s->sweep->broken |= !good;
    go_on(s);
}

void redis_sweep_heard(struct redis_store *s, struct span node, bool late)
{
    struct redis_sweep *w = s->sweep;
    bool same = span_eq(span_str(w->node), node);
    if (w->under_way || node.n >= sizeof(w->node) || s->phase != REDIS_OPEN)
        return;
    if (!same && w->node[0] && clock_mono_ms() - w->over_ms < TOLD_AGAIN_MS)
        return;
    if (!same) {
        memcpy(w->node, node.p, node.n);
        w->node[node.n] = '\0';
        w->pass = 0;
        w->late = late;
    }
    w->under_way = true;
    w->broken = false;
    w->first = (unsigned)random_below(REDIS_PARTS);
    w->next = 0;
    go_on(s);
}

struct redis_sweep *redis_sweep_new(void)
{
    return calloc(1, sizeof(struct redis_sweep));
}

void redis_sweep_free(struct redis_sweep *w)
{
    free(w);
}
