/*
 * room.c - rooms of a shard. Runs on the shard's thread.
 *
 * A room's messages of one inbox batch are collected and delivered together when the batch ends: each member is visited
 * once for all of them, and a member with nothing queued gets them as one block, built once a wire form, in one write.
 *
 * Members stand in a dense array; a session knows its place in it (struct membership), so that leaving is O(1): the
 * last one moves into the hole. The room is freed when its last member has left and no answer is awaited; the interest
 * is given back then.
 */
#include "net/room.h"

#include <stdlib.h>

#include "core/blob.h"
#include "core/buf.h"
#include "core/config.h"
#include "core/list.h"
#include "core/msg.h"
#include "net/call.h"
#include "net/session.h"
#include "net/shard.h"

#define MEMBERS_FIRST 4u
#define BATCH_MAX     256 /* messages of one room in one turn; more make two rounds */
#define BLOCK_BYTES   (64 * 1024)

struct member {
    struct session *session;
    uint32_t slot; /* in session->rooms */
};

/* Somebody who waits for `ok`: on the connection, or by a call that was posted for it. */
struct waiter {
    struct waiter *next;
    uint64_t conn;
    struct call *call;
    size_t len;
    uint8_t ref[];
};

struct room {
    struct list busy; /* shard.busy_rooms while it has messages of this turn */
    struct member *members;
    uint32_t count, cap;
    bool confirmed, asked;
    struct waiter *waiters;
    struct job **batch;
    unsigned nbatch;
    size_t len;
    char name[];
};

static struct span name_of(const struct room *r)
{
    return span_of(r->name, r->len);
}

static struct room *room_new(struct shard *s, struct span name)
{
    struct room *r = calloc(1, sizeof *r + name.n + 1);
    if (!r)
        return NULL;
    r->len = name.n;
    memcpy(r->name, name.p, name.n);
    if (!map_put(&s->rooms, name_of(r), r)) {
        free(r);
        return NULL;
    }
    metric_add(s->m, M_ROOMS, 1);
    return r;
}

static bool submit_interest(struct shard *s, struct room *r, bool on)
{
    struct op *op = op_new(OP_INTEREST);
    if (!op)
        return false;
    op->interest.room = span_dup(name_of(r));
    op->interest.on = on;
    if (!op->interest.room) {
        op_free(op);
        return false;
    }
    shard_submit(s, op);
    return true;
}

static void drop_batch(struct room *r)
{
    for (unsigned i = 0; i < r->nbatch; i++)
        job_unref(r->batch[i]);
    free(r->batch);
    r->batch = NULL;
    r->nbatch = 0;
    list_unlink(&r->busy);
}

static void waiter_free(struct shard *s, struct waiter *w)
{
    if (w->call)
        call_fail(s, w->call, span_of(w->ref, w->len), "no_session", "the device's connection has ended", 0);
    free(w);
}

static void room_free(struct shard *s, struct room *r)
{
    while (r->waiters) {
        struct waiter *w = r->waiters;
        r->waiters = w->next;
        waiter_free(s, w);
    }
    drop_batch(r);
    (void)map_remove(&s->rooms, name_of(r));
    metric_sub(s->m, M_ROOMS, 1);
    free(r->members);
    free(r);
}

/* A room without members is no longer of interest. Not while its members are being walked. */
static void leave_if_empty(struct shard *s, struct room *r)
{
    if (r->count || r->nbatch)
        return;
    if (r->asked)
        (void)submit_interest(s, r, false);
    room_free(s, r);
}

/* ---- members ---- */

static int find_slot(const struct session *ses, const struct room *r)
{
    for (unsigned i = 0; i < ses->nrooms; i++) {
        if (ses->rooms[i].room == r)
            return (int)i;
    }
    return -1;
}

static bool grow_members(struct room *r)
{
    if (r->count < r->cap)
        return true;
    uint32_t cap = r->cap ? r->cap * 2 : MEMBERS_FIRST;
    struct member *m = realloc(r->members, cap * sizeof *m);
    if (!m)
        return false;
    r->members = m;
    r->cap = cap;
    return true;
}

static bool grow_slots(struct session *ses)
{
    if (ses->nrooms < ses->rooms_cap)
        return true;
    unsigned cap = ses->rooms_cap ? ses->rooms_cap * 2u : 1;
    struct membership *v = cap <= UINT16_MAX ? realloc(ses->rooms, cap * sizeof *v) : NULL;
    if (!v)
        return false;
    ses->rooms = v;
    ses->rooms_cap = (uint16_t)cap;
    return true;
}

static bool add_member(struct room *r, struct session *ses)
{
    if (!grow_members(r) || !grow_slots(ses))
        return false;
    r->members[r->count] = (struct member){.session = ses, .slot = ses->nrooms};
    ses->rooms[ses->nrooms] = (struct membership){.room = r, .index = r->count};
    r->count++;
    ses->nrooms++;
    return true;
}

/* Takes the session's slot-th membership out of both arrays; the last of each fills the hole. */
static void remove_member(struct session *ses, unsigned slot)
{
    struct room *r = ses->rooms[slot].room;
    uint32_t hole = ses->rooms[slot].index;
    r->members[hole] = r->members[--r->count];
    if (hole < r->count)
        r->members[hole].session->rooms[r->members[hole].slot].index = hole;
    ses->rooms[slot] = ses->rooms[--ses->nrooms];
    if (slot < ses->nrooms)
        ses->rooms[slot].room->members[ses->rooms[slot].index].slot = slot;
}

/* ---- joining ---- */

static void answer_joined(struct session *ses, const struct room *r, struct span ref)
{
    struct ok_subscribe ok = {.room = name_of(r)};
    struct buf b;
    buf_init(&b, 4096);
    if (encode_ok_subscribe(session_codec(ses), ref, &ok, &b))
        session_answer(ses, 200, buf_span(&b));
    buf_fini(&b);
}

static bool await_confirmation(struct room *r, struct session *ses, struct span ref)
{
    struct waiter *w = malloc(sizeof *w + ref.n);
    if (!w)
        return false;
    *w = (struct waiter){.conn = ses->conn->id, .call = ses->call, .len = ref.n};
    ses->call = NULL;
    if (ref.n)
        memcpy(w->ref, ref.p, ref.n);
    struct waiter **end = &r->waiters;
    while (*end)
        end = &(*end)->next;
    *end = w;
    return true;
}

enum room_join room_join(struct shard *s, struct session *ses, struct span name, struct span ref)
{
    struct room *r = map_get(&s->rooms, name);
    bool already = r && find_slot(ses, r) >= 0;
    if (!already && ses->nrooms >= s->cfg->max_rooms)
        return ROOM_TOO_MANY;
    if (!r && !(r = room_new(s, name)))
        return ROOM_NO_MEMORY;
    if (!already && !add_member(r, ses)) {
        leave_if_empty(s, r);
        return ROOM_NO_MEMORY;
    }
    if (r->confirmed) {
        answer_joined(ses, r, ref);
        return already ? ROOM_ALREADY : ROOM_JOINED;
    }
    if ((!r->asked && !(r->asked = submit_interest(s, r, true))) || !await_confirmation(r, ses, ref)) {
        (void)room_leave(s, ses, name);
        return ROOM_NO_MEMORY;
    }
    return already ? ROOM_ALREADY : ROOM_JOINED;
}

bool room_leave(struct shard *s, struct session *ses, struct span name)
{
    struct room *r = map_get(&s->rooms, name);
    int slot = r ? find_slot(ses, r) : -1;
    if (slot < 0)
        return false;
    remove_member(ses, (unsigned)slot);
    leave_if_empty(s, r);
    return true;
}

void room_leave_all(struct shard *s, struct session *ses)
{
    while (ses->nrooms) {
        struct room *r = ses->rooms[ses->nrooms - 1].room;
        remove_member(ses, ses->nrooms - 1u);
        leave_if_empty(s, r);
    }
    free(ses->rooms);
    ses->rooms = NULL;
    ses->rooms_cap = 0;
}

static struct session *waiting_session(struct shard *s, const struct waiter *w)
{
    struct conn *c = idmap_get(&s->conns, w->conn);
    return c && c->state == CONN_OPEN && c->proto->session ? c->proto->session(c) : NULL;
}

/* The dispatcher's word on an interest: answers those who wait. When the store is away they are told so and leave the
 * room. */
void room_interest_back(struct shard *s, struct op *op)
{
    struct span name = span_str(op->interest.room);
    struct room *r = op->interest.on ? map_get(&s->rooms, name) : NULL;
    struct waiter *w = r ? r->waiters : NULL;
    if (r) {
        r->waiters = NULL;
        r->confirmed = op->status == OP_OK;
        r->asked = r->confirmed;
    }
    bool ok = op->status == OP_OK;
    while (w) {
        struct waiter *next = w->next;
        struct session *ses = waiting_session(s, w);
        struct span ref = span_of(w->ref, w->len);
        if (ses) {
            ses->call = w->call;
            w->call = NULL;
        }
        if (ses && ok) {
            answer_joined(ses, r, ref);
        } else if (ses) {
            (void)room_leave(s, ses, name); /* may free the room */
            (void)session_answer_error(ses, ref, "unavailable", "the store does not answer; subscribe again later", 1);
        }
        waiter_free(s, w);
        w = next;
    }
    op_free(op);
}

/* ---- delivering ---- */

void room_deliver(struct shard *s, struct job *j)
{
    struct room *r = map_get(&s->rooms, j->head.target);
    if (!r)
        return;
    if (!r->batch) {
        r->batch = malloc(BATCH_MAX * sizeof(struct job *));
        if (!r->batch) {
            metric_add(s->m, M_DROP_MEMORY, r->count);
            return;
        }
    }
    r->batch[r->nbatch++] = job_ref(j);
    if (!list_linked(&r->busy))
        list_push(&s->busy_rooms, &r->busy);
    if (r->nbatch == BATCH_MAX)
        rooms_turn_end(s);
}

/* May these messages travel as one block? Live, of one class, none replaceable, and small together. */
static bool joinable(const struct room *r)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < r->nbatch; i++) {
        const struct job *j = r->batch[i];
        if (j->head.seq || j->collapse_key || j->head.priority != r->batch[0]->head.priority)
            return false;
        bytes += j->len;
    }
    return r->nbatch > 1 && bytes < BLOCK_BYTES / 2;
}

/* The batch in one wire form, as one frame; NULL: not to be had. */
static struct frame *build_block(const struct room *r, struct session *ses, struct frame_cache *fc)
{
    size_t len = 0;
    for (unsigned i = 0; i < r->nbatch; i++) {
        struct frame *f = session_frame(ses, &fc[i]);
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
    for (unsigned i = 0; i < r->nbatch; i++) {
        const struct frame *f = fc[i].frame[ses->wire];
        memcpy(b->data + at, f->data, f->len);
        at += f->len;
    }
    block->born_us = r->batch[0]->born_us;
    return block;
}

static void deliver_to(struct session *ses, struct room *r, struct frame_cache *fc, struct frame **block, bool join)
{
    enum wire w = ses->wire;
    if (join && !block[w])
        block[w] = build_block(r, ses, fc);
    if (join && block[w] && session_offer_block(ses, block[w], r->batch[0], r->nbatch))
        return;
    for (unsigned i = 0; i < r->nbatch; i++)
        session_offer(ses, &fc[i]);
}

static void deliver_batch(struct shard *s, struct room *r)
{
    struct frame_cache fc[BATCH_MAX];
    struct frame *block[WIRE_KINDS] = {0};
    bool join = joinable(r);
    for (unsigned i = 0; i < r->nbatch; i++)
        frame_cache_init(&fc[i], r->batch[i]);
    for (uint32_t i = r->count; i-- > 0;) { /* backwards: a member that is closed is replaced by one already served */
        if (i < r->count)
            deliver_to(r->members[i].session, r, fc, block, join);
    }
    for (unsigned i = 0; i < r->nbatch; i++)
        frame_cache_fini(&fc[i]);
    for (unsigned i = 0; i < WIRE_KINDS; i++)
        frame_unref(block[i]);
    drop_batch(r);
    leave_if_empty(s, r);
}

void rooms_turn_end(struct shard *s)
{
    while (!list_empty(&s->busy_rooms)) {
        struct room *r = CONTAINER_OF(s->busy_rooms.next, struct room, busy);
        deliver_batch(s, r);
    }
}

void rooms_free(struct shard *s)
{
    struct room *r;
    size_t it = 0;
    while ((r = map_next(&s->rooms, &it)) != NULL)
        room_free(s, r);
    map_fini(&s->rooms);
}
