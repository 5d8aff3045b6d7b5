/*
 * room_history.c - rooms with history: the rule of DELIVERY.md section 1, for a room and for each member.
 *
 * Idea: a room's messages are stored first; what is pushed here is a hint. The room knows up to where it has everything
 * (`last`): a message whose `prev` is at or below it is the next one and goes to the members; else, and whenever
 * something is known to be missing, the room fetches, once for all. So one order holds for everybody.
 *
 * A member whose place (`sent`) is where the room was before a message gets it from the room. One that is behind (its
 * connection takes no more, or it came with a seq of its own) is left to the history: it fetches by itself when its
 * connection has been drained, until it has caught up. There are no acks: a place lasts as long as the membership, and
 * the client brings its last seq when it comes again.
 *
 * Who subscribes with `since` gets the first page after it, and is told that it has missed nothing if the store knows
 * of no gap behind it (what came to its own end before that of the room's others is none); otherwise it starts at the
 * room's present end and is told so.
 *
 * Runs on the shard's thread. A follow dies with its membership; the answer to its fetch is known by its ticket.
 */
#include <stdlib.h>

#include "core/buf.h"
#include "core/msg.h"
#include "net/room_state.h"
#include "net/shard.h"

bool room_follow_new(struct membership *m)
{
    m->follow = calloc(1, sizeof *m->follow);
    if (m->follow)
        m->follow->sent = m->room->last;
    return m->follow != NULL;
}

void room_follow_free(struct shard *s, struct membership *m)
{
    if (!m->follow)
        return;
    if (m->follow->recover)
        room_waiter_free(s, m->follow->recover);
    free(m->follow);
    m->follow = NULL;
}

/* ---- fetching ---- */

bool room_fetch(struct shard *s, const struct room *r, uint64_t from, uint64_t conn, uint64_t ticket)
{
    struct op *op = op_new(OP_FETCH);
    if (!op)
        return false;
    op->fetch.user = span_dup(room_name(r));
    if (!op->fetch.user) {
        op_free(op);
        return false;
    }
    op->fetch.room = true;
    op->fetch.from = from;
    op->conn = conn;
    op->serial = ticket;
    shard_submit(s, op);
    return true;
}

static void room_pump(struct shard *s, struct room *r)
{
    if (!r->confirmed || r->fetching || r->wanted <= r->last)
        return;
    r->asked_for = r->wanted;
    r->fetching = room_fetch(s, r, r->last, 0, r->serial);
}

static void follow_pump(struct session *ses, struct membership *m)
{
    struct follow *f = m->follow;
    struct room *r = m->room;
    struct shard *s = ses->conn->shard;
    if (!r->confirmed || f->fetching || f->held || f->stuck || f->sent >= r->last || conn_backlogged(ses->conn))
        return;
    f->asked = r->last;
    f->ticket = ++s->next_ticket;
    f->fetching = room_fetch(s, r, f->sent, ses->conn->id, f->ticket);
}

void room_session_pump(struct session *ses)
{
    ses->behind_rooms = false;
    for (unsigned i = 0; i < ses->nrooms; i++) {
        struct membership *m = &ses->rooms[i];
        if (!m->follow || m->follow->sent >= m->room->last)
            continue;
        ses->behind_rooms = true;
        m->follow->stuck = false;
        follow_pump(ses, m);
    }
}

bool room_place(const struct session *ses, struct span room, uint64_t *seq)
{
    for (unsigned i = 0; i < ses->nrooms; i++) {
        const struct membership *m = &ses->rooms[i];
        if (!m->follow || !span_eq(room_name(m->room), room))
            continue;
        *seq = m->follow->sent;
        return m->room->confirmed && !m->follow->held;
    }
    return false;
}

void rooms_store_back(struct shard *s)
{
    struct room *r;
    size_t it = 0;
    while ((r = map_next(&s->rooms, &it)) != NULL) {
        if (!r->history)
            continue;
        room_pump(s, r);
        for (uint32_t i = 0; i < r->count; i++)
            follow_pump(r->members[i].session, &r->members[i].session->rooms[r->members[i].slot]);
    }
}

/* ---- the room ---- */

static void want(struct room *r, uint64_t seq)
{
    if (seq > r->wanted)
        r->wanted = seq;
}

void room_history_start(struct shard *s, struct room *r, uint64_t top)
{
    if (r->last == 0) /* else it is confirmed again after the store was away: what came meanwhile is still to come */
        r->last = top;
    want(r, top);
    for (uint32_t i = 0; i < r->count; i++) {
        struct follow *f = r->members[i].session->rooms[r->members[i].slot].follow;
        if (f->sent == 0)
            f->sent = r->last;
    }
    room_polls_stir(r);
    room_pump(s, r);
}

bool room_history_take(struct shard *s, struct room *r, const struct job *j)
{
    uint64_t seq = j->head.seq;
    if (!r->history || seq <= r->last)
        return false;
    want(r, seq);
    if (!r->confirmed)
        return false;
    if (r->fetching || j->head.prev > r->last) {
        room_pump(s, r);
        return false;
    }
    if (!r->batch_stored)
        r->base = r->last;
    r->batch_stored = true;
    r->last = seq;
    return true;
}

void room_behind(struct shard *s, const struct behind *b)
{
    struct room *r = map_get(&s->rooms, span_of(b->user, b->len));
    if (!r || !r->history)
        return;
    want(r, b->seq);
    room_pump(s, r);
}

static void tell_gap(struct session *ses, const struct room *r, uint64_t from, uint64_t to)
{
    struct buf b;
    buf_init(&b, 4096);
    metric_add(ses->conn->shard->m, M_GAPS, 1);
    if (encode_gap(ses->io->codec, room_name(r), from, to, &b))
        (void)ses->io->control(ses, buf_span(&b));
    buf_fini(&b);
}

/* The room goes on from `to`, and with it the members that are where it was; `gap`: what lies between is lost. */
static void move_on(struct shard *s, struct room *r, uint64_t to, bool gap)
{
    room_flush(s, r);
    uint64_t from = r->last;
    r->last = to;
    for (uint32_t i = r->count; i-- > 0;) { /* backwards: one that is closed is replaced by one already told */
        if (i >= r->count)
            continue;
        struct session *ses = r->members[i].session;
        struct follow *f = ses->rooms[r->members[i].slot].follow;
        if (f->held || f->sent < from || f->sent >= to)
            continue;
        uint64_t had = f->sent;
        f->sent = to;
        if (gap)
            tell_gap(ses, r, had + 1, to);
    }
    room_polls_stir(r);
}

static void take_room_page(struct shard *s, struct room *r, const struct op_page *p)
{
    if (p->gap > r->last)
        move_on(s, r, p->gap, true);
    for (unsigned i = 0; i < p->njobs; i++) {
        uint64_t seq = p->jobs[i]->head.seq;
        if (seq <= r->last)
            continue;
        if (!r->batch_stored)
            r->base = r->last;
        r->batch_stored = true;
        r->last = seq;
        room_collect(s, r, p->jobs[i]);
    }
    want(r, p->top);
    if (p->more)
        return;
    if (p->top > r->last)
        move_on(s, r, p->top, false); /* what lies between has expired */
    if (r->wanted == r->asked_for)
        r->wanted = r->last; /* it is not there: the store has lost it */
}

void room_page_back(struct shard *s, struct op *op)
{
    struct room *r = map_get(&s->rooms, span_str(op->fetch.user));
    if (r && r->serial == op->serial && r->fetching) {
        r->fetching = false;
        if (op->status == OP_OK) {
            r->held = true;
            take_room_page(s, r, &op->fetch.page);
            r->held = false;
            room_pump(s, r);
            room_leave_if_empty(s, r);
        }
    }
    op_free(op); /* store away: rooms_store_back asks again */
}

/* ---- a member ---- */

static bool is_open(const struct session *ses)
{
    return ses->state != SESSION_OVER && ses->conn->state == CONN_OPEN;
}

/* Queues the message; false: left to the history, or the session is over. */
static bool give(struct session *ses, struct follow *f, struct frame_cache *fc)
{
    uint64_t seq = fc->job->head.seq;
    f->sent = seq; /* before it is queued: f is gone when the connection is */
    if (session_offer_history(ses, fc))
        return true;
    if (is_open(ses)) {
        f->stuck = !outq_empty(&ses->conn->out);
        ses->behind_rooms = true;
        metric_add(ses->conn->shard->m, M_LEFT_TO_INBOX, 1);
    }
    return false;
}

void room_history_offer(struct session *ses, struct membership *m, struct frame_cache *fc, uint64_t base)
{
    struct follow *f = m->follow;
    uint64_t had = f->sent;
    if (f->fetching || f->held || fc->job->head.seq <= had)
        return;
    if (had < base) {
        follow_pump(ses, m);
        return;
    }
    if (!give(ses, f, fc) && is_open(ses))
        f->sent = had;
}

static void answer_recover(struct shard *s, struct session *ses, struct room *r, struct follow *f,
                           const struct op_page *p)
{
    struct waiter *w = f->recover;
    bool recovered = p->gap <= w->since && (p->njobs || p->top >= w->since);
    f->recover = NULL;
    f->held = false;
    f->sent = recovered ? w->since : r->last;
    room_answer_ok(s, ses, r, w, recovered);
}

static void take_page(struct session *ses, struct membership *m, const struct op_page *p)
{
    struct follow *f = m->follow;
    const struct room *r = m->room;
    if (p->gap > f->sent) {
        uint64_t had = f->sent;
        f->sent = p->gap;
        tell_gap(ses, r, had + 1, p->gap);
    }
    for (unsigned i = 0; i < p->njobs && is_open(ses); i++) {
        uint64_t had = f->sent;
        struct frame_cache fc;
        if (p->jobs[i]->head.seq <= had)
            continue;
        frame_cache_init(&fc, p->jobs[i]);
        bool given = give(ses, f, &fc);
        frame_cache_fini(&fc);
        if (!given) {
            if (is_open(ses))
                f->sent = had;
            return;
        }
    }
    if (!is_open(ses))
        return;
    if (!p->more && f->sent < p->top)
        f->sent = p->top; /* what lies between has expired */
    if (!p->more && f->sent < f->asked)
        f->sent = f->asked; /* the store has lost it */
    if (f->sent < r->last)
        ses->behind_rooms = true;
    follow_pump(ses, m);
}

void room_session_page(struct shard *s, struct session *ses, struct op *op)
{
    struct room *r = map_get(&s->rooms, span_str(op->fetch.user));
    int slot = r ? room_slot(ses, r) : -1;
    struct membership *m = slot >= 0 ? &ses->rooms[slot] : NULL;
    struct follow *f = m ? m->follow : NULL;
    if (!f || !f->fetching || f->ticket != op->serial) {
        op_free(op);
        return;
    }
    f->fetching = false;
    r->held = true;
    if (op->status != OP_OK && f->recover) {
        struct waiter *w = f->recover;
        f->recover = NULL;
        room_answer_away(s, ses, r, w);
    } else if (op->status == OP_OK) {
        if (f->recover)
            answer_recover(s, ses, r, f, &op->fetch.page);
        slot = room_slot(ses, r); /* the answer may have closed the connection */
        if (is_open(ses) && slot >= 0)
            take_page(ses, &ses->rooms[slot], &op->fetch.page);
    }
    r->held = false;
    room_leave_if_empty(s, r);
    op_free(op);
}

void room_history_join(struct shard *s, struct session *ses, struct room *r, struct waiter *w)
{
    int slot = ses ? room_slot(ses, r) : -1;
    struct follow *f = slot >= 0 ? ses->rooms[slot].follow : NULL;
    if (slot < 0) { /* it left meanwhile; whoever left it was told */
        room_waiter_free(s, w);
        return;
    }
    if (!f || !w->has_since) {
        room_answer_ok(s, ses, r, w, false);
        return;
    }
    if (f->recover) { /* two at once: the later one counts */
        struct waiter *earlier = f->recover;
        f->recover = NULL;
        earlier->joined = false;
        room_answer_away(s, ses, r, earlier);
        if (room_slot(ses, r) != slot) { /* that has closed the connection */
            room_waiter_free(s, w);
            return;
        }
    }
    f->held = true;
    f->asked = r->last;
    f->ticket = ++s->next_ticket;
    f->fetching = room_fetch(s, r, w->since, ses->conn->id, f->ticket);
    if (f->fetching)
        f->recover = w;
    else
        room_answer_away(s, ses, r, w);
}
