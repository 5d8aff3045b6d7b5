/*
 * poll.c - the owner's side of polling.
 *
 * Idea: a poll that finds nothing must cost nothing, and one that finds something must be right whichever node it
 * reaches. So the device is registered like any session: what is stored for its user is announced to this shard, and as
 * long as nothing newer than the cursor has been announced, the answer is "nothing" without asking the store. When
 * there is something, it is read by an attach, never from what was announced: that brings the device's cursor as the
 * store has it, and so what another node has given out meanwhile is not given out again.
 *
 * By default what is returned counts as read: the cursor is written first and the answer follows when the store has it,
 * so that no other node returns it again. With ack=explicit the client brings its cursor as `after`, which
 * acknowledges.
 *
 * What the inbox gives is settled first, then the rooms with history that the call names add what they have
 * (room_poll.c): they have no cursor in the store, only the places in the cursor that the client brings.
 *
 * Runs on the shard that owns the user. One call waits at a time, the newest; it belongs to the poll until it is
 * answered. A poll dies two minutes after its last answer, or when a connection of the same device takes its place; an
 * op that comes back later finds no poll of its id.
 */
#include "net/poll.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/blob.h"
#include "core/buf.h"
#include "core/config.h"
#include "core/msg.h"
#include "net/call.h"
#include "net/frame_cache.h"
#include "net/limits.h"
#include "net/shard.h"
#include "net/user.h"
#include "proto/json.h"
#include "proto/sse_id.h"

#define LINGER_MS    (2 * POLL_WAIT_MAX * 1000)
#define ANSWER_BYTES 512  /* of an answer beside its messages */
#define ROOM_BYTES   1024 /* and for each room */
#define AWAY         "the store does not answer; poll again later"
#define NO_MEMORY    "the broker is out of memory"

static struct span no_ref(void)
{
    return (struct span){NULL, 0};
}

/* ---- answers ---- */

static void rest(struct poll *p)
{
    struct shard *s = p->shard;
    p->idle_since_ms = s->now_ms;
    list_unlink(&p->idle);
    list_push(&s->idle_polls, &p->idle);
    if (!timer_armed(&s->poll_timer))
        wheel_arm(&s->wheel, &s->poll_timer, s->now_ms, LINGER_MS);
}

static void drop_page(struct poll *p)
{
    for (unsigned i = 0; i < p->page.njobs; i++)
        job_unref(p->page.jobs[i]);
    free(p->page.jobs);
    p->page = (struct op_page){0};
    p->taken = 0;
    p->written = false;
}

/* What nobody is given after all stays where it is: in the inbox, unless its cursor is written. */
static struct call *stop_waiting(struct poll *p, bool given)
{
    struct call *call = p->waiting;
    poll_rooms_done(p, given);
    if (!call->take)
        drop_page(p);
    p->waiting = NULL;
    metric_sub(p->shard->m, M_POLLS_HELD, 1);
    rest(p);
    return call;
}

static void fail(struct poll *p, const char *code, const char *message, unsigned retry_after_s)
{
    if (p->waiting)
        call_fail(p->shard, stop_waiting(p, false), no_ref(), code, message, retry_after_s);
}

/* A message's JSON object: its line form without the line end. Empty: no memory. */
static struct span object_of(struct shard *s, struct job *j)
{
    const struct blob *b = job_encoded(s, j, CODEC_JSON, WIRE_TCP_JSON, frame_wrap_line);
    return b ? span_of(b->data, b->len - 1) : (struct span){NULL, 0};
}

/* What an answer says. */
struct said {
    struct job *const *jobs;
    unsigned n;
    uint64_t cursor;
    bool more;
    uint64_t gap_from, gap_to; /* 0: none */
};

static bool write_messages(struct shard *s, struct job *const *jobs, unsigned n, bool first, struct buf *out)
{
    bool ok = true;
    for (unsigned i = 0; ok && i < n; i++, first = false) {
        struct span object = object_of(s, jobs[i]);
        ok = object.n && (first || buf_append_byte(out, ',')) && buf_append_span(out, object);
    }
    return ok;
}

/* {"messages":[...],"cursor":"N","more":false}. False: no memory. */
static bool write_answer(const struct poll *p, const struct said *a, struct buf *out)
{
    bool ok = buf_append_str(out, "{\"messages\":[") && write_messages(p->shard, a->jobs, a->n, true, out) &&
              write_messages(p->shard, p->got, p->ngot, a->n == 0, out) && buf_append_str(out, "],\"cursor\":\"") &&
              sse_id_write_user(out, a->cursor) && poll_rooms_write(p, out) &&
              buf_printf(out, "\",\"more\":%s", a->more || poll_rooms_more(p) ? "true" : "false");
    if (ok && a->gap_to)
        ok = buf_printf(out, ",\"gap\":{\"from\":%llu,\"to\":%llu}", (unsigned long long)a->gap_from,
                        (unsigned long long)a->gap_to);
    if (ok && p->gaps.len)
        ok =
            buf_append_str(out, ",\"gaps\":[") && buf_append_span(out, buf_span(&p->gaps)) && buf_append_byte(out, ']');
    return ok && buf_append_byte(out, '}');
}

static void count_answer(struct shard *s, const struct poll *p, const struct said *a)
{
    metric_add(s->m, M_DELIVERED, a->n + p->ngot);
    metric_add(s->m, M_GAPS, a->gap_to > 0);
    for (unsigned i = 0; i < a->n; i++)
        track_answered(s, p->device, a->jobs[i]);
    for (unsigned i = 0; i < p->ngot; i++)
        track_answered(s, p->device, p->got[i]);
}

static void answer(struct poll *p, const struct said *a)
{
    struct shard *s = p->shard;
    struct buf b;
    buf_init(&b, ((size_t)a->n + p->ngot) * ((size_t)s->cfg->max_payload * 6 + 8192) + p->gaps.len +
                     (size_t)s->cfg->max_rooms * ROOM_BYTES + ANSWER_BYTES);
    if (write_answer(p, a, &b)) {
        count_answer(s, p, a);
        call_answer(s, stop_waiting(p, true), 200, buf_span(&b));
    } else {
        metric_add(s->m, M_DROP_MEMORY, a->n + p->ngot);
        fail(p, "overloaded", NO_MEMORY, 1);
    }
    buf_fini(&b);
}

/* Where the waiting call reads from. */
static uint64_t from(const struct poll *p)
{
    return p->waiting && p->waiting->after != CALL_NO_AFTER ? p->waiting->after : p->cursor;
}

/* Is there something in the inbox, as far as it is known here? */
static bool has_news(const struct poll *p)
{
    return p->wanted > from(p) && p->wanted > p->empty;
}

/* Nothing of the inbox, that is: what rooms have is in it. */
static void answer_nothing(struct poll *p)
{
    answer(p, &(struct said){.cursor = from(p), .more = has_news(p)});
}

/* Gives the page to who waits. */
static void answer_page(struct poll *p)
{
    const struct op_page *g = &p->page;
    struct said a = {.jobs = g->jobs, .n = p->taken, .cursor = p->read_from};
    a.more = g->more || p->taken < g->njobs;
    if (g->gap > p->read_from) {
        a.gap_from = p->read_from + 1;
        a.gap_to = a.cursor = g->gap;
    }
    if (p->taken)
        a.cursor = g->jobs[p->taken - 1]->head.seq;
    answer(p, &a);
    drop_page(p);
}

/* ---- the store ---- */

static bool submit_read(struct poll *p)
{
    struct op *op = op_new(OP_ATTACH);
    if (!op)
        return false;
    op->attach.user = span_dup(span_of(p->user->name, p->user->len));
    op->attach.device = span_dup(span_str(p->device));
    if (!op->attach.user || !op->attach.device) {
        op_free(op);
        return false;
    }
    op->conn = p->id;
    op->attach.named = p->named;
    op->attach.has_since = p->waiting && p->waiting->after != CALL_NO_AFTER;
    op->attach.since = op->attach.has_since ? p->waiting->after : 0;
    p->asked_after = p->waiting ? p->waiting->after : CALL_NO_AFTER;
    p->asked_for = p->wanted;
    p->reading = true;
    shard_submit(p->shard, op);
    return true;
}

/* id: the poll's, to hear when it is done; 0: nobody waits for it. */
static bool submit_ack(struct poll *p, uint64_t seq, uint64_t id)
{
    struct op *op = op_new(OP_ACK);
    if (!op)
        return false;
    op->ack.v = calloc(1, sizeof *op->ack.v);
    if (!op->ack.v) {
        op_free(op);
        return false;
    }
    op->ack.n = 1;
    op->ack.v[0] = (struct op_ack_entry){.user = span_dup(span_of(p->user->name, p->user->len)),
                                         .device = span_dup(span_str(p->device)),
                                         .named = p->named,
                                         .seq = seq};
    if (!op->ack.v[0].user || !op->ack.v[0].device) {
        op_free(op);
        return false;
    }
    op->conn = id;
    op->serial = ++p->serial;
    shard_submit(p->shard, op);
    return true;
}

void poll_ack(struct poll *p, uint64_t seq)
{
    if (seq <= p->cursor || !submit_ack(p, seq, 0))
        return;
    if (seq <= p->wanted)
        p->cursor = seq;
    else
        p->known = false; /* further than this node knows: the store will say */
}

/* ---- serving ---- */

/* What the client brings: an acknowledgement, or a place that only the store can judge. */
static void note_after(struct poll *p)
{
    uint64_t after = p->waiting->after;
    if (after == CALL_NO_AFTER || after == p->cursor)
        return;
    if (p->known && after > p->cursor && after <= p->wanted)
        poll_ack(p, after);
    if (after != p->cursor)
        p->known = false;
}

/* What the inbox gives is settled: what the rooms have, and then the answer, if there is one. */
static void conclude(struct poll *p)
{
    switch (poll_rooms_gather(p)) {
    case POLL_GATHERING:
        return;
    case POLL_NO_MEMORY:
        fail(p, "overloaded", NO_MEMORY, 1);
        return;
    case POLL_GATHERED:
        break;
    }
    if (p->taken)
        answer_page(p);
    else if (p->ngot || p->gaps.len || !p->waiting->wait)
        answer_nothing(p);
}

static void serve(struct poll *p)
{
    if (!p->waiting || p->reading || p->fetching || (p->taken && !p->written))
        return;
    if (p->taken || p->ngot || p->gaps.len || (p->known && !has_news(p)))
        conclude(p);
    else if (!submit_read(p))
        fail(p, "overloaded", NO_MEMORY, 1);
}

void poll_go_on(struct poll *p)
{
    serve(p);
}

void poll_away(struct poll *p)
{
    fail(p, "unavailable", AWAY, 1);
}

bool poll_takes(const struct poll *p)
{
    return p->waiting && p->waiting->wait && p->known && !p->reading && !p->taken && !p->fetching;
}

void poll_give(struct poll *p)
{
    answer_nothing(p);
}

/* Takes over what the attach has brought. */
static void learn(struct poll *p, struct op_attach *a)
{
    p->cursor = a->cursor;
    p->known = true;
    if (a->page.top > p->wanted)
        p->wanted = a->page.top;
    if (p->wanted == p->asked_for)
        p->wanted = a->page.top; /* what was hoped for beyond is not there: the store has lost it */
    p->empty = a->page.njobs || a->page.more ? 0 : a->page.top;
    if (p->waiting && p->waiting->after != CALL_NO_AFTER)
        p->waiting->after = a->cursor; /* clamped */
    p->read_from = a->cursor;
    p->page = a->page;
    a->page = (struct op_page){0};
}

/* The page is there and somebody waits for it. */
static void give_page(struct poll *p)
{
    const struct call *call = p->waiting;
    unsigned n = p->page.njobs < call->limit ? p->page.njobs : call->limit;
    uint64_t last = n ? p->page.jobs[n - 1]->head.seq : p->page.gap;
    if (last <= p->cursor) {
        drop_page(p);
        serve(p); /* nothing, and the store is not asked again before there is something */
        return;
    }
    p->taken = n;
    if (n == 0) {
        if (call->take)
            poll_ack(p, last);
        answer_page(p);
    } else if (!call->take) {
        p->written = true;
        serve(p);
    } else if (submit_ack(p, last, p->id)) {
        p->cursor = last;
    } else {
        drop_page(p);
        fail(p, "overloaded", NO_MEMORY, 1);
    }
}

static void read_for_whom(struct poll *p, struct op_attach *a)
{
    if (p->waiting && p->waiting->after != p->asked_after) {
        p->known = false; /* a newer poll, which brought another cursor: once more, from there */
        serve(p);
        return;
    }
    learn(p, a);
    if (p->waiting)
        give_page(p);
    else
        drop_page(p);
}

static void read_done(struct poll *p, struct op *op)
{
    p->reading = false;
    switch (op->status) {
    case OP_OK:
        metric_add(p->shard->m, M_FETCHES, op->attach.page.njobs > 0);
        read_for_whom(p, &op->attach);
        break;
    case OP_REFUSED:
        fail(p, "bad_request", op->error, 0);
        break;
    case OP_FULL:
        p->known = false;
        fail(p, "overloaded", "too much is waiting for the store; poll again later", 1);
        break;
    case OP_AWAY:
        p->known = false;
        if (p->waiting && !p->waiting->wait) /* others wait for the store to come back */
            fail(p, "unavailable", AWAY, 1);
        break;
    }
}

/* The cursor is written, or the store went away over it: then it is asked again before anything else is given out. A
 * page whose poll has gone meanwhile is kept for the next one. */
static void ack_done(struct poll *p, const struct op *op)
{
    if (op->status != OP_OK)
        p->known = false;
    if (!p->taken || op->serial != p->serial)
        return;
    p->written = true;
    serve(p);
}

void polls_op_back(struct shard *s, struct op *op)
{
    struct poll *p = idmap_get(&s->polls, op->conn);
    if (p && op->kind == OP_ATTACH)
        read_done(p, op);
    else if (p && op->kind == OP_ACK)
        ack_done(p, op);
    if (p && op->kind == OP_FETCH)
        poll_rooms_page(p, op);
    op_free(op);
}

/* ---- what comes for the user ---- */

void poll_behind(struct poll *p, uint64_t seq)
{
    if (seq > p->wanted)
        p->wanted = seq;
    serve(p);
}

void poll_offer(struct poll *p, struct job *j)
{
    if (j->head.seq) {
        poll_behind(p, j->head.seq);
    } else if (poll_takes(p) && poll_rooms_ready(p)) {
        answer(p, &(struct said){.jobs = &j, .n = 1, .cursor = from(p)});
    } else if (p->waiting) {
        metric_add(p->shard->m, M_DROP_BEHIND, 1);
        track_dropped(p->shard, NULL, j, "behind");
    }
}

void polls_deliver_all(struct shard *s, struct job *j)
{
    size_t it = 0;
    struct poll *p;
    while ((p = idmap_next(&s->polls, &it)) != NULL) {
        if (p->waiting)
            poll_offer(p, j);
    }
}

void polls_store_back(struct shard *s)
{
    size_t it = 0;
    struct poll *p;
    while ((p = idmap_next(&s->polls, &it)) != NULL) {
        p->known = false;
        serve(p);
    }
}

/* ---- life ---- */

static struct poll *poll_new(struct shard *s, const struct call *call)
{
    size_t n = strlen(call->device) + 1;
    struct poll *p = calloc(1, sizeof *p + n);
    if (!p)
        return NULL;
    memcpy(p->device, call->device, n);
    p->shard = s;
    p->id = POLL_ID_BIT | ++s->next_poll;
    p->named = call->named;
    list_init(&p->rooms);
    buf_init(&p->gaps, (size_t)s->cfg->max_rooms * ROOM_BYTES);
    if (!idmap_put(&s->polls, p)) {
        free(p);
        return NULL;
    }
    if (!user_join_poll(s, p, span_str(call->user))) {
        (void)idmap_remove(&s->polls, p->id);
        free(p);
        return NULL;
    }
    metric_add(s->m, M_CONNS_POLL, 1);
    return p;
}

static void submit_detach(struct poll *p, const char *user, bool last)
{
    struct op *op = op_new(OP_DETACH);
    if (!op)
        return;
    op->detach.user = span_dup(span_str(user));
    op->detach.device = span_dup(span_str(p->device));
    op->detach.named = p->named;
    op->detach.last = last;
    if (op->detach.user && op->detach.device)
        shard_submit(p->shard, op);
    else
        op_free(op);
}

/* Answers who waits with what there is. */
static void end_wait(struct poll *p)
{
    if (p->waiting && p->taken)
        answer_page(p);
    else if (p->waiting)
        answer_nothing(p);
}

void poll_end(struct poll *p)
{
    struct shard *s = p->shard;
    char user[129];
    snprintf(user, sizeof user, "%s", p->user->name); /* gone with its last poll */
    end_wait(p);                                      /* if a cursor is being written, it is ahead of the detach */
    drop_page(p);
    poll_rooms_leave(p);
    buf_fini(&p->gaps);
    (void)idmap_remove(&s->polls, p->id);
    list_unlink(&p->idle);
    submit_detach(p, user, user_leave_poll(s, p));
    metric_sub(s->m, M_CONNS_POLL, 1);
    free(p);
}

void polls_tick(struct shard *s)
{
    while (!list_empty(&s->idle_polls)) {
        struct poll *p = CONTAINER_OF(s->idle_polls.next, struct poll, idle);
        uint64_t idle_ms = s->now_ms - p->idle_since_ms;
        if (idle_ms < LINGER_MS) {
            wheel_arm(&s->wheel, &s->poll_timer, s->now_ms, (uint32_t)(LINGER_MS - idle_ms));
            return;
        }
        poll_end(p);
    }
}

void polls_drain(struct shard *s)
{
    size_t it = 0;
    struct poll *p;
    while ((p = idmap_next(&s->polls, &it)) != NULL) {
        end_wait(p);
    }
}

void polls_end_all(struct shard *s)
{
    size_t it = 0;
    struct poll *p;
    while ((p = idmap_next(&s->polls, &it)) != NULL)
        poll_end(p);
}

/* ---- calls ---- */

/* The poll that this call is about: only the one it was made for. */
static struct poll *asked_by(struct shard *s, const struct call *call)
{
    struct poll *p = user_poll(s, span_str(call->user), span_str(call->device));
    bool its = p && p->waiting && p->waiting->shard == call->shard && p->waiting->conn == call->conn;
    return its ? p : NULL;
}

void poll_ask(struct shard *s, struct call *call)
{
    if (s->draining) {
        call_fail(s, call, no_ref(), "unavailable", "the broker is about to stop", 1);
        return;
    }
    struct poll *p = user_poll(s, span_str(call->user), span_str(call->device));
    if (p)
        end_wait(p);
    else
        p = poll_new(s, call);
    if (!p) {
        call_fail(s, call, no_ref(), "overloaded", NO_MEMORY, 1);
        return;
    }
    metric_add(s->m, M_CLIENT_MSGS_IN, 1);
    list_unlink(&p->idle);
    p->waiting = call;
    metric_add(s->m, M_POLLS_HELD, 1);
    if (call->after != CALL_NO_AFTER)
        drop_page(p);
    note_after(p);
    switch (poll_rooms_wish(p, call)) {
    case POLL_WISH_GOOD:
        serve(p);
        break;
    case POLL_WISH_TOO_FAST:
        metric_add(s->m, M_RATE_LIMITED, 1);
        fail(p, "rate_limited", LIMITS_SENTENCE, 1);
        break;
    case POLL_WISH_NO_MEMORY:
        fail(p, "overloaded", NO_MEMORY, 1);
        break;
    }
}

void poll_hurry(struct shard *s, struct call *call)
{
    struct poll *p = asked_by(s, call);
    if (p && (p->reading || p->taken || p->fetching))
        p->waiting->wait = false;
    else if (p && p->known && poll_rooms_ready(p))
        answer_nothing(p);
    else if (p)
        fail(p, "unavailable", AWAY, 1);
    call_free(call);
}

void poll_forget(struct shard *s, struct call *call)
{
    struct poll *p = asked_by(s, call);
    if (p)
        call_free(stop_waiting(p, false));
    call_free(call);
}
