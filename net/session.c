/*
 * session.c - one client, whatever its transport: attach, the node rule, the window, acks, broadcast, the end.
 *
 * Runs on the shard that owns the user. A session is embedded in its transport's state and dies with its connection
 * (session_end). NEW -> ATTACHING (the store registers it and reads the first page) -> LIVE -> OVER. While it attaches
 * or fetches, arriving stored messages only raise `wanted`; live-only ones to its user are dropped as `behind`: order
 * is promised among stored ones.
 *
 * `sent` never goes back: everything at or below it was queued to this connection or is gone from the inbox for good.
 * What is queued and not acked is in `flight`, at most the window; past it, or past the soft limit of the output queue,
 * the inbox is the queue, and session_pump fetches when an ack or a flush has made room.
 */
#include "net/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/hash.h"
#include "core/msg.h"
#include "net/auth.h"
#include "net/call.h"
#include "net/room.h"
#include "net/session_block.h"
#include "net/shard.h"
#include "net/track.h"
#include "net/user.h"

#define FLIGHT_FIRST    8u
#define OBJECT_MAX      4096 /* a welcome, an answer */
#define RETRY_SPREAD_MS 5000 /* clients told to go come back spread over this long */
#define WARN_BEFORE_S   60
#define ACK_BATCH       512

static struct metrics *metrics_of(const struct session *s)
{
    return s->conn->shard->m;
}

static struct frame *plain_frame(struct session *s, struct frame_cache *fc)
{
    return frame_cache_get(fc, s->conn->shard, s->io->codec, s->io->wire, s->io->wrap);
}

struct frame *session_frame(struct session *s, struct frame_cache *fc)
{
    struct frame *f = frame_cache_have(fc, s->wire);
    if (f)
        return f;
    f = plain_frame(s, fc);
    return f && s->wire != s->io->wire ? s->io->squeeze(s, fc, f) : f;
}

/* ---- answers ---- */

static void send_object(struct session *s, struct buf *b, bool encoded)
{
    if (encoded && s->state != SESSION_OVER)
        (void)s->io->control(s, buf_span(b));
    buf_fini(b);
}

enum codec session_codec(const struct session *s)
{
    return s->call ? (enum codec)s->call->codec : s->io->codec;
}

void session_answer(struct session *s, unsigned status, struct span object)
{
    struct call *call = s->call;
    s->call = NULL;
    if (call)
        call_answer(s->conn->shard, call, status, object);
    else if (s->state != SESSION_OVER)
        (void)s->io->control(s, object);
}

bool session_answer_error(struct session *s, struct span ref, const char *code, const char *message,
                          unsigned retry_after)
{
    struct buf b;
    buf_init(&b, OBJECT_MAX);
    if (s->call)
        s->call->retry_after_s = retry_after;
    if (encode_error(session_codec(s), ref, code, message, retry_after, &b))
        session_answer(s, call_status(code), buf_span(&b));
    buf_fini(&b);
    return s->state != SESSION_OVER;
}

static void say_welcome(struct session *s, uint64_t pending)
{
    const struct shard *sh = s->conn->shard;
    const struct config *cfg = sh->cfg;
    struct welcome w = {
        .conn = s->conn->id,
        .user = span_str(s->user ? s->user->name : NULL),
        .device = span_str(s->device),
        .node = span_str(sh->node),
        .cursor = s->acked,
        .pending = pending,
        .ping_s = cfg->ping_ms / 1000,
        .max_message = cfg->max_message,
        .max_payload = cfg->max_payload,
        .max_rooms = cfg->max_rooms,
        .window = cfg->window,
    };
    struct buf b;
    buf_init(&b, OBJECT_MAX);
    send_object(s, &b, encode_welcome(s->io->codec, &w, &b));
    if (s->io->welcomed && s->state == SESSION_LIVE)
        s->io->welcomed(s);
    conn_cork(s->conn, false);
}

static void tell_gap(struct session *s, uint64_t to)
{
    struct buf b;
    buf_init(&b, OBJECT_MAX);
    metric_add(metrics_of(s), M_GAPS, 1);
    send_object(s, &b, encode_gap(s->io->codec, (struct span){NULL, 0}, s->sent + 1, to, &b));
}

/* ---- the window ---- */

static bool flight_push(struct session *s, uint64_t seq)
{
    if (s->flight_count == s->flight_cap) {
        unsigned cap = s->flight_cap ? s->flight_cap * 2u : FLIGHT_FIRST;
        uint64_t *ring = cap <= UINT16_MAX ? malloc(cap * sizeof *ring) : NULL;
        if (!ring)
            return false;
        for (unsigned i = 0; i < s->flight_count; i++)
            ring[i] = s->flight[(s->flight_head + i) % s->flight_cap];
        free(s->flight);
        s->flight = ring;
        s->flight_head = 0;
        s->flight_cap = (uint16_t)cap;
    }
    s->flight[(s->flight_head + s->flight_count) % s->flight_cap] = seq;
    s->flight_count++;
    return true;
}

static void flight_pop(struct session *s, uint64_t upto)
{
    while (s->flight_count && s->flight[s->flight_head] <= upto) {
        s->flight_head = (uint16_t)((s->flight_head + 1u) % s->flight_cap);
        s->flight_count--;
    }
    if (s->flight_count == 0) {
        free(s->flight);
        s->flight = NULL;
        s->flight_head = s->flight_cap = 0;
    }
}

/* Is the number of unacknowledged messages what bounds this session (else its output queue alone)? */
static bool windowed(const struct session *s)
{
    return !s->io->one_way || s->ack_mode == ACK_SENT;
}

static bool may_send_stored(const struct session *s)
{
    return s->flight_count < s->conn->shard->cfg->window && !conn_backlogged(s->conn);
}

/* ---- messages ---- */

enum out_class session_live_class(const struct job *j)
{
    switch (j->head.priority) {
    case PRIO_LOW:
        return OUT_LOW;
    case PRIO_NORMAL:
        return OUT_NORMAL;
    case PRIO_HIGH:
        return OUT_HIGH;
    }
    return OUT_NORMAL;
}

static void too_slow(struct session *s)
{
    s->io->close(s, 4008, "slow consumer", CLOSE_SLOW);
}

/* Queues a message frame; false when it was not taken. */
static bool queue(struct session *s, struct frame *f, enum out_class cls, unsigned messages)
{
    if (!f) {
        metric_add(metrics_of(s), M_DROP_MEMORY, messages);
        return false;
    }
    switch (s->io->push ? s->io->push(s, f, cls) : conn_push(s->conn, f, cls)) {
    case OUT_OK:
        metric_add(metrics_of(s), M_DELIVERED, messages);
        return true;
    case OUT_OVER:
        too_slow(s);
        return false;
    case OUT_NO_MEMORY:
        metric_add(metrics_of(s), M_DROP_MEMORY, messages);
        if (f->tracked)
            track_dropped(s->conn->shard, s, f->tracked, "memory");
        return false;
    case OUT_DROPPED_SELF:
    case OUT_LEFT:
        return false;
    }
    return false;
}

void session_want(struct session *s, uint64_t seq)
{
    if (seq <= s->wanted)
        return;
    s->wanted = seq;
    s->news = true;
}

/* The next stored message of this session; false: no room now, it stays in the inbox. */
static bool send_stored(struct session *s, struct frame_cache *fc)
{
    uint64_t seq = fc->job->head.seq;
    if (!may_send_stored(s) || (windowed(s) && !flight_push(s, seq))) {
        metric_add(metrics_of(s), M_LEFT_TO_INBOX, 1);
        return false;
    }
    if (!queue(s, session_frame(s, fc), OUT_STORED, 1)) {
        if (windowed(s))
            s->flight_count--;
        s->stuck = !outq_empty(&s->conn->out);
        metric_add(metrics_of(s), M_LEFT_TO_INBOX, 1);
        return false;
    }
    s->sent = seq;
    session_want(s, seq);
    track_queued(s, fc->job);
    if (s->ack_mode != ACK_EXPLICIT && s->io->want_evidence)
        s->io->want_evidence(s);
    return true;
}

static void offer_stored(struct session *s, struct frame_cache *fc)
{
    const struct job_head *h = &fc->job->head;
    if (h->seq <= s->sent) {
        if (fc->job->again && h->seq > s->acked && s->state == SESSION_LIVE)
            (void)queue(s, session_frame(s, fc), OUT_STORED, 1);
        return;
    }
    bool next = h->prev <= s->sent && s->state == SESSION_LIVE && !s->fetching && s->wanted <= s->sent;
    session_want(s, h->seq);
    if (next)
        (void)send_stored(s, fc);
    else
        session_pump(s);
}

void session_offer(struct session *s, struct frame_cache *fc)
{
    const struct job *j = fc->job;
    if (s->state == SESSION_OVER || s->conn->state != CONN_OPEN)
        return;
    if (j->head.seq) {
        offer_stored(s, fc);
    } else if (j->head.kind == TARGET_USER && (s->state != SESSION_LIVE || s->fetching || s->wanted > s->sent)) {
        metric_add(metrics_of(s), M_DROP_BEHIND, 1);
        track_dropped(s->conn->shard, s, fc->job, "behind");
    } else if (!s->mutes || !session_muted(s, j)) {
        (void)queue(s, session_frame(s, fc), session_live_class(j), 1);
    }
}

bool session_offer_history(struct session *s, struct frame_cache *fc)
{
    if (s->state == SESSION_OVER || s->conn->state != CONN_OPEN || conn_backlogged(s->conn))
        return false;
    if (s->mutes && session_muted(s, fc->job))
        return true;
    return queue(s, session_frame(s, fc), OUT_STORED, 1);
}

bool session_offer_block(struct session *s, struct frame *block, const struct job *first, unsigned messages,
                         struct joint *j)
{
    if (!session_takes_blocks(s))
        return false;
    if (outq_empty(&s->conn->out))
        return queue(s, block, session_live_class(first), messages);
    if (!conn_join(s->conn, j, block, session_live_class(first)))
        return false;
    metric_add(metrics_of(s), M_DELIVERED, messages);
    return true;
}

void session_deliver_all(struct shard *sh, struct job *j)
{
    struct frame_cache fc;
    frame_cache_init(&fc, j);
    size_t it = 0;
    struct conn *c;
    while ((c = idmap_next(&sh->conns, &it)) != NULL) {
        struct session *s = c->state == CONN_OPEN && c->proto->session ? c->proto->session(c) : NULL;
        if (s && (s->state == SESSION_LIVE || s->state == SESSION_ATTACHING))
            session_offer(s, &fc);
    }
    frame_cache_fini(&fc);
}

/* ---- fetching ---- */

void session_pump(struct session *s)
{
    if (s->state != SESSION_LIVE || s->fetching || s->stuck || s->wanted <= s->sent || !may_send_stored(s) || !s->user)
        return;
    struct op *op = op_new(OP_FETCH);
    if (!op)
        return;
    op->fetch.user = span_dup(span_str(s->user->name));
    if (!op->fetch.user) {
        op_free(op);
        return;
    }
    op->conn = s->conn->id;
    op->fetch.from = s->sent;
    s->news = false;
    s->fetching = true;
    shard_submit(s->conn->shard, op);
}

void session_drained(struct session *s)
{
    if (s->state != SESSION_LIVE)
        return;
    s->stuck = false;
    session_pump(s);
    if (s->behind_rooms)
        room_session_pump(s);
}

/* One page of the inbox, from `sent` on. */
static void take_page(struct session *s, const struct op_page *p)
{
    if (p->gap > s->sent) {
        tell_gap(s, p->gap);
        s->sent = p->gap;
    }
    unsigned i = 0;
    for (; i < p->njobs && s->state == SESSION_LIVE && s->conn->state == CONN_OPEN; i++) {
        struct frame_cache fc;
        frame_cache_init(&fc, p->jobs[i]);
        bool taken = p->jobs[i]->head.seq <= s->sent || send_stored(s, &fc);
        frame_cache_fini(&fc);
        if (!taken)
            break;
    }
    if (i == p->njobs && !p->more && p->top > s->sent)
        s->sent = p->top; /* what lies between has expired or was trimmed */
    if (i == p->njobs && !p->more && s->wanted > s->sent && !s->news)
        s->wanted = s->sent; /* it is not there: the store has lost it, and asking again would bring no more */
    session_want(s, p->top);
    session_pump(s);
}

static void fetched(struct session *s, struct op *op)
{
    s->fetching = false;
    if (op->status == OP_OK) {
        metric_add(metrics_of(s), M_FETCHES, 1);
        take_page(s, &op->fetch.page);
    }
    op_free(op); /* store away: session_store_back asks again */
}

/* ---- attach ---- */

static bool submit_attach(struct session *s)
{
    struct op *op = op_new(OP_ATTACH);
    if (!op)
        return false;
    op->attach.user = span_dup(span_str(s->user->name));
    op->attach.device = span_dup(span_str(s->device));
    if (!op->attach.user || !op->attach.device) {
        op_free(op);
        return false;
    }
    op->conn = s->conn->id;
    op->attach.named = s->named;
    op->attach.has_since = s->since != UINT64_MAX;
    op->attach.since = op->attach.has_since ? s->since : 0;
    s->news = false;
    s->fetching = true;
    shard_submit(s->conn->shard, op);
    return true;
}

static void attached(struct session *s, struct op *op)
{
    s->fetching = false;
    if (op->status == OP_REFUSED) {
        s->io->close(s, 1008, op->error, CLOSE_POLICY);
    } else if (op->status == OP_OK) {
        s->state = SESSION_LIVE;
        s->acked = s->sent = op->attach.cursor;
        metric_add(metrics_of(s), M_FETCHES, op->attach.page.njobs > 0);
        say_welcome(s, op->attach.pending);
        take_page(s, &op->attach.page);
    } else {
        conn_cork(s->conn, false); /* the upgrade is answered; the welcome comes when the store is back */
    }
    op_free(op);
}

static void name_device(struct session *s)
{
    s->named = s->who->device != NULL;
    s->device = s->named ? s->who->device : s->who->spare;
    if (!s->named) {
        s->device[0] = '~';
        random_word_from(&s->conn->shard->random, s->device + 1, IDENTITY_SPARE - 2);
    }
}

void session_start(struct session *s, struct conn *c, const struct session_io *io)
{
    s->conn = c;
    s->io = io;
    s->wire = io->wire;
    metric_add(c->shard->m, io->clients, 1);
    s->state = SESSION_ATTACHING;
    if (!s->who->user) {
        s->state = SESSION_LIVE;
        s->acked = 0;
        say_welcome(s, 0);
        return;
    }
    name_device(s);
    if (!user_join(c->shard, s, span_str(s->who->user)) || !submit_attach(s))
        conn_close(c, CLOSE_MEMORY);
}

void session_op_done(struct session *s, struct op *op)
{
    switch (op->kind) {
    case OP_ATTACH:
        attached(s, op);
        break;
    case OP_FETCH:
        if (op->fetch.room)
            room_session_page(s->conn->shard, s, op);
        else
            fetched(s, op);
        break;
    case OP_PUSH:
        session_push_done(s, op);
        break;
    case OP_QUERY:
        session_query_done(s, op);
        break;
    case OP_DETACH:
    case OP_ACK:
    case OP_INTEREST:
    case OP_PRESENCE:
    case OP_WATCH:
    case OP_CONTROL:
    case OP_TRACK:
    case OP_FORWARD:
    case OP_ANSWER:
        op_free(op);
        break;
    }
}

void session_nudge(struct session *s)
{
    if (!s->conn->shard->store_ready || s->fetching || !s->user || s->conn->state != CONN_OPEN)
        return;
    if (s->state == SESSION_ATTACHING)
        (void)submit_attach(s);
    else
        session_pump(s);
}

void session_store_back(struct shard *sh)
{
    size_t it = 0;
    struct conn *c;
    while ((c = idmap_next(&sh->conns, &it)) != NULL) {
        struct session *s = c->state == CONN_OPEN && c->proto->session ? c->proto->session(c) : NULL;
        if (!s || !s->user || s->fetching)
            continue;
        if (s->state == SESSION_ATTACHING)
            (void)submit_attach(s);
        else
            session_pump(s);
    }
}

/* ---- acks ---- */

static void mark_acked(struct session *s)
{
    struct shard *sh = s->conn->shard;
    if (list_linked(&s->ack_dirty))
        return;
    list_push(&sh->ack_dirty, &s->ack_dirty);
    if (!timer_armed(&sh->ack_timer))
        wheel_arm(&sh->wheel, &sh->ack_timer, sh->now_ms, sh->cfg->ack_flush_ms);
}

void session_ack(struct session *s, uint64_t seq)
{
    if (s->state != SESSION_LIVE || !s->user)
        return;
    if (seq > s->sent)
        seq = s->sent;
    if (seq <= s->acked)
        return;
    s->acked = seq;
    flight_pop(s, seq);
    if (s->tracked)
        track_acked(s);
    mark_acked(s);
    session_pump(s);
}

static bool fill_ack(struct op_ack_entry *e, const struct session *s)
{
    e->user = span_dup(span_str(s->user->name));
    e->device = span_dup(span_str(s->device));
    e->named = s->named;
    e->seq = s->acked;
    return e->user && e->device;
}

static struct op *ack_batch(struct shard *sh)
{
    struct op *op = op_new(OP_ACK);
    if (!op)
        return NULL;
    op->ack.v = calloc(ACK_BATCH, sizeof *op->ack.v);
    bool ok = op->ack.v != NULL;
    while (ok && op->ack.n < ACK_BATCH && !list_empty(&sh->ack_dirty)) {
        struct session *s = CONTAINER_OF(sh->ack_dirty.next, struct session, ack_dirty);
        ok = fill_ack(&op->ack.v[op->ack.n], s);
        op->ack.n++;
        if (ok)
            list_unlink(&s->ack_dirty);
    }
    if (ok)
        return op;
    op_free(op);
    return NULL;
}

void session_flush_acks(struct shard *sh)
{
    while (!list_empty(&sh->ack_dirty)) {
        struct op *op = ack_batch(sh);
        if (!op) {
            wheel_arm(&sh->wheel, &sh->ack_timer, sh->now_ms, sh->cfg->ack_flush_ms);
            return;
        }
        shard_submit(sh, op);
    }
}

/* Acks that could not be written are marked again; sessions that ended meanwhile gave theirs to the detach. */
void session_acks_back(struct shard *sh, struct op *op)
{
    if (op->status == OP_OK) {
        op_free(op); /* the store has counted them */
        return;
    }
    for (unsigned i = 0; i < op->ack.n; i++) {
        struct user *u = map_get(&sh->users, span_str(op->ack.v[i].user));
        for (struct list *l = u ? u->sessions.next : NULL; u && l != &u->sessions; l = l->next) {
            struct session *s = CONTAINER_OF(l, struct session, in_user);
            if (strcmp(s->device, op->ack.v[i].device) == 0)
                mark_acked(s);
        }
    }
    op_free(op);
}

/* ---- the token's end ---- */

uint32_t session_token_check(struct session *s)
{
    if (s->who->expires_s == 0)
        return 0;
    uint64_t now = clock_real_us() / 1000, end = s->who->expires_s * 1000;
    if (now >= end) {
        s->io->close(s, 4002, "token expired", CLOSE_EXPIRED);
        return 0;
    }
    uint64_t left = end - now, warn = WARN_BEFORE_S * 1000ull;
    if (!s->warned && left <= warn) {
        struct buf b;
        s->warned = true;
        buf_init(&b, OBJECT_MAX);
        send_object(s, &b, encode_expiring(s->io->codec, (unsigned)(left / 1000), &b));
    }
    uint64_t next = s->warned ? left : left - warn;
    return (uint32_t)(next < 3600000 ? next + 1 : 3600000);
}

/* ---- the end ---- */

void session_goodbye(struct session *s)
{
    struct buf b;
    buf_init(&b, OBJECT_MAX);
    send_object(s, &b,
                encode_closing(s->io->codec, 1001, "going away", (unsigned)random_below(RETRY_SPREAD_MS) + 100, &b));
    s->told = true;
    if (s->state != SESSION_OVER)
        s->io->close(s, 1001, "going away", CLOSE_DRAIN);
}

static void detach(struct session *s, bool last)
{
    struct op *op = op_new(OP_DETACH);
    if (!op)
        return;
    op->detach.user = span_dup(span_str(s->who->user));
    op->detach.device = span_dup(span_str(s->device));
    if (!op->detach.user || !op->detach.device) {
        op_free(op);
        return;
    }
    op->detach.named = s->named;
    op->detach.last = last;
    op->detach.acked = list_linked(&s->ack_dirty) ? s->acked : 0;
    shard_submit(s->conn->shard, op);
}

void session_end(struct session *s)
{
    if (s->state == SESSION_OVER)
        return;
    if (s->state != SESSION_NEW) {
        metric_sub(metrics_of(s), s->io->clients, 1);
        s->state = SESSION_OVER;
        room_leave_all(s->conn->shard, s);
        if (s->user)
            detach(s, user_leave(s->conn->shard, s));
        list_unlink(&s->ack_dirty);
    }
    s->state = SESSION_OVER;
    session_forget_pending(s);
    track_forget(s);
    free(s->flight);
    free(s->rates);
    if (s->owns_device)
        free(s->device);
    identity_free(s->who);
    s->flight = NULL;
    s->rates = NULL;
    s->device = NULL;
    s->who = NULL;
}
