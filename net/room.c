/*
 * room.c - rooms of a shard. Runs on the shard's thread.
 *
 * Members stand in a dense array; a session knows its place in it (struct membership), so that leaving is O(1): the
 * last one moves into the hole (while the members are being walked there are two parts, room_walk.c). The room is freed
 * when its last member has left and it is not being walked; the interest is given back then.
 *
 * A subscribe goes through up to three gates before its `ok`: the interest is confirmed, presence is watched (where it
 * was asked for), and what was missed since the client's last seq has been read. It waits in room->waiters for the
 * first two and with the member's `follow` for the third.
 */
#include "net/room.h"

#include <stdlib.h>

#include "core/buf.h"
#include "core/config.h"
#include "core/msg.h"
#include "net/call.h"
#include "net/room_state.h"
#include "net/shard.h"
#include "proto/room_rules.h"

#define MEMBERS_FIRST 4u
#define MEMBERS_MANY  1024u /* from here on the array grows by less: what is not in use counts */

static struct room *room_new(struct shard *s, struct span name)
{
    struct room *r = calloc(1, sizeof *r + name.n + 1);
    if (!r)
        return NULL;
    r->len = name.n;
    memcpy(r->name, name.p, name.n);
    r->serial = ++s->next_ticket;
    r->history = room_history(s->cfg, name, NULL);
    r->presence = room_presence_kept(s->cfg, name);
    list_init(&r->polls);
    if (!map_put(&s->rooms, room_name(r), r)) {
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
    op->interest.room = span_dup(room_name(r));
    op->interest.on = on;
    op->serial = r->serial;
    if (!op->interest.room) {
        op_free(op);
        return false;
    }
    shard_submit(s, op);
    return true;
}

void room_waiter_free(struct shard *s, struct waiter *w)
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
        room_waiter_free(s, w);
    }
    room_walk_free(r);
    (void)map_remove(&s->rooms, room_name(r));
    metric_sub(s->m, M_ROOMS, 1);
    free(r->members);
    free(r);
}

/* A room without members is no longer of interest. Not while its members are being walked. */
void room_leave_if_empty(struct shard *s, struct room *r)
{
    if (r->count || r->nbatch || r->walk || r->held || !list_empty(&r->polls))
        return;
    if (r->asked)
        (void)submit_interest(s, r, false);
    room_free(s, r);
}

struct room *room_get(struct shard *s, struct span name)
{
    struct room *r = map_get(&s->rooms, name);
    return r ? r : room_new(s, name);
}

/* ---- members ---- */

int room_slot(const struct session *ses, const struct room *r)
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
    uint32_t cap = r->cap < MEMBERS_FIRST ? MEMBERS_FIRST : r->cap < MEMBERS_MANY ? r->cap * 2 : r->cap + r->cap / 4;
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
    struct membership m = {.room = r, .index = r->count};
    if (r->history && !room_follow_new(&m))
        return false;
    r->members[r->count] = (struct member){.session = ses, .slot = ses->nrooms};
    ses->rooms[ses->nrooms] = m;
    r->count++;
    ses->nrooms++;
    if (r->presence && ses->user)
        room_presence_joined(ses->conn->shard, r, ses);
    return true;
}

static void move_member(struct room *r, uint32_t from, uint32_t to)
{
    if (from == to)
        return;
    r->members[to] = r->members[from];
    r->members[to].session->rooms[r->members[to].slot].index = to;
}

/* Takes the session's slot-th membership out of both arrays; the last of each fills the hole. */
static void remove_member(struct session *ses, unsigned slot)
{
    struct room *r = ses->rooms[slot].room;
    uint32_t hole = ses->rooms[slot].index;
    if (ses->rooms[slot].watching)
        room_unwatch(ses->conn->shard, r, &ses->rooms[slot]);
    room_follow_free(ses->conn->shard, &ses->rooms[slot]);
    if (r->walk && hole < r->walk->left) { /* the last one who waits goes there, and the last of all to his place */
        move_member(r, --r->walk->left, hole);
        hole = r->walk->left;
    }
    move_member(r, --r->count, hole);
    ses->rooms[slot] = ses->rooms[--ses->nrooms];
    if (slot < ses->nrooms)
        ses->rooms[slot].room->members[ses->rooms[slot].index].slot = slot;
    if (r->presence && ses->user)
        room_presence_left(ses->conn->shard, r, ses);
}

/* ---- joining ---- */

struct session *room_waiting_session(struct shard *s, const struct waiter *w)
{
    struct conn *c = idmap_get(&s->conns, w->conn);
    return c && c->state == CONN_OPEN && c->proto->session ? c->proto->session(c) : NULL;
}

static void say_ok(struct session *ses, const struct room *r, struct span ref, bool has_since, bool recovered)
{
    struct ok_subscribe ok = {.room = room_name(r),
                              .has_history = r->history,
                              .has_since = has_since,
                              .recovered = recovered,
                              .seq = r->last};
    struct buf b;
    buf_init(&b, 4096);
    if (encode_ok_subscribe(session_codec(ses), ref, &ok, &b))
        session_answer(ses, 200, buf_span(&b));
    buf_fini(&b);
}

void room_answer_ok(struct shard *s, struct session *ses, struct room *r, struct waiter *w, bool recovered)
{
    if (ses) {
        ses->call = w->call;
        w->call = NULL;
        say_ok(ses, r, span_of(w->ref, w->len), w->has_since, recovered);
    }
    room_waiter_free(s, w);
}

void room_answer_away(struct shard *s, struct session *ses, struct room *r, struct waiter *w)
{
    int slot = ses ? room_slot(ses, r) : -1;
    if (slot >= 0 && w->joined) {
        remove_member(ses, (unsigned)slot);
        room_leave_if_empty(s, r);
    } else if (slot >= 0 && ses->rooms[slot].follow) {
        ses->rooms[slot].follow->held = false; /* it goes on where it was */
    }
    if (ses) {
        ses->call = w->call;
        w->call = NULL;
        (void)session_answer_error(ses, span_of(w->ref, w->len), "unavailable",
                                   "the store does not answer; subscribe again later", 1);
    }
    room_waiter_free(s, w);
}

void room_advance(struct shard *s, struct room *r)
{
    struct waiter **at = &r->waiters;
    bool was_held = r->held;
    r->held = true; /* an answer may close its connection, the last one here */
    while (r->confirmed && *at) {
        struct waiter *w = *at;
        if (w->watch && !r->watched) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        room_history_join(s, room_waiting_session(s, w), r, w);
        at = &r->waiters; /* the list may be another by now */
    }
    r->held = was_held;
    room_leave_if_empty(s, r);
}

static bool await(struct room *r, struct session *ses, const struct room_wish *wish, bool joined)
{
    struct waiter *w = malloc(sizeof *w + wish->ref.n);
    if (!w)
        return false;
    *w = (struct waiter){.conn = ses->conn->id,
                         .call = ses->call,
                         .joined = joined,
                         .watch = wish->presence,
                         .has_since = wish->has_since,
                         .since = wish->since,
                         .len = wish->ref.n};
    ses->call = NULL;
    if (wish->ref.n)
        memcpy(w->ref, wish->ref.p, wish->ref.n);
    struct waiter **end = &r->waiters;
    while (*end)
        end = &(*end)->next;
    *end = w;
    return true;
}

bool room_ask(struct shard *s, struct room *r)
{
    if (r->confirmed || r->pending)
        return true;
    r->pending = submit_interest(s, r, true);
    r->asked |= r->pending;
    return r->pending;
}

enum room_join room_join(struct shard *s, struct session *ses, const struct room_wish *wish)
{
    struct room *r = map_get(&s->rooms, wish->room);
    int slot = r ? room_slot(ses, r) : -1;
    bool joined = slot < 0;
    if (wish->presence && !room_presence_kept(s->cfg, wish->room))
        return ROOM_NO_PRESENCE;
    if (joined && ses->nrooms >= s->cfg->max_rooms)
        return ROOM_TOO_MANY;
    if (!r && !(r = room_new(s, wish->room)))
        return ROOM_NO_MEMORY;
    if (joined && !add_member(r, ses)) {
        room_leave_if_empty(s, r);
        return ROOM_NO_MEMORY;
    }
    struct membership *m = &ses->rooms[joined ? ses->nrooms - 1 : slot];
    if (!room_ask(s, r) || (wish->presence && !room_watch(s, r, m)) || !await(r, ses, wish, joined)) {
        if (joined)
            (void)room_leave(s, ses, wish->room);
        return ROOM_NO_MEMORY;
    }
    if (m->follow && wish->has_since)
        m->follow->held = true;
    room_advance(s, r);
    return ROOM_JOINED;
}

bool room_leave(struct shard *s, struct session *ses, struct span name)
{
    struct room *r = map_get(&s->rooms, name);
    int slot = r ? room_slot(ses, r) : -1;
    if (slot < 0)
        return false;
    remove_member(ses, (unsigned)slot);
    room_leave_if_empty(s, r);
    return true;
}

void room_leave_all(struct shard *s, struct session *ses)
{
    while (ses->nrooms) {
        struct room *r = ses->rooms[ses->nrooms - 1].room;
        remove_member(ses, ses->nrooms - 1u);
        room_leave_if_empty(s, r);
    }
    free(ses->rooms);
    ses->rooms = NULL;
    ses->rooms_cap = 0;
}

/* Those who wait are told that the store does not answer. */
static void fail_waiters(struct shard *s, struct room *r)
{
    struct waiter *w = r->waiters;
    r->waiters = NULL;
    r->held = true;
    room_polls_away(r);
    while (w) {
        struct waiter *next = w->next;
        room_answer_away(s, room_waiting_session(s, w), r, w);
        w = next;
    }
    r->held = false;
    room_leave_if_empty(s, r);
}

/* The dispatcher's word on an interest: answers those who wait. */
void room_interest_back(struct shard *s, struct op *op)
{
    struct room *r = op->interest.on ? map_get(&s->rooms, span_str(op->interest.room)) : NULL;
    if (r && r->serial == op->serial) {
        r->pending = false;
        r->confirmed = op->status == OP_OK;
        if (r->confirmed && r->history)
            room_history_start(s, r, op->interest.top);
        if (r->confirmed)
            room_advance(s, r);
        else
            fail_waiters(s, r);
    }
    op_free(op);
}

void rooms_free(struct shard *s)
{
    struct room *r;
    size_t it = 0;
    while ((r = map_next(&s->rooms, &it)) != NULL)
        room_free(s, r);
    map_fini(&s->rooms);
}
