/*
 * room_poll.c - rooms with history for clients that poll.
 *
 * Idea: a poll follows a room like a member does, so that the room's messages are announced to this shard and "nothing
 * new" is known without asking the store; it stays for as long as the poll does. Where a client is in a room is nothing
 * the store keeps: the cursor of each answer says it and the client brings it back, to whichever node. One that brings
 * none goes on where this node left off, or begins where the room stands.
 *
 * A poll that waits, and is where the room was, is answered out of the room's batch of this turn, live messages too.
 * Else what it has not got is read from the history, one room after the other, until the answer is full.
 *
 * Runs on the shard's thread. A poll_room dies when a call no longer names the room, or with its poll; the answer to a
 * fetch is known by its ticket.
 */
#include <stdlib.h>

#include "core/call.h"
#include "core/config.h"
#include "net/admit.h"
#include "net/limits.h"
#include "net/poll.h"
#include "net/room_state.h"
#include "net/shard.h"
#include "net/user.h"
#include "proto/codec.h"
#include "proto/sse_id.h"

static struct poll_room *in_poll(struct list *l)
{
    return CONTAINER_OF(l, struct poll_room, in_poll);
}

static struct poll_room *in_room(struct list *l)
{
    return CONTAINER_OF(l, struct poll_room, in_room);
}

/* ---- which rooms ---- */

static void begin(struct poll_room *pr)
{
    if (pr->placed || !pr->room->confirmed)
        return;
    pr->place = pr->next = pr->room->last;
    pr->placed = true;
}

static struct poll_room *find(const struct poll *p, struct span name)
{
    for (struct list *l = p->rooms.next; l != &p->rooms; l = l->next) {
        if (span_eq(room_name(in_poll(l)->room), name))
            return in_poll(l);
    }
    return NULL;
}

static void leave(struct poll_room *pr)
{
    struct room *r = pr->room;
    list_unlink(&pr->in_poll);
    list_unlink(&pr->in_room);
    room_leave_if_empty(pr->poll->shard, r);
    free(pr);
}

static struct poll_room *join(struct poll *p, struct span name)
{
    struct poll_room *pr = calloc(1, sizeof *pr);
    struct room *r = pr ? room_get(p->shard, name) : NULL;
    if (!r) {
        free(pr);
        return NULL;
    }
    pr->poll = p;
    pr->room = r;
    list_push(&p->rooms, &pr->in_poll);
    list_push(&r->polls, &pr->in_room);
    return pr;
}

static bool wish(struct poll *p, struct span name, struct span places)
{
    struct poll_room *pr = find(p, name);
    if (!pr && !(pr = join(p, name)))
        return false;
    pr->wished = true;
    uint64_t seq;
    if (sse_id_room(places, name, &seq)) {
        pr->place = pr->next = seq;
        pr->placed = true;
    }
    begin(pr);
    return room_ask(p->shard, pr->room);
}

/* Rooms that are new to this poll are subscribes like others. */
static bool within_rates(struct poll *p, struct span list)
{
    struct rate_cost cost = {.n = {[RATE_SUBSCRIBES] = 0}};
    struct span name;
    while (admit_next_name(&list, &name))
        cost.n[RATE_SUBSCRIBES] += find(p, name) == NULL;
    return cost.n[RATE_SUBSCRIBES] == 0 ||
           limits_take(p->shard->limits, p->shard->now_ms, NULL, span_of(p->user->name, p->user->len), &cost) == 0;
}

enum poll_wish poll_rooms_wish(struct poll *p, const struct call *call)
{
    struct span list = span_str(call->rooms), rest = list, name;
    bool good = true;
    if (!within_rates(p, list))
        return POLL_WISH_TOO_FAST;
    for (struct list *l = p->rooms.next; l != &p->rooms; l = l->next)
        in_poll(l)->wished = false;
    while (good && admit_next_name(&rest, &name))
        good = wish(p, name, span_str(call->places));
    for (struct list *l = p->rooms.next, *next; l != &p->rooms; l = next) {
        next = l->next;
        if (!in_poll(l)->wished)
            leave(in_poll(l));
    }
    return good ? POLL_WISH_GOOD : POLL_WISH_NO_MEMORY;
}

void poll_rooms_leave(struct poll *p)
{
    poll_rooms_done(p, false);
    while (!list_empty(&p->rooms))
        leave(in_poll(p->rooms.next));
}

bool poll_rooms_ready(const struct poll *p)
{
    for (struct list *l = p->rooms.next; l != &p->rooms; l = l->next) {
        if (!in_poll(l)->placed || !in_poll(l)->room->confirmed)
            return false;
    }
    return true;
}

bool poll_rooms_more(const struct poll *p)
{
    for (struct list *l = p->rooms.next; l != &p->rooms; l = l->next) {
        const struct poll_room *pr = in_poll(l);
        if (pr->placed && pr->next < pr->room->last)
            return true;
    }
    return false;
}

bool poll_rooms_write(const struct poll *p, struct buf *out)
{
    for (struct list *l = p->rooms.next; l != &p->rooms; l = l->next) {
        const struct poll_room *pr = in_poll(l);
        if (pr->placed && !sse_id_write_room(out, room_name(pr->room), pr->next))
            return false;
    }
    return true;
}

/* ---- what they have ---- */

static bool take(struct poll *p, struct job *j)
{
    if (!p->got && !(p->got = malloc(POLL_LIMIT_MAX * sizeof(struct job *))))
        return false;
    p->got[p->ngot++] = job_ref(j);
    return true;
}

static bool full(const struct poll *p)
{
    return p->taken + p->ngot >= p->waiting->limit;
}

enum poll_gather poll_rooms_gather(struct poll *p)
{
    if (!poll_rooms_ready(p))
        return POLL_GATHERING; /* their confirmation goes on from here */
    for (struct list *l = p->rooms.next; l != &p->rooms && !full(p); l = l->next) {
        struct poll_room *pr = in_poll(l);
        if (pr->next >= pr->room->last)
            continue;
        p->ticket = ++p->shard->next_ticket;
        p->asked = pr->room->last;
        if (!room_fetch(p->shard, pr->room, pr->next, p->id, p->ticket))
            return POLL_NO_MEMORY;
        p->fetching = pr;
        return POLL_GATHERING;
    }
    return POLL_GATHERED;
}

static void lost(struct poll *p, struct poll_room *pr, uint64_t to)
{
    metric_add(p->shard->m, M_GAPS, 1);
    if (!(p->gaps.len == 0 || buf_append_byte(&p->gaps, ',')) ||
        !encode_gap(CODEC_JSON, room_name(pr->room), pr->next + 1, to, &p->gaps))
        metric_add(p->shard->m, M_DROP_MEMORY, 1);
    pr->next = to;
}

/* The store says what is lost; what came to its own end is not. */
static void take_page(struct poll *p, struct poll_room *pr, const struct op_page *g)
{
    uint64_t before = pr->next;
    bool cut = g->more;
    if (g->gap > pr->next)
        lost(p, pr, g->gap);
    for (unsigned i = 0; i < g->njobs; i++) {
        const struct job_head *h = &g->jobs[i]->head;
        if (h->seq <= pr->next)
            continue;
        cut = cut || full(p);
        if (full(p))
            break;
        if (!take(p, g->jobs[i]))
            return;
        pr->next = h->seq;
    }
    if (!cut && pr->next < g->top)
        pr->next = g->top;
    if ((!cut || pr->next == before) && pr->next < p->asked)
        pr->next = p->asked; /* the store has lost it */
}

void poll_rooms_page(struct poll *p, const struct op *op)
{
    struct poll_room *pr = p->fetching;
    if (!pr || op->serial != p->ticket)
        return;
    p->fetching = NULL;
    if (op->status != OP_OK) {
        poll_away(p);
        return;
    }
    metric_add(p->shard->m, M_FETCHES, op->fetch.page.njobs > 0);
    take_page(p, pr, &op->fetch.page);
    poll_go_on(p);
}

void poll_rooms_done(struct poll *p, bool given)
{
    for (struct list *l = p->rooms.next; l != &p->rooms; l = l->next) {
        struct poll_room *pr = in_poll(l);
        if (given && p->waiting->take)
            pr->place = pr->next;
        else
            pr->next = pr->place; /* it was not given, or the client will say that it has it */
    }
    for (unsigned i = 0; i < p->ngot; i++)
        job_unref(p->got[i]);
    free(p->got);
    p->got = NULL;
    p->ngot = 0;
    p->fetching = NULL;
    buf_fini(&p->gaps);
}

/* ---- what the room says ---- */

/* The batch, for one who waits and has all that was before it. */
static void offer(struct poll_room *pr)
{
    struct poll *p = pr->poll;
    struct room *r = pr->room;
    for (unsigned i = 0; i < r->nbatch && !full(p); i++) {
        uint64_t seq = r->batch[i]->head.seq;
        if (seq && seq <= pr->next)
            continue;
        if (!take(p, r->batch[i]))
            return;
        if (seq)
            pr->next = seq;
    }
    if (p->ngot)
        poll_give(p);
}

void room_polls_offer(struct room *r)
{
    for (struct list *l = r->polls.next; l != &r->polls; l = l->next) {
        struct poll_room *pr = in_room(l);
        bool follows = !r->batch_stored || pr->next >= r->base;
        if (pr->placed && follows && poll_takes(pr->poll) && poll_rooms_ready(pr->poll))
            offer(pr);
    }
    room_polls_stir(r);
}

void room_polls_stir(struct room *r)
{
    for (struct list *l = r->polls.next; l != &r->polls; l = l->next) {
        begin(in_room(l));
        poll_go_on(in_room(l)->poll);
    }
}

void room_polls_away(struct room *r)
{
    for (struct list *l = r->polls.next; l != &r->polls; l = l->next)
        poll_away(in_room(l)->poll);
}
