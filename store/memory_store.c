/*
 * memory_store.c - the embedded store: one node, no Redis, nothing survives the process.
 *
 * Idea: the same promises as Redis' functions keep, in a table of inboxes (memory_inbox.c). An op is carried out inside
 * submit, but what follows from it (jobs, the op's end) waits in one queue, `out`, that is emptied at the end of the
 * loop's turn: so callbacks never run inside the call that caused them, and everything comes in the order it happened.
 *
 * Time: expired entries are skipped when read and taken away by a sweep. The sweep's timer is armed for the next thing
 * that expires and for nothing else: a node with nothing to expire does not wake up.
 *
 * Bounded: entries and remembered ids count against a ceiling of bytes, past which a send ends with OP_FULL (of low
 * priority an eighth before it).
 *
 * Dispatcher thread.
 */
#include "store/memory_store.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/log.h"
#include "core/metrics.h"
#include "proto/envelope.h"
#include "proto/job_codec.h"
#include "proto/names.h"
#include "proto/room_rules.h"
#include "store/memory_inbox.h"
#include "store/memory_state.h"

enum {
    ID_S = 600,
    ID_OWNER_BYTES = 132,
    ROOM_MEMORY_S = 86400,
    MAX_TTL_S = 315360000,
    FIRST_OUT = 64,
    SWEEP_SHARE = 50, /* at most one part in so many of the time is spent on sweeps */
    DEFAULT_CEILING = 512 * 1024 * 1024,
};

static struct memory_store *self(const struct store *s)
{
    return CONTAINER_OF(s, struct memory_store, store);
}

static uint64_t now_s(void)
{
    return clock_real_us() / 1000000;
}

/* Bytes that count against the ceiling. */
static size_t taken(const struct memory_store *s)
{
    return s->bytes + s->ids.bytes + s->ledger.bytes;
}

static struct session_terms sessions(const struct memory_store *s)
{
    return (struct session_terms){s->cfg->session_s, s->cfg->guest_session_s};
}

/* ---- what is called back at the end of the turn ---- */

static bool reserve_out(struct memory_store *s, size_t n)
{
    if (s->out_count + n <= s->out_cap)
        return true;
    size_t cap = s->out_cap ? s->out_cap : FIRST_OUT;
    while (cap < s->out_count + n)
        cap *= 2;
    struct out *out = malloc(cap * sizeof(*out));
    if (!out)
        return false;
    for (size_t i = 0; i < s->out_count; i++)
        out[i] = s->out[(s->out_first + i) % s->out_cap];
    free(s->out);
    s->out = out;
    s->out_cap = cap;
    s->out_first = 0;
    return true;
}

static void put_out(struct memory_store *s, struct out o)
{
    s->out[(s->out_first + s->out_count++) % s->out_cap] = o;
    event_active(s->turn, EV_TIMEOUT, 0);
}

void memory_control(struct memory_store *s, struct op *op)
{
    put_out(s, (struct out){.op = op});
}

static void finish(struct memory_store *s, struct op *op, enum op_status status, const char *sentence)
{
    op->status = status;
    if (status != OP_OK && sentence && op->error[0] == '\0')
        snprintf(op->error, sizeof(op->error), "%s", sentence);
    put_out(s, (struct out){.op = op});
}

static void call_back(struct memory_store *s, struct out o)
{
    if (o.job)
        s->up.job(s->up.arg, o.job);
    else if (o.change)
        s->up.presence(s->up.arg, o.change);
    else
        s->up.done(s->up.arg, o.op);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct memory_store *s = arg;
    if (!s->said) {
        s->said = true;
        s->up.state(s->up.arg, true);
        s->up.ready(s->up.arg, true);
    }
    while (s->out_count) {
        struct out o = s->out[s->out_first];
        s->out_first = (s->out_first + 1) % s->out_cap;
        s->out_count--;
        call_back(s, o);
    }
    struct list *l;
    while ((l = list_pop(&s->refused)) != NULL)
        s->up.done(s->up.arg, CONTAINER_OF(l, struct op, link));
}

/* ---- time ---- */

static void arm_sweep(struct memory_store *s, uint64_t due_s)
{
    if (due_s >= s->sweep_due_s)
        return;
    s->sweep_due_s = due_s;
    uint64_t now_ms = clock_real_us() / 1000, wait = due_s * 1000 > now_ms ? due_s * 1000 - now_ms : 0;
    uint64_t mono = clock_mono_ms();
    if (mono + wait < s->sweep_not_before_ms)
        wait = s->sweep_not_before_ms - mono;
    wait += 1000; /* coarse: what expires within a second goes together */
    struct timeval tv = {(time_t)(wait / 1000), (suseconds_t)(wait % 1000) * 1000};
    event_add(s->sweep, &tv);
}

static void drop_if_idle(struct map *of, struct user_inbox *b)
{
    if (!user_inbox_idle(b))
        return;
    map_remove(of, span_of(b->name, b->len));
    user_inbox_free(b);
}

/* A room's last seq is remembered for a while after its last message has gone: who comes back has missed nothing. */
static uint64_t room_ends(const struct memory_store *s, const struct user_inbox *b)
{
    struct room_rule rule;
    if (b->registered || b->count || !room_history(s->cfg, span_of(b->name, b->len), &rule))
        return UINT64_MAX;
    return b->top / 1000000 + rule.ttl_s + ROOM_MEMORY_S;
}

static uint64_t expire(struct memory_store *s, struct user_inbox *b, uint64_t now)
{
    size_t before = b->bytes;
    uint64_t due = user_inbox_expire(b, now, sessions(s));
    s->bytes -= before - b->bytes;
    return due;
}

/* Returns when something of them will expire next. */
static uint64_t sweep_inboxes(struct memory_store *s, struct map *of, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    size_t it = 0;
    struct user_inbox *b;
    while ((b = map_next(of, &it)) != NULL) {
        uint64_t due = expire(s, b, now);
        if (of == &s->histories && due == UINT64_MAX)
            due = room_ends(s, b);
        if (of == &s->users || due <= now)
            drop_if_idle(of, b);
        if (due < next && due > now)
            next = due;
    }
    return next;
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct memory_store *s = arg;
    uint64_t began = clock_mono_ms(), now = now_s(), next = used_ids_sweep(&s->ids, now);
    uint64_t users = sweep_inboxes(s, &s->users, now), rooms = sweep_inboxes(s, &s->histories, now);
    if (users < next)
        next = users;
    if (rooms < next)
        next = rooms;
    uint64_t ledger = memory_ledger_sweep(&s->ledger, now);
    if (ledger < next)
        next = ledger;
    uint64_t ended = clock_mono_ms();
    s->sweep_not_before_ms = ended + (ended - began) * SWEEP_SHARE;
    s->sweep_due_s = UINT64_MAX;
    if (next != UINT64_MAX)
        arm_sweep(s, next);
}

/* ---- sessions ---- */

static struct user_inbox *find(const struct memory_store *s, const char *user)
{
    return map_get(&s->users, span_str(user));
}

static struct user_inbox *find_or_make(struct map *of, struct span name)
{
    struct user_inbox *b = map_get(of, name);
    if (b)
        return b;
    b = user_inbox_new(name);
    if (!b)
        return NULL;
    if (map_put(of, span_of(b->name, b->len), b))
        return b;
    user_inbox_free(b);
    return NULL;
}

static void trim(struct memory_store *s, struct user_inbox *b, uint64_t now)
{
    size_t before = b->bytes;
    user_inbox_trim(b, now, sessions(s));
    s->bytes -= before - b->bytes;
}

static void attach(struct memory_store *s, struct op *op)
{
    struct op_attach *a = &op->attach;
    uint64_t now = now_s();
    struct user_inbox *b = find_or_make(&s->users, span_str(a->user));
    if (b && user_inbox_attach(b, a, now) &&
        user_inbox_page(b, a->cursor, MEMORY_PAGE, MEMORY_PAGE_BYTES, now, &a->page, &a->pending)) {
        if (a->has_since)
            trim(s, b, now);
        finish(s, op, OP_OK, NULL);
        return;
    }
    if (b)
        drop_if_idle(&s->users, b);
    finish(s, op, OP_FULL, "Memory is out.");
}

static void fetch(struct memory_store *s, struct op *op)
{
    struct op_fetch *f = &op->fetch;
    struct user_inbox *b = map_get(f->room ? &s->histories : &s->users, span_str(f->user));
    uint64_t pending;
    metric_add(s->metrics, M_FETCHES, 1);
    if (b && f->room)
        expire(s, b, now_s()); /* what has expired may be a gap */
    if (b)
        f->page.gap = b->gap;
    bool good = !b || user_inbox_page(b, f->from, MEMORY_PAGE, MEMORY_PAGE_BYTES, now_s(), &f->page, &pending);
    finish(s, op, good ? OP_OK : OP_FULL, "Memory is out.");
}

static void detach(struct memory_store *s, struct op *op)
{
    const struct op_detach *d = &op->detach;
    struct user_inbox *b = find(s, d->user);
    uint64_t now = now_s();
    if (b) {
        user_inbox_move(b, d->device, d->named, d->acked, now, false);
        if (d->last)
            b->registered = false;
        trim(s, b, now);
        arm_sweep(s, now + (d->named ? s->cfg->session_s : s->cfg->guest_session_s) + 1);
        drop_if_idle(&s->users, b);
    }
    finish(s, op, OP_OK, NULL);
}

static void ack(struct memory_store *s, struct op *op)
{
    uint64_t now = now_s();
    for (unsigned i = 0; i < op->ack.n; i++) {
        const struct op_ack_entry *e = &op->ack.v[i];
        struct user_inbox *b = find(s, e->user);
        if (!b)
            continue;
        user_inbox_move(b, e->device, e->named, e->seq, now, true);
        trim(s, b, now);
    }
    metric_add(s->metrics, M_ACKS, op->ack.n);
    finish(s, op, OP_OK, NULL);
}

/* ---- sends ---- */

struct send {
    struct span payload, id, name_it;
    uint32_t ttl_s;
    uint32_t said_s; /* the ttl that was asked for, TTL_UNSET: none */
    bool track;
    /* of the target at hand */
    struct map *box; /* where its inbox is */
    unsigned cap;
    unsigned keep_s; /* of a room with history: for how long it keeps anything */
};

static struct job *make(struct memory_store *s, const struct job_source *src, struct op *op, enum op_status *status)
{
    struct job *j = NULL;
    switch (job_make(&s->jm, src, &j, op->error, sizeof(op->error))) {
    case JOB_MADE:
        return j;
    case JOB_REFUSED:
        *status = OP_REFUSED;
        break;
    case JOB_NO_MEMORY:
        *status = OP_FULL;
        break;
    }
    return NULL;
}

/* The ledger hears of it before any shard does. */
static void note(struct memory_store *s, struct job *j, uint32_t ttl_s, unsigned nodes, uint64_t now_us)
{
    if (taken(s) < s->ceiling && memory_ledger_attempt(&s->ledger, j, ttl_s, nodes, now_us))
        arm_sweep(s, now_us / 1000000 + s->cfg->ledger_ttl_s);
    else
        metric_add(s->metrics, M_LEDGER_DROPPED, 1);
}

/* Stores one message; `j` is borrowed. */
static bool keep(struct memory_store *s, struct user_inbox *b, struct job *j, unsigned cap)
{
    size_t most = j->head.priority == PRIO_LOW ? s->ceiling / 8 * 7 : s->ceiling;
    if (taken(s) + user_inbox_cost(j) > most || !user_inbox_reserve(b))
        return false;
    size_t before = b->bytes;
    user_inbox_append(b, job_ref(j), cap, clock_real_us() / 1000000);
    s->bytes = s->bytes - before + b->bytes;
    metric_add(s->metrics, M_STORED, 1);
    arm_sweep(s, j->head.expires_s);
    return true;
}

static enum op_status send_stored(struct memory_store *s, struct op *op, struct op_target *t, const struct send *m,
                                  uint64_t now_us)
{
    struct user_inbox *b = find_or_make(m->box, span_str(t->name));
    enum op_status status = OP_FULL;
    if (!b)
        return status;
    b->keep_s = m->keep_s;
    uint64_t seq = now_us > b->top ? now_us : b->top + 1;
    struct job_source src = {.kind = t->kind,
                             .target = span_str(t->name),
                             .seq = seq,
                             .prev = b->top,
                             .expires_s = now_us / 1000000 + m->ttl_s,
                             .id = m->name_it,
                             .payload = m->payload};
    struct job *j = make(s, &src, op, &status);
    if (j && keep(s, b, j, m->cap)) {
        t->seq = seq;
        t->online = b->registered;
        if (m->track)
            note(s, j, m->ttl_s, t->online, now_us);
        if (b->registered)
            put_out(s, (struct out){.job = job_ref(j)});
        status = OP_OK;
    }
    job_unref(j);
    if (m->box == &s->users || b->top == 0)
        drop_if_idle(m->box, b);
    return status;
}

static bool is_registered(const struct memory_store *s, const struct send *m, const struct op_target *t)
{
    const struct user_inbox *b = map_get(m->box ? m->box : &s->users, span_str(t->name));
    return b && b->registered;
}

/* To whoever is connected now. */
static enum op_status send_live(struct memory_store *s, struct op *op, struct op_target *t, const struct send *m)
{
    struct job_source src = {.kind = t->kind, .target = span_str(t->name), .id = m->name_it, .payload = m->payload};
    enum op_status status = OP_OK;
    switch (t->kind) {
    case TARGET_USER:
        t->online = is_registered(s, m, t);
        break;
    case TARGET_ROOM:
        if (m->box) {
            t->online = is_registered(s, m, t);
            break;
        }
        src.id = span_of(NULL, 0);
        t->online = map_get(&s->rooms, src.target) != NULL;
        break;
    case TARGET_ALL:
        src.id = span_of(NULL, 0);
        src.target = span_of(NULL, 0);
        t->online = 1;
        break;
    }
    struct job *j = t->online || m->track ? make(s, &src, op, &status) : NULL;
    if (j && m->track)
        note(s, j, 0, t->online, clock_real_us());
    if (j && t->online)
        put_out(s, (struct out){.job = j});
    else
        job_unref(j);
    return status;
}

void memory_deliver(struct memory_store *s, struct job *j)
{
    if (reserve_out(s, 2)) /* one stays for the op that is under work */
        put_out(s, (struct out){.job = j});
    else
        job_unref(j);
}

bool memory_resend(struct memory_store *s, struct job *old, uint32_t ttl_s, uint64_t *seq, unsigned *nodes)
{
    struct user_inbox *b = find_or_make(&s->users, old->head.target);
    uint64_t now_us = clock_real_us();
    struct job_head h = old->head;
    if (!b)
        return false;
    h.ts_ms = now_us / 1000;
    h.seq = ttl_s ? (now_us > b->top ? now_us : b->top + 1) : 0;
    h.prev = ttl_s ? b->top : 0;
    h.expires_s = ttl_s ? now_us / 1000000 + ttl_s : 0;
    struct job *j = job_pack(&h);
    bool good = j && (!ttl_s || keep(s, b, j, s->cfg->inbox_cap));
    if (good) {
        j->born_us = clock_mono_us();
        *seq = h.seq;
        *nodes = b->registered;
        note(s, j, ttl_s, b->registered, now_us);
        if (b->registered)
            memory_deliver(s, job_ref(j));
    }
    job_unref(j);
    drop_if_idle(&s->users, b);
    return good;
}

/* Ids are remembered for each target; a room's name begins with what no user's does. */
static const char *id_owner(const struct op_target *t, char to[ID_OWNER_BYTES])
{
    if (t->kind == TARGET_USER)
        return t->name;
    snprintf(to, ID_OWNER_BYTES, "\n%s", t->name);
    return to;
}

/* To a user, or a room with history. */
static enum op_status send_to_inbox(struct memory_store *s, struct op *op, struct op_target *t, const struct send *m)
{
    uint64_t now_us = clock_real_us(), now = now_us / 1000000;
    struct used_id *claim = NULL;
    char room[ID_OWNER_BYTES];
    const char *owner = id_owner(t, room);
    if (m->id.n) {
        const struct used_id *before = used_ids_find(&s->ids, owner, m->id, now);
        if (before) {
            t->seq = used_id_seq(before);
            t->duplicate = true;
            return OP_OK;
        }
        /* The id is claimed first, so that a message is never stored without it. */
        if (taken(s) < s->ceiling)
            claim = used_ids_claim(&s->ids, owner, m->id, now + ID_S);
        if (!claim)
            return OP_FULL;
        arm_sweep(s, now + ID_S);
    }
    enum op_status status = m->ttl_s ? send_stored(s, op, t, m, now_us) : send_live(s, op, t, m);
    if (claim && status == OP_OK)
        used_id_set(claim, t->seq);
    else if (claim)
        used_ids_forget(&s->ids, claim);
    return status;
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

static void send_one(struct memory_store *s, struct op *op, struct op_target *t, struct send m)
{
    struct room_rule rule;
    if (!name_fits(t)) {
        t->status = OP_REFUSED;
        snprintf(op->error, sizeof(op->error), "A target's name is not allowed.");
        return;
    }
    if (t->kind == TARGET_USER) {
        m.box = &s->users;
        m.cap = s->cfg->inbox_cap;
    } else if (t->kind == TARGET_ROOM && room_history(s->cfg, span_str(t->name), &rule)) {
        m.box = &s->histories;
        m.cap = rule.length;
        m.keep_s = rule.ttl_s;
        m.ttl_s = m.said_s < rule.ttl_s ? m.said_s : rule.ttl_s; /* not said is the largest number */
    }
    t->status = m.box ? send_to_inbox(s, op, t, &m) : send_live(s, op, t, &m);
    if (t->status == OP_FULL)
        snprintf(op->error, sizeof(op->error), "The store is full.");
}

static uint32_t pick_ttl(const struct memory_store *s, uint32_t asked, uint32_t said)
{
    uint32_t ttl = asked != TTL_UNSET ? asked : said != TTL_UNSET ? said : s->cfg->ttl_s;
    return ttl < MAX_TTL_S ? ttl : MAX_TTL_S;
}

static void push(struct memory_store *s, struct op *op)
{
    struct op_push *p = &op->push;
    struct job_terms terms;
    struct send m = {.payload = span_of(p->payload, p->payload_len)};
    enum job_made read = job_read_terms(&s->jm, m.payload, &terms, op->error, sizeof(op->error));
    enum op_status status = read == JOB_MADE ? OP_OK : read == JOB_REFUSED ? OP_REFUSED : OP_FULL;
    if (read != JOB_MADE) {
        for (unsigned i = 0; i < p->ntargets; i++)
            p->targets[i].status = status;
        finish(s, op, status, NULL);
        return;
    }
    m.said_s = p->ttl_s != TTL_UNSET ? p->ttl_s : terms.ttl_s;
    m.ttl_s = pick_ttl(s, p->ttl_s, terms.ttl_s);
    m.id = span_str(p->id); /* P's own may be one that the asker made up: no repeat can bring it again */
    m.name_it = m.id;
    m.track = terms.track;
    for (unsigned i = 0; i < p->ntargets; i++) {
        send_one(s, op, &p->targets[i], m);
        if (status == OP_OK)
            status = p->targets[i].status;
    }
    finish(s, op, status, NULL);
}

/* ---- rooms ---- */

static bool want_history(struct memory_store *s, struct span room, struct op *op)
{
    struct user_inbox *b = find_or_make(&s->histories, room);
    if (!b)
        return false;
    b->registered = true;
    if (op)
        op->interest.top = b->top;
    return true;
}

static bool want_room(struct memory_store *s, struct span room)
{
    if (map_get(&s->rooms, room))
        return true;
    struct wanted_room *r = malloc(sizeof(*r) + room.n);
    if (!r)
        return false;
    r->len = room.n;
    memcpy(r->name, room.p, room.n);
    if (map_put(&s->rooms, span_of(r->name, r->len), r))
        return true;
    free(r);
    return false;
}

static void subscribe(struct store *st, struct span room, struct op *op)
{
    struct memory_store *s = self(st);
    if (!reserve_out(s, 1)) {
        op->status = OP_FULL;
        list_push(&s->refused, &op->link);
        event_active(s->turn, EV_TIMEOUT, 0);
        return;
    }
    bool good = room_history(s->cfg, room, NULL) ? want_history(s, room, op) : want_room(s, room);
    metric_set(s->metrics, M_CHANNELS, s->rooms.count);
    if (op)
        finish(s, op, good ? OP_OK : OP_FULL, "Memory is out.");
}

static void unsubscribe(struct store *st, struct span room)
{
    struct memory_store *s = self(st);
    struct user_inbox *b = map_get(&s->histories, room);
    if (b) {
        b->registered = false;
        if (b->top == 0)
            drop_if_idle(&s->histories, b);
        else
            arm_sweep(s, room_ends(s, b));
        return;
    }
    free(map_remove(&s->rooms, room));
    metric_set(s->metrics, M_CHANNELS, s->rooms.count);
}

/* ---- presence ---- */

static void set_presence(struct memory_store *s, struct op *op)
{
    const struct op_presence *o = &op->presence;
    struct span room = span_str(o->room), user = span_str(o->user);
    uint64_t seq = 0;
    bool watched = false;
    enum presence_set set = memory_presence_set(&s->presence, room, user, o->on, clock_real_us(), &seq, &watched);
    struct presence *change = set == PRESENCE_CHANGED && watched ? presence_new(room, user, o->on, seq) : NULL;
    if (change)
        put_out(s, (struct out){.change = change});
    finish(s, op, set == PRESENCE_NO_MEMORY ? OP_FULL : OP_OK, "Memory is out.");
}

static void watch(struct store *st, struct span room, struct op *op)
{
    struct memory_store *s = self(st);
    bool good = memory_presence_watch(&s->presence, room, true);
    if (reserve_out(s, 1)) {
        finish(s, op, good ? OP_OK : OP_FULL, "Memory is out.");
        return;
    }
    op->status = OP_FULL;
    list_push(&s->refused, &op->link);
    event_active(s->turn, EV_TIMEOUT, 0);
}

static void unwatch(struct store *st, struct span room)
{
    if (!memory_presence_watch(&self(st)->presence, room, false))
        log_line(LOG_ERROR, "memory", "a room is still watched");
}

/* ---- ops ---- */

static void submit(struct store *st, struct op *op)
{
    struct memory_store *s = self(st);
    size_t most = op->kind == OP_PUSH ? (size_t)op->push.ntargets + 1 : 2;
    if (!reserve_out(s, most)) {
        op->status = OP_FULL;
        snprintf(op->error, sizeof(op->error), "Memory is out.");
        list_push(&s->refused, &op->link);
        event_active(s->turn, EV_TIMEOUT, 0);
        return;
    }
    switch (op->kind) {
    case OP_ATTACH:
        attach(s, op);
        break;
    case OP_DETACH:
        detach(s, op);
        break;
    case OP_FETCH:
        fetch(s, op);
        break;
    case OP_ACK:
        ack(s, op);
        break;
    case OP_PUSH:
        push(s, op);
        break;
    case OP_INTEREST:
        if (op->interest.on) {
            subscribe(st, span_str(op->interest.room), op);
            break;
        }
        unsubscribe(st, span_str(op->interest.room));
        finish(s, op, OP_OK, NULL);
        break;
    case OP_PRESENCE:
        set_presence(s, op);
        break;
    case OP_WATCH:
        if (op->watch.on) {
            watch(st, span_str(op->watch.room), op);
            break;
        }
        unwatch(st, span_str(op->watch.room));
        finish(s, op, OP_OK, NULL);
        break;
    case OP_QUERY:
        finish(s, op, memory_query(s, op), "Memory is out.");
        break;
    case OP_TRACK:
        memory_ledger_events(&s->ledger, &op->track, op->shard);
        metric_add(s->metrics, M_LEDGER_EVENTS, op->track.n);
        finish(s, op, OP_OK, NULL);
        break;
    case OP_FORWARD: /* there are no other nodes */
        op->forward.call->no_session = true;
        finish(s, op, OP_OK, NULL);
        break;
    case OP_CONTROL:
    case OP_ANSWER:
        finish(s, op, OP_REFUSED, "This is not for the store.");
        break;
    }
}

static bool ready(const struct store *st)
{
    return self(st)->said;
}

static void leave(struct store *st)
{
    (void)st; /* nobody to say goodbye to, nothing that could be kept */
}

static bool idle(const struct store *st)
{
    const struct memory_store *s = self(st);
    return s->out_count == 0 && list_empty(&s->refused);
}

/* ---- life ---- */

static void free_store(struct store *st)
{
    struct memory_store *s = self(st);
    s->said = true;
    on_turn(-1, 0, s);
    size_t it = 0;
    void *v;
    while ((v = map_next(&s->users, &it)) != NULL)
        user_inbox_free(v);
    it = 0;
    while ((v = map_next(&s->histories, &it)) != NULL)
        user_inbox_free(v);
    it = 0;
    while ((v = map_next(&s->rooms, &it)) != NULL)
        free(v);
    memory_presence_fini(&s->presence);
    map_fini(&s->histories);
    used_ids_fini(&s->ids);
    memory_ledger_fini(&s->ledger);
    map_fini(&s->users);
    map_fini(&s->rooms);
    if (s->turn)
        event_free(s->turn);
    if (s->sweep)
        event_free(s->sweep);
    jobmaker_fini(&s->jm);
    free(s->out);
    free(s);
}

static const struct store_ops memory_ops = {
    .name = "memory",
    .submit = submit,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .watch = watch,
    .unwatch = unwatch,
    .ready = ready,
    .leave = leave,
    .idle = idle,
    .free = free_store,
};

struct store *store_memory_new(const struct config *cfg, struct event_base *base, struct metrics *m, const char *node,
                               const struct store_up *up, char *err, size_t errlen)
{
    struct memory_store *s = calloc(1, sizeof(*s));
    if (!s) {
        snprintf(err, errlen, "Memory is out.");
        return NULL;
    }
    s->store.ops = &memory_ops;
    s->up = *up;
    s->cfg = cfg;
    s->metrics = m;
    s->node = node;
    s->ceiling = DEFAULT_CEILING;
    s->sweep_due_s = UINT64_MAX;
    map_init(&s->users);
    map_init(&s->histories);
    map_init(&s->rooms);
    memory_presence_init(&s->presence);
    used_ids_init(&s->ids);
    memory_ledger_init(&s->ledger, cfg->ledger_ttl_s, s->node);
    list_init(&s->refused);
    jobmaker_init(&s->jm, m, cfg->max_payload, false);
    s->turn = event_new(base, -1, 0, on_turn, s);
    s->sweep = evtimer_new(base, on_sweep, s);
    if (!s->turn || !s->sweep) {
        snprintf(err, errlen, "Memory is out.");
        free_store(&s->store);
        return NULL;
    }
    metric_set(m, M_REDIS_UP, 0);
    event_active(s->turn, EV_TIMEOUT, 0);
    return &s->store;
}

void memory_store_set_ceiling(struct store *st, size_t bytes)
{
    self(st)->ceiling = bytes;
}

size_t memory_store_users(const struct store *st)
{
    return self(st)->users.count;
}

bool memory_store_sweeping(const struct store *st)
{
    return self(st)->sweep_due_s != UINT64_MAX;
}
