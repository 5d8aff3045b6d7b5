/*
 * redis_push.c - sends: to users by way of their inbox, to rooms and everybody by PUBLISH.
 *
 * Idea: sends to users are collected for the length of one loop turn and leave as one call of up to BATCH messages
 * (about a third cheaper for Redis than one by one). Any other command flushes the open batch first, so the order in
 * which ops came is the order in which Redis carries them out.
 *
 * A batch remembers for each of its messages which op and target it answers; a raw message has its entry instead.
 * `pending` counts an op's unanswered targets: the last answer ends the op. Payloads are copied into the batch at once,
 * so nothing here borrows from a subscription's buffer.
 *
 * Bounded: at most REDIS_MAX_PUSHES messages and REDIS_MAX_PUSH_BYTES bytes wait for answers; past that OP_FULL, and of
 * low priority past half of it. What is full is full for all targets of an op, so nobody sends half of one again. Raw
 * messages have nobody to be told "full", so many more of them may wait (REDIS_MAX_RAW, within the same bytes).
 *
 * Dispatcher thread.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/config.h"
#include "core/metrics.h"
#include "proto/envelope.h"
#include "proto/names.h"
#include "proto/room_rules.h"
#include "store/redis_ingest.h"
#include "store/redis_keys.h"
#include "store/redis_ledger.h"
#include "store/redis_page.h"
#include "store/redis_store.h"
#include "store/redis_users.h"

/* What the functions say of a message that they did not store: its id was there already, its claim was somebody else's,
 * or too old. */
enum { DUP_NONE, DUP_ID, DUP_TAKEN, DUP_OLD, DUP_FAILED };
enum {
    BATCH = 32,
    BATCH_BYTES = 256 * 1024,
    MAX_TTL_S = 315360000,
    RELAY_S = 86400, /* the relay's attempts last at most, about */
    RAW_NAME = 48,
    RESULT = 13,    /* I8 seq, I4 receivers, B what became of it: one of a batch */
    TERMS = 7 + 12, /* I4 ttl, B id, B name, B claim; I8 marker, I4 bit */
};

/* An op under way. */
struct pending {
    struct op *op;
    unsigned left; /* targets without an answer, and one for whoever is still adding */
    bool in_submit;
};

/* Who waits for one message. */
struct waiter {
    struct pending *pending; /* NULL: a raw message */
    struct op_target *target;
    size_t bytes;
    struct ingest_entry *raw;
};

struct redis_batch {
    bool raw; /* of raw messages alone: nobody waits, so the answer may be late */
    unsigned n;
    size_t bytes;
    struct waiter v[BATCH];
};

/* ---- answers ---- */

static void release(struct redis_store *s, struct pending *p)
{
    if (--p->left > 0)
        return;
    struct op *op = p->op;
    enum op_status status = OP_OK;
    for (unsigned i = 0; i < op->push.ntargets && status == OP_OK; i++)
        status = op->push.targets[i].status;
    if (p->in_submit)
        redis_finish(s, op, status, NULL);
    else
        redis_finish_now(s, op, status, NULL);
    free(p);
}

static void answer_raw(struct redis_store *s, const struct waiter *w, enum raw_fate fate, const char *why)
{
    s->pushes--;
    s->push_bytes -= w->bytes;
    redis_ingest_outcome(s, w->raw, fate, why);
}

static void answer(struct redis_store *s, const struct waiter *w, enum op_status status, const char *why)
{
    if (w->raw) {
        answer_raw(s, w, status == OP_OK ? RAW_STORED : RAW_AGAIN, why);
        return;
    }
    s->pushes--;
    s->push_bytes -= w->bytes;
    w->target->status = status;
    struct op *op = w->pending->op;
    if (status != OP_OK && op->error[0] == '\0')
        snprintf(op->error, sizeof(op->error), "%s", why);
    release(s, w->pending);
}

static struct waiter wait_for(struct redis_store *s, struct pending *p, struct op_target *t, size_t bytes,
                              struct ingest_entry *raw)
{
    s->pushes++;
    s->push_bytes += bytes;
    if (p)
        p->left++;
    return (struct waiter){p, t, bytes, raw};
}

/* ---- to users ---- */

/* What a function says of one message. */
struct sent {
    uint64_t seq;
    unsigned online;
    unsigned dup;
    const char *error; /* NULL: none */
};

static void answer_sent(struct redis_store *s, const struct waiter *w, const struct sent *a)
{
    if (a->error) {
        if (w->raw)
            answer_raw(s, w, RAW_NEVER, a->error);
        else
            answer(s, w, OP_AWAY, a->error);
        return;
    }
    if (w->target) {
        w->target->seq = a->seq;
        w->target->online = a->online;
        w->target->duplicate = a->dup != DUP_NONE;
    }
    if (a->seq && a->dup == DUP_NONE)
        metric_add(s->metrics, M_STORED, 1);
    if (w->raw && a->dup == DUP_TAKEN)
        answer_raw(s, w, RAW_TAKEN, NULL);
    else if (w->raw && a->dup == DUP_OLD)
        answer_raw(s, w, RAW_OLD, NULL);
    else
        answer(s, w, OP_OK, NULL);
}

/* {seq, receivers, dup}, or {-1, error}. */
static void answer_send(struct redis_store *s, const struct waiter *w, const struct redisReply *r)
{
    if (redis_integers(r, 3)) {
        answer_sent(s, w,
                    &(struct sent){.seq = redis_integer(r, 0),
                                   .online = (unsigned)redis_integer(r, 1),
                                   .dup = (unsigned)redis_integer(r, 2)});
    } else if (r->type == REDIS_REPLY_ARRAY && r->elements == 2 && r->element[1]->type == REDIS_REPLY_STRING) {
        answer_sent(s, w, &(struct sent){.error = r->element[1]->str});
    } else {
        answer(s, w, OP_AWAY, "Redis gave a strange answer.");
    }
}

/* {results, index, error, ...}: one RESULT a message. */
static bool is_batch_answer(const struct redisReply *r, unsigned n)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 1 || r->element[0]->type != REDIS_REPLY_STRING ||
        (size_t)r->element[0]->len != (size_t)n * RESULT || r->elements % 2 == 0)
        return false;
    for (size_t i = 1; i < r->elements; i += 2) {
        if (r->element[i]->type != REDIS_REPLY_INTEGER || r->element[i + 1]->type != REDIS_REPLY_STRING)
            return false;
    }
    return true;
}

static const char *error_of(const struct redisReply *r, unsigned index)
{
    for (size_t i = 1; i < r->elements; i += 2) {
        if (r->element[i]->integer == (long long)index + 1)
            return r->element[i + 1]->str;
    }
    return "Redis does not say what is wrong.";
}

static struct sent batch_result(const struct redisReply *r, unsigned index)
{
    const uint8_t *p = (const uint8_t *)r->element[0]->str + (size_t)index * RESULT;
    return (struct sent){.seq = redis_big_endian(p, 8),
                         .online = (unsigned)redis_big_endian(p + 8, 4),
                         .dup = p[12],
                         .error = p[12] < DUP_FAILED ? NULL : error_of(r, index)};
}

static void on_batch(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct redis_batch *b = arg;
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (status == OP_OK && !is_batch_answer(r, b->n)) {
        status = OP_AWAY;
        snprintf(why, sizeof(why), "Redis gave a strange answer.");
    }
    for (unsigned i = 0; i < b->n; i++) {
        if (status == OP_OK) {
            struct sent a = batch_result(r, i);
            answer_sent(s, &b->v[i], &a);
        } else {
            answer(s, &b->v[i], status, why);
        }
    }
    free(b);
}

/* The open batch finds no way out. Called under submit or from the turn's end. */
static void give_back(struct redis_store *s, struct redis_batch *b, enum op_status status)
{
    for (unsigned i = 0; i < b->n; i++) {
        if (b->v[i].pending)
            b->v[i].pending->in_submit = true;
        answer(s, &b->v[i], status, status == OP_FULL ? "Too much is waiting for Redis." : "Redis is away.");
    }
    free(b);
}

void redis_batch_flush(struct redis_store *s)
{
    struct redis_batch *b = s->batch;
    if (!b)
        return;
    s->batch = NULL;
    resp_reset(&s->head);
    resp_str(&s->head, "FCALL");
    resp_str(&s->head, "crier_send");
    resp_u64(&s->head, s->keys.n);
    const struct resp_args *parts[] = {&s->head, &s->keys, &s->sends};
    enum redis_sent sent = redis_conn_send(s->cmd, parts, ARRAY_LEN(parts), on_batch, b, b->raw);
    resp_reset(&s->keys);
    resp_reset(&s->sends);
    if (sent != REDIS_SENT)
        give_back(s, b, sent == REDIS_TOO_MUCH ? OP_FULL : OP_AWAY);
}

void redis_on_batch_turn(int fd, short what, void *arg)
{
    (void)fd, (void)what;
    redis_batch_flush(arg);
}

static struct redis_batch *open_batch(struct redis_store *s, bool raw)
{
    if (s->batch && s->batch->raw != raw)
        redis_batch_flush(s);
    if (s->batch)
        return s->batch;
    struct redis_batch *b = malloc(sizeof(*b));
    if (!b)
        return NULL;
    b->raw = raw;
    b->n = 0;
    b->bytes = 0;
    resp_reset(&s->keys);
    resp_reset(&s->sends);
    redis_channel(s, &s->sends, "n:", span_of(NULL, 0));
    resp_str(&s->sends, "PUBLISH");
    resp_u64(&s->sends, s->cfg->inbox_cap);
    resp_u64(&s->sends, REDIS_ID_S);
    s->batch = b;
    event_active(s->batch_turn, EV_TIMEOUT, 0);
    return b;
}

struct send {
    struct span user, payload;
    uint32_t ttl_s;
    struct span id;      /* idempotency; empty: none */
    struct span name_it; /* the message's id where it is not P's own */
    uint32_t said_s;     /* the ttl that was asked for, TTL_UNSET: none */
    struct ingest_entry *raw;
    const struct redis_tracked *track;  /* NULL: it is not */
    const struct op_escalate *escalate; /* with track; NULL: it is not */
};

/* The bitmap of claims of the marker; users and rooms count apart, and so do messages before and after it. */
static void key_claim(struct redis_store *s, struct resp_args *to, uint8_t part, const struct ingest_entry *e)
{
    char marker[RESP_DIGITS];
    bool user = e->kind == TARGET_USER;
    redis_key(s, to, part, e->before ? (user ? "rb" : "Rb") : (user ? "rd" : "Rd"), resp_digits(e->marker, marker));
}

static void arg_claim(struct resp_args *to, const struct ingest_entry *e)
{
    char marker[RESP_DIGITS], count[RESP_DIGITS];
    const struct span pieces[] = {span_str(e->forced ? "!" : ""), resp_digits(e->marker, marker), SPAN_LIT(":"),
                                  resp_digits(e->count, count)};
    resp_join(to, pieces, ARRAY_LEN(pieces));
}

/* What the function has to know of a message: numbers in one argument (crier.lua, send). */
static void arg_terms(struct resp_args *to, const struct send *m)
{
    uint8_t t[TERMS];
    unsigned n = 0;
    redis_put_big_endian(t, 4, m->ttl_s < MAX_TTL_S ? m->ttl_s : MAX_TTL_S);
    t[4] = m->id.n > 0;
    t[5] = m->name_it.n > 0;
    t[6] = m->raw ? 1 + m->raw->forced : 0;
    n = 7;
    if (m->raw) {
        redis_put_big_endian(t + 7, 8, m->raw->marker);
        redis_put_big_endian(t + 15, 4, m->raw->count);
        n = TERMS;
    }
    resp_arg(to, span_of(t, n));
}

/* False: memory is out, nothing was added. */
static bool add_send(struct redis_store *s, struct pending *p, struct op_target *t, const struct send *m)
{
    struct redis_batch *b = open_batch(s, p == NULL);
    if (!b)
        return false;
    uint8_t part = m->raw ? m->raw->part : redis_user_part(s, m->user);
    redis_key(s, &s->keys, part, "m", m->user);
    redis_key(s, &s->keys, part, "q", m->user);
    if (m->id.n)
        redis_id_key(s, &s->keys, part, m->user, m->id);
    if (m->raw)
        key_claim(s, &s->keys, part, m->raw);
    arg_terms(&s->sends, m);
    resp_arg(&s->sends, m->user);
    resp_arg(&s->sends, m->payload);
    if (m->name_it.n)
        resp_arg(&s->sends, m->name_it);
    size_t bytes = m->payload.n + 256;
    b->v[b->n++] = wait_for(s, p, t, bytes, m->raw);
    b->bytes += bytes;
    if (b->n == BATCH || b->bytes >= BATCH_BYTES)
        redis_batch_flush(s); /* where building failed for memory, the connection refuses it and all are given back */
    return true;
}

/* ---- one at a time: tracked messages, and those to rooms with history ---- */

static void on_sent(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct waiter *w = arg;
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (status == OP_OK)
        answer_send(s, w, r);
    else
        answer(s, w, status, why);
    free(w);
}

static bool send_one(struct redis_store *s, struct pending *p, struct op_target *t, const struct send *m)
{
    struct waiter *w = malloc(sizeof(*w));
    if (!w)
        return false;
    *w = wait_for(s, p, t, m->payload.n + 256, m->raw);
    enum redis_sent sent = redis_send(s, on_sent, w, p == NULL);
    if (sent != REDIS_SENT) {
        answer(s, w, sent == REDIS_TOO_MUCH ? OP_FULL : OP_AWAY, "Redis is away.");
        free(w);
    }
    return true;
}

/* What crier_send_escalated has to know beyond crier_send_tracked. */
static void arg_escalate(struct redis_store *s, const struct send *m)
{
    resp_u64(&s->args, (uint64_t)m->escalate->after_s * 1000);
    resp_str(&s->args, m->escalate->to);
    resp_str(&s->args, m->escalate->text);
    redis_ledger_name(&s->args, TARGET_USER, m->user, m->track->id);
}

/* False: memory is out, nothing was sent. Storing and noting that in the ledger are one step. */
static bool send_tracked(struct redis_store *s, struct pending *p, struct op_target *t, const struct send *m)
{
    uint8_t part = redis_part(m->user);
    if (m->raw)
        redis_ledger_open_one(s, m->track, TARGET_USER, m->user);
    redis_fcall(s, m->escalate ? "crier_send_escalated" : "crier_send_tracked", m->raw || m->escalate ? 5 : 4);
    redis_key(s, &s->args, part, "m", m->user);
    redis_key(s, &s->args, part, "q", m->user);
    if (m->id.n)
        redis_id_key(s, &s->args, part, m->user, m->id);
    else
        redis_key(s, &s->args, part, "m", m->user);
    redis_ledger_key(s, &s->args, TARGET_USER, m->user, m->track->id);
    if (m->raw)
        key_claim(s, &s->args, part, m->raw);
    else if (m->escalate)
        redis_part_key(s, &s->args, part, "esc");
    redis_channel(s, &s->args, "n:", span_of(NULL, 0));
    resp_str(&s->args, "PUBLISH");
    resp_u64(&s->args, s->cfg->inbox_cap);
    resp_arg(&s->args, m->user);
    resp_arg(&s->args, m->payload);
    resp_u64(&s->args, m->ttl_s < MAX_TTL_S ? m->ttl_s : MAX_TTL_S);
    resp_arg(&s->args, m->name_it);
    resp_u64(&s->args, m->id.n ? REDIS_ID_S : 0);
    resp_u64(&s->args, (uint64_t)s->cfg->ledger_ttl_s + m->track->more_s);
    resp_str(&s->args, m->track->hash);
    resp_str(&s->args, s->node);
    if (m->raw)
        arg_claim(&s->args, m->raw);
    else if (m->escalate)
        arg_escalate(s, m);
    return send_one(s, p, t, m);
}

/* False: memory is out, nothing was sent. */
static bool send_to_room(struct redis_store *s, struct pending *p, struct op_target *t, struct span room,
                         const struct room_rule *rule, const struct send *m)
{
    uint8_t part = redis_part(room);
    uint32_t ttl_s = m->said_s < rule->ttl_s ? m->said_s : rule->ttl_s; /* not said is the largest number */
    redis_fcall(s, "crier_room_send", m->raw ? 5 : 4);
    redis_key(s, &s->args, part, "R", room);
    redis_key(s, &s->args, part, "h", room);
    if (m->id.n)
        redis_room_id_key(s, &s->args, part, room, m->id);
    else
        redis_key(s, &s->args, part, "R", room); /* not looked at, but it has to be of the same slot */
    redis_part_key(s, &s->args, part, "rooms");
    if (m->raw)
        key_claim(s, &s->args, part, m->raw);
    redis_channel(s, &s->args, "n:", span_of(NULL, 0));
    resp_str(&s->args, "PUBLISH");
    resp_u64(&s->args, rule->length);
    resp_arg(&s->args, room);
    resp_arg(&s->args, m->payload);
    resp_u64(&s->args, ttl_s);
    resp_arg(&s->args, m->name_it);
    resp_u64(&s->args, m->id.n ? REDIS_ID_S : 0);
    resp_u64(&s->args, rule->ttl_s);
    if (m->raw)
        arg_claim(&s->args, m->raw);
    return send_one(s, p, t, m);
}

/* ---- to rooms and everybody ---- */

static void on_published(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct waiter *w = arg;
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (status == OP_OK && r->type == REDIS_REPLY_INTEGER && r->integer > 0)
        w->target->online = (unsigned)r->integer;
    answer(s, w, status, why);
    free(w);
}

static bool publish(struct redis_store *s, struct pending *p, struct op_target *t, struct span payload)
{
    struct waiter *w = malloc(sizeof(*w));
    if (!w)
        return false;
    resp_reset(&s->args);
    resp_str(&s->args, "PUBLISH");
    if (t->kind == TARGET_ROOM)
        redis_channel(s, &s->args, "room:", span_str(t->name));
    else
        redis_channel(s, &s->args, "all", span_of(NULL, 0));
    resp_arg(&s->args, payload);
    *w = wait_for(s, p, t, payload.n + 256, NULL);
    enum redis_sent sent = redis_send(s, on_published, w, false);
    if (sent != REDIS_SENT) {
        answer(s, w, sent == REDIS_TOO_MUCH ? OP_FULL : OP_AWAY, "Redis is away.");
        free(w);
    }
    return true;
}

/* ---- the op ---- */

static void end_all(struct redis_store *s, struct op *op, enum op_status status, const char *why)
{
    for (unsigned i = 0; i < op->push.ntargets; i++)
        op->push.targets[i].status = status;
    redis_finish(s, op, status, why);
}

static bool too_much(struct redis_store *s, struct op *op)
{
    size_t each = op->push.payload_len + 256, n = op->push.ntargets;
    if (n * each > REDIS_MAX_PUSH_BYTES || n > REDIS_MAX_PUSHES) {
        end_all(s, op, OP_REFUSED, "Too many targets for one push of this size.");
        return true;
    }
    size_t share = op->push.priority == PRIO_LOW ? 2 : 1;
    if ((s->pushes + n) * share > REDIS_MAX_PUSHES || (s->push_bytes + n * each) * share > REDIS_MAX_PUSH_BYTES) {
        end_all(s, op, OP_FULL, "Too many messages are waiting for Redis.");
        return true;
    }
    return false;
}

static bool name_fits(const struct op_target *t)
{
    switch (t->kind) {
    case TARGET_USER:
        return t->name && name_user_ok(span_str(t->name));
    case TARGET_ROOM:
        return t->name && name_room_ok(span_str(t->name));
    case TARGET_ALL:
        return true;
    }
    return false;
}

static void push_one(struct redis_store *s, struct pending *p, struct op_target *t, struct send *m)
{
    struct op *op = p->op;
    struct room_rule rule;
    bool good = true;
    t->status = OP_OK;
    if (m->track && t->kind != TARGET_USER && name_fits(t))
        redis_ledger_begin(s, m->track, t->kind, span_str(t->name));
    if (!name_fits(t)) {
        t->status = OP_REFUSED;
        snprintf(op->error, sizeof(op->error), "A target's name is not allowed.");
    } else if (t->kind == TARGET_USER) {
        m->user = span_str(t->name);
        good = m->track ? send_tracked(s, p, t, m) : add_send(s, p, t, m);
    } else if (t->kind == TARGET_ROOM && room_history(s->cfg, span_str(t->name), &rule)) {
        good = send_to_room(s, p, t, span_str(t->name), &rule, m);
    } else {
        good = publish(s, p, t, m->payload);
    }
    if (!good) {
        t->status = OP_FULL;
        snprintf(op->error, sizeof(op->error), "Memory is out.");
    }
}

static uint32_t pick_ttl(const struct redis_store *s, uint32_t asked, uint32_t said)
{
    if (asked != TTL_UNSET)
        return asked;
    return said != TTL_UNSET ? said : s->cfg->ttl_s;
}

/* Its ledger can be found as soon as it is stored. */
static void open_ledger(struct redis_store *s, const struct redis_tracked *track, const struct op_push *push)
{
    redis_ledger_open(s, track);
    for (unsigned i = 0; i < push->ntargets; i++) {
        if (name_fits(&push->targets[i]))
            redis_ledger_target(s, push->targets[i].kind, span_str(push->targets[i].name));
    }
    redis_ledger_opened(s);
}

void redis_push(struct redis_store *s, struct op *op)
{
    struct op_push *push = &op->push;
    char why[96];
    struct job_terms terms;
    if (!redis_store_usable(s)) {
        snprintf(why, sizeof(why), "Redis is away: %.70s", s->why);
        end_all(s, op, OP_AWAY, why);
        return;
    }
    if (too_much(s, op))
        return;
    struct send m = {.payload = span_of(push->payload, push->payload_len)};
    enum job_made read = job_read_terms(&s->jm, m.payload, &terms, why, sizeof(why));
    struct pending *p = read == JOB_MADE ? malloc(sizeof(*p)) : NULL;
    if (!p) {
        end_all(s, op, read == JOB_REFUSED ? OP_REFUSED : OP_FULL, read == JOB_MADE ? "Memory is out." : why);
        return;
    }
    *p = (struct pending){op, 1, true};
    m.said_s = push->ttl_s != TTL_UNSET ? push->ttl_s : terms.ttl_s;
    m.ttl_s = pick_ttl(s, push->ttl_s, terms.ttl_s);
    m.id = span_str(push->id); /* P's own may be one that the asker made up: no repeat can bring it again */
    m.name_it = span_eq(m.id, terms.id) ? span_of(NULL, 0) : m.id;
    struct redis_tracked track;
    if (terms.track && (m.name_it.n || terms.id.n)) {
        track = redis_tracked(m.name_it.n ? m.name_it : terms.id, m.payload);
        track.more_s = push->escalate.after_s ? push->escalate.after_s + RELAY_S : 0;
        m.track = &track;
        m.escalate = push->escalate.after_s ? &push->escalate : NULL;
        open_ledger(s, &track, push);
    }
    for (unsigned i = 0; i < push->ntargets; i++)
        push_one(s, p, &push->targets[i], &m);
    if (p->left > 1) {
        p->in_submit = false; /* what is left ends from the loop, or through give_back */
        p->left--;
    } else {
        release(s, p);
    }
}

/* ---- raw messages ---- */

bool redis_push_room(const struct redis_store *s)
{
    return s->pushes < REDIS_MAX_RAW && s->push_bytes < REDIS_MAX_PUSH_BYTES;
}

/* What a raw message without an id is called: the same on each node that read it. */
static struct span raw_name(const struct ingest_entry *e, char to[RAW_NAME])
{
    int n = snprintf(to, RAW_NAME, "%llu.%u%s%s", (unsigned long long)e->marker, e->count, e->before ? "b" : "",
                     e->kind == TARGET_USER ? "u" : "r");
    return span_of(to, n > 0 && n < RAW_NAME ? (size_t)n : 0);
}

static bool send_raw_to_room(struct redis_store *s, struct span room, const struct send *m)
{
    struct room_rule rule;
    if (!room_history(s->cfg, room, &rule))
        return false;
    if (m->track) {
        redis_ledger_open_one(s, m->track, TARGET_ROOM, room);
        redis_ledger_begin(s, m->track, TARGET_ROOM, room);
    }
    return send_to_room(s, NULL, NULL, room, &rule, m);
}

void redis_push_raw(struct redis_store *s, struct ingest_entry *e)
{
    char why[120] = "";
    struct job_terms terms;
    struct span name = ingest_name(e), payload = ingest_payload(e);
    switch (job_read_terms(&s->jm, payload, &terms, why, sizeof(why))) {
    case JOB_MADE:
        break;
    case JOB_REFUSED:
        redis_ingest_outcome(s, e, RAW_NEVER, why);
        return;
    case JOB_NO_MEMORY:
        redis_ingest_outcome(s, e, RAW_AGAIN, why);
        return;
    }
    struct send m = {.user = name,
                     .payload = payload,
                     .ttl_s = pick_ttl(s, TTL_UNSET, terms.ttl_s),
                     .id = terms.id,
                     .said_s = terms.ttl_s,
                     .raw = e};
    char own[RAW_NAME];
    bool sent;
    struct redis_tracked track;
    if (terms.track) {
        if (terms.id.n == 0) /* the ledger needs one to be found by */
            m.name_it = raw_name(e, own);
        track = redis_tracked(terms.id.n ? terms.id : m.name_it, payload);
        m.track = &track;
    }
    if (e->kind == TARGET_USER)
        sent = m.track ? send_tracked(s, NULL, NULL, &m) : add_send(s, NULL, NULL, &m);
    else
        sent = send_raw_to_room(s, name, &m);
    if (!sent)
        redis_ingest_outcome(s, e, RAW_AGAIN, "");
}

void redis_push_free(struct redis_store *s)
{
    struct redis_batch *b = s->batch;
    s->batch = NULL;
    if (b)
        give_back(s, b, OP_AWAY);
}
