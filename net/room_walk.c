/*
 * room_walk.c - giving a room's messages to its members. Runs on the shard's thread.
 *
 * A room's messages of one inbox batch are collected and delivered together when the batch ends: each member is visited
 * once for all of them, and a member with nothing queued gets them as one block, built once a wire form, in one write.
 *
 * A large room would keep the shard for as long as thousands of writes take, and a private message that comes
 * meanwhile would wait for all of them. So a walk over its members goes slice by slice, one a turn of the loop: what a
 * slice has queued is written, the inbox is looked at, then the next one. What comes for the room meanwhile is
 * collected for the next walk, so that every member has the room's messages in their order. Rooms with history, whose
 * members compare their place with the room's, are walked in one go.
 *
 * Slices are small: what a slice's connections need is in the processor's caches when their writes begin, and more
 * comes for the room meanwhile. Rooms that are written in a few milliseconds are not cut, for where two of them share
 * members, their slices would go over them in different turns, and so in more writes.
 *
 * What a turn costs is writes, and a connection is written to once a turn however much it is given. So a slice is
 * counted in connections that had nothing to write before: several busy rooms with the same members go over the same
 * ones together, and their messages meet in one write.
 *
 * While a walk is under way the members are in two parts (struct walk); leaving keeps them apart (remove_member), who
 * joins stands at the end and gets what comes from then on. Walks live on the heap between turns, else on the stack;
 * their jobs are freed with them.
 */
#include <stdlib.h>

#include "core/blob.h"
#include "core/config.h"
#include "core/inbox.h"
#include "net/frame_cache.h"
#include "net/room_state.h"
#include "net/session_block.h"
#include "net/shard.h"

#define BATCH_MAX   256 /* messages of one room in one turn; more make two rounds */
#define BLOCK_BYTES (64 * 1024)
#define AHEAD       4u   /* members between asking for their memory and using it */
#define WHOLE       640u /* rooms of so many members are given out in one turn, and as many of them as have so many */
#define SLICE       64u  /* what a turn gives to larger ones, all together */
#define VISITS      (100u * WHOLE) /* members served in one turn, many of them for another room already */

/* What is left of a turn; `whole` and `slice` in connections that had nothing to write before. */
struct budget {
    uint32_t whole, slice, visits;
};

static uint32_t *share_of(const struct room *r, struct budget *b)
{
    return r->count > WHOLE ? &b->slice : &b->whole;
}

static void be_busy(struct shard *s, struct room *r)
{
    if (!list_linked(&r->busy))
        list_push(&s->busy_rooms, &r->busy);
}

void room_deliver(struct shard *s, struct job *j)
{
    struct room *r = map_get(&s->rooms, j->head.target);
    if (r && (!j->head.seq || room_history_take(s, r, j)))
        room_collect(s, r, j);
}

void room_collect(struct shard *s, struct room *r, struct job *j)
{
    if (!r->batch) {
        r->batch = malloc(BATCH_MAX * sizeof(struct job *));
        if (!r->batch) {
            metric_add(s->m, M_DROP_MEMORY, r->count);
            r->batch_stored = false; /* the members are behind now, and will see it */
            return;
        }
    }
    r->batch[r->nbatch++] = job_ref(j);
    be_busy(s, r);
    if (r->nbatch == BATCH_MAX)
        room_flush(s, r);
}

/* ---- a walk ---- */

/* May these messages travel as one block? Live, of one class, none replaceable, and small together. */
static bool joinable(struct job *const *jobs, unsigned n)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct job *j = jobs[i];
        if (j->head.seq || j->head.track || j->collapse_key || j->head.priority != jobs[0]->head.priority)
            return false;
        bytes += j->len;
    }
    return bytes < BLOCK_BYTES / 2;
}

/* Begins with the room's batch; fc has room for that many. */
static void begin(struct room *r, struct walk *w, struct frame_cache *fc)
{
    *w = (struct walk){.jobs = r->batch, .n = r->nbatch, .left = r->count, .base = r->base, .fc = fc};
    w->join = joinable(w->jobs, w->n);
    w->class = session_live_class(w->jobs[0]);
    for (unsigned i = 0; i < w->n; i++)
        frame_cache_init(&fc[i], w->jobs[i]);
    r->walk = w;
    r->batch = NULL;
    r->nbatch = 0;
    r->batch_stored = false;
}

static void end(struct room *r)
{
    struct walk *w = r->walk;
    r->walk = NULL;
    for (unsigned i = 0; i < w->n; i++) {
        frame_cache_fini(&w->fc[i]);
        job_unref(w->jobs[i]);
    }
    for (unsigned i = 0; i < WIRE_KINDS; i++) {
        frame_unref(w->block[i]);
        joint_fini(&w->joint[i]);
    }
    free(w->jobs);
}

/* The batch in one wire form, as one frame; NULL: not to be had. */
static struct frame *build_block(struct walk *w, struct session *ses)
{
    if (w->n == 1) {
        struct frame *f = session_frame(ses, &w->fc[0]);
        if (f)
            f->refs++;
        return f;
    }
    size_t len = 0;
    for (unsigned i = 0; i < w->n; i++) {
        struct frame *f = session_frame(ses, &w->fc[i]);
        if (!f)
            return NULL;
        len += f->len;
    }
    struct blob *b = len <= BLOCK_BYTES ? blob_new(len) : NULL;
    struct frame *block = b ? frame_new(b) : NULL;
    if (!block) {
        blob_unref(b);
        return NULL;
    }
    size_t at = 0;
    for (unsigned i = 0; i < w->n; i++) {
        const struct frame *f = w->fc[i].frame[ses->wire];
        memcpy(b->data + at, f->data, f->len);
        at += f->len;
    }
    block->born_us = w->jobs[0]->born_us;
    block->messages = w->n;
    return block;
}

/* Where rooms share members, most have the same waiting as the one served before them, and get the same behind it. */
static inline bool join_again(struct walk *w, struct session *ses, uint32_t most)
{
    struct joint *j = &w->joint[ses->wire];
    if (!j->both || j->both->len > most || ses->conn->want_write || !session_takes_blocks(ses) ||
        !outq_replace(&ses->conn->out, j->before, j->both, w->class))
        return false;
    j->hits++;
    w->again++;
    w->again_bytes += j->both->len - j->before->len;
    return true;
}

static void count_again(struct shard *s, struct walk *w)
{
    metric_add(s->m, M_DELIVERED, (uint64_t)w->again * w->n);
    metric_add(s->m, M_OUTQ_BYTES, w->again_bytes);
    w->again = 0;
    w->again_bytes = 0;
}

static void deliver_to(struct walk *w, struct session *ses, unsigned slot)
{
    enum wire wire = ses->wire;
    if (w->join && !w->block[wire])
        w->block[wire] = build_block(w, ses);
    if (w->join && w->block[wire] && session_offer_block(ses, w->block[wire], w->jobs[0], w->n, &w->joint[wire]))
        return;
    uint64_t base = w->base;
    for (unsigned i = 0; i < w->n; i++) {
        uint64_t seq = w->jobs[i]->head.seq;
        if (seq == 0) {
            session_offer(ses, &w->fc[i]);
            continue;
        }
        if (ses->state != SESSION_OVER) /* else one that was too much has closed the connection */
            room_history_offer(ses, &ses->rooms[slot], &w->fc[i], base);
        base = seq;
    }
}

/* Of thousands of members little is in the processor's caches: asks for the session of one that soon has its turn, the
 * connection of a second and what waits there of a third. */
static void look_ahead(const struct room *r)
{
    uint32_t at = r->walk->left;
    if (at <= 3 * AHEAD)
        return;
    const struct member *m = &r->members[at - 1];
    prefetch((m - 3 * AHEAD)->session, SESSION_HOT);
    prefetch((m - 2 * AHEAD)->session->conn, CONN_HOT);
    __builtin_prefetch((m - AHEAD)->session->conn->out.ring);
}

/* Serves as many as the budget allows, or takes from it what serving all of them is. The room is not freed meanwhile.
 */
static void serve(struct shard *s, struct room *r, struct budget *b, bool all)
{
    uint32_t *share = share_of(r, b);
    bool was_held = r->held;
    r->held = true;
    while (r->walk->left > 0) {
        const struct member *m = &r->members[r->walk->left - 1];
        look_ahead(r);
        bool clean = !m->session->conn->dirty;
        if (!all && (b->visits == 0 || (clean && *share == 0)))
            break;
        b->visits -= b->visits > 0;
        *share -= clean && *share > 0;
        r->walk->left--; /* before: it may be closed, and be gone */
        if (join_again(r->walk, m->session, s->cfg->outq_soft))
            continue;
        count_again(s, r->walk); /* before: what is waiting may be counted out */
        deliver_to(r->walk, m->session, m->slot);
    }
    count_again(s, r->walk);
    r->held = was_held;
}

/* ---- all at once ---- */

static void end_on_heap(struct room *r)
{
    struct walk *w = r->walk;
    end(r);
    free(w);
}

/* The collected batch in one go. */
static void walk_whole(struct shard *s, struct room *r, struct budget *b)
{
    struct walk w;
    struct frame_cache fc[BATCH_MAX];
    bool was_held = r->held;
    r->held = true;
    room_polls_offer(r);
    begin(r, &w, fc);
    serve(s, r, b, true);
    end(r);
    r->held = was_held;
}

static void flush(struct shard *s, struct room *r, struct budget *b)
{
    if (r->walk) {
        serve(s, r, b, true);
        end_on_heap(r);
    }
    if (r->nbatch)
        walk_whole(s, r, b);
    list_unlink(&r->busy);
    room_leave_if_empty(s, r);
}

void room_flush(struct shard *s, struct room *r)
{
    struct budget any = {0};
    flush(s, r, &any);
}

void room_walk_free(struct room *r)
{
    if (r->walk)
        end_on_heap(r);
    for (unsigned i = 0; i < r->nbatch; i++)
        job_unref(r->batch[i]);
    free(r->batch);
    r->batch = NULL;
    r->nbatch = 0;
    list_unlink(&r->busy);
}

void rooms_finish(struct shard *s)
{
    while (!list_empty(&s->busy_rooms))
        room_flush(s, CONTAINER_OF(s->busy_rooms.next, struct room, busy));
}

/* ---- slice by slice ---- */

/* A walk that outlasts the turn. False: memory is out. */
static bool begin_on_heap(struct room *r)
{
    struct walk *w = malloc(sizeof *w + r->nbatch * sizeof(struct frame_cache));
    if (!w)
        return false;
    bool was_held = r->held;
    r->held = true;
    room_polls_offer(r);
    r->held = was_held;
    begin(r, w, (struct frame_cache *)(void *)(w + 1));
    return true;
}

/* Serves the room's next members, or all of a room that fits. */
static void step(struct shard *s, struct room *r, struct budget *b)
{
    if (!r->walk && (r->history || r->count <= *share_of(r, b) || !begin_on_heap(r))) {
        flush(s, r, b);
        return;
    }
    serve(s, r, b, false);
    if (r->walk->left == 0)
        end_on_heap(r);
    if (r->walk || r->nbatch)
        be_busy(s, r);
    else
        room_leave_if_empty(s, r);
}

/* Is there something in the budget for the first that would be served? To ask costs a visit, for there may be many. */
static bool has_its_turn(const struct room *r, struct budget *b)
{
    uint32_t at = r->walk ? r->walk->left : r->count;
    if (b->visits == 0)
        return false;
    b->visits--;
    return *share_of(r, b) > 0 || at == 0 || r->members[at - 1].session->conn->dirty;
}

bool rooms_crowd(const struct shard *s, unsigned members)
{
    unsigned sum = 0;
    for (const struct list *l = s->busy_rooms.next; l != &s->busy_rooms && sum < members; l = l->next)
        sum += CONTAINER_OF(l, struct room, busy)->count;
    return sum >= members;
}

void rooms_turn_end(struct shard *s)
{
    struct budget b = {.whole = WHOLE, .slice = SLICE, .visits = VISITS};
    struct list now, *node; /* each room once a turn */
    list_init(&now);
    while ((node = list_pop(&s->busy_rooms)) != NULL)
        list_push(&now, node);
    while ((node = list_pop(&now)) != NULL) {
        struct room *r = CONTAINER_OF(node, struct room, busy);
        if (has_its_turn(r, &b))
            step(s, r, &b);
        else
            list_push(&s->busy_rooms, &r->busy);
    }
    if (!list_empty(&s->busy_rooms))
        inbox_ring(s->inbox);
}
