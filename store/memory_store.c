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
 * Bounded: entries and remembered ids count against a ceiling of bytes, past which a send ends with OP_FULL.
 *
 * Dispatcher thread.
 */
#include "store/memory_store.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/map.h"
#include "core/metrics.h"
#include "proto/envelope.h"
#include "proto/names.h"
#include "store/jobmaker.h"
#include "store/members.h"
#include "store/memory_ids.h"
#include "store/memory_inbox.h"

enum {
    PAGE = 100,
    PAGE_BYTES = 65536,
    ID_S = 600,
    MAX_TTL_S = 315360000,
    FIRST_OUT = 64,
    SWEEP_SHARE = 50, /* at most one part in so many of the time is spent on sweeps */
    DEFAULT_CEILING = 512 * 1024 * 1024,
};

/* Something to be called back for at the end of the turn: a job or an op. */
struct out {
    struct job *job;
    struct op *op;
};

struct memory_store {
    struct store store;
    struct store_up up;
    const struct config *cfg;
    struct metrics *metrics;
    const char *node;
    struct jobmaker jm;
    struct map users, rooms;
    struct used_ids ids;
    size_t bytes, ceiling; /* bytes: of entries */
    /* what is to be called back */
    struct out *out;
    size_t out_first, out_count, out_cap;
    struct list refused; /* ops that found no room in `out` */
    struct event *turn, *sweep;
    uint64_t sweep_due_s; /* UINT64_MAX: not armed */
    uint64_t sweep_not_before_ms;
    bool said;
};

struct wanted_room {
    size_t len;
    char name[];
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
    return s->bytes + s->ids.bytes;
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

static void put_out(struct memory_store *s, struct job *j, struct op *op)
{
    s->out[(s->out_first + s->out_count++) % s->out_cap] = (struct out){j, op};
    event_active(s->turn, EV_TIMEOUT, 0);
}

static void finish(struct memory_store *s, struct op *op, enum op_status status, const char *sentence)
{
    op->status = status;
    if (status != OP_OK && sentence && op->error[0] == '\0')
        snprintf(op->error, sizeof(op->error), "%s", sentence);
    put_out(s, NULL, op);
}

static void call_back(struct memory_store *s, struct out o)
{
    if (o.job)
        s->up.job(s->up.arg, o.job);
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

static void drop_if_idle(struct memory_store *s, struct user_inbox *b)
{
    if (!user_inbox_idle(b))
        return;
    map_remove(&s->users, span_of(b->name, b->len));
    user_inbox_free(b);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct memory_store *s = arg;
    uint64_t began = clock_mono_ms(), now = now_s(), next = used_ids_sweep(&s->ids, now);
    size_t it = 0;
    struct user_inbox *b;
    while ((b = map_next(&s->users, &it)) != NULL) {
        size_t before = b->bytes;
        uint64_t due = user_inbox_expire(b, now, sessions(s));
        s->bytes -= before - b->bytes;
        if (due < next)
            next = due;
        drop_if_idle(s, b);
    }
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

static struct user_inbox *find_or_make(struct memory_store *s, const char *user)
{
    struct user_inbox *b = find(s, user);
    if (b)
        return b;
    b = user_inbox_new(span_str(user));
    if (!b)
        return NULL;
    if (map_put(&s->users, span_of(b->name, b->len), b))
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
    struct user_inbox *b = find_or_make(s, a->user);
    if (b && user_inbox_attach(b, a, now) &&
        user_inbox_page(b, a->cursor, PAGE, PAGE_BYTES, now, &a->page, &a->pending)) {
        if (a->has_since)
            trim(s, b, now);
        finish(s, op, OP_OK, NULL);
        return;
    }
    if (b)
        drop_if_idle(s, b);
    finish(s, op, OP_FULL, "Memory is out.");
}

static void fetch(struct memory_store *s, struct op *op)
{
    struct op_fetch *f = &op->fetch;
    const struct user_inbox *b = find(s, f->user);
    uint64_t pending;
    metric_add(s->metrics, M_FETCHES, 1);
    if (b)
        f->page.gap = b->gap;
    bool good = !b || user_inbox_page(b, f->from, PAGE, PAGE_BYTES, now_s(), &f->page, &pending);
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
        drop_if_idle(s, b);
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

/* Stores one message; `j` is borrowed. */
static bool keep(struct memory_store *s, struct user_inbox *b, struct job *j)
{
    if (taken(s) + user_inbox_cost(j) > s->ceiling || !user_inbox_reserve(b))
        return false;
    size_t before = b->bytes;
    user_inbox_append(b, job_ref(j), s->cfg->inbox_cap);
    s->bytes = s->bytes - before + b->bytes;
    metric_add(s->metrics, M_STORED, 1);
    arm_sweep(s, j->head.expires_s);
    return true;
}

static enum op_status send_stored(struct memory_store *s, struct op *op, struct op_target *t, const struct send *m,
                                  uint64_t now_us)
{
    struct user_inbox *b = find_or_make(s, t->name);
    enum op_status status = OP_FULL;
    if (!b)
        return status;
    uint64_t seq = now_us > b->top ? now_us : b->top + 1;
    struct job_source src = {.kind = TARGET_USER,
                             .target = span_str(t->name),
                             .seq = seq,
                             .prev = b->top,
                             .expires_s = now_us / 1000000 + m->ttl_s,
                             .id = m->name_it,
                             .payload = m->payload};
    struct job *j = make(s, &src, op, &status);
    if (j && keep(s, b, j)) {
        t->seq = seq;
        t->online = b->registered;
        if (b->registered)
            put_out(s, job_ref(j), NULL);
        status = OP_OK;
    }
    job_unref(j);
    drop_if_idle(s, b);
    return status;
}

/* To whoever is connected now. */
static enum op_status send_live(struct memory_store *s, struct op *op, struct op_target *t, const struct send *m)
{
    struct job_source src = {.kind = t->kind, .target = span_str(t->name), .id = m->name_it, .payload = m->payload};
    enum op_status status = OP_OK;
    switch (t->kind) {
    case TARGET_USER: {
        const struct user_inbox *b = find(s, t->name);
        t->online = b && b->registered;
        break;
    }
    case TARGET_ROOM:
        src.id = span_of(NULL, 0);
        t->online = map_get(&s->rooms, src.target) != NULL;
        break;
    case TARGET_ALL:
        src.id = span_of(NULL, 0);
        src.target = span_of(NULL, 0);
        t->online = 1;
        break;
    }
    struct job *j = t->online ? make(s, &src, op, &status) : NULL;
    if (j)
        put_out(s, j, NULL);
    return status;
}

static enum op_status send_to_user(struct memory_store *s, struct op *op, struct op_target *t, const struct send *m)
{
    uint64_t now_us = clock_real_us(), now = now_us / 1000000;
    struct used_id *claim = NULL;
    if (m->id.n) {
        const struct used_id *before = used_ids_find(&s->ids, t->name, m->id, now);
        if (before) {
            t->seq = used_id_seq(before);
            t->duplicate = true;
            return OP_OK;
        }
        /* The id is claimed first, so that a message is never stored without it. */
        if (taken(s) < s->ceiling)
            claim = used_ids_claim(&s->ids, t->name, m->id, now + ID_S);
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

static void send_one(struct memory_store *s, struct op *op, struct op_target *t, const struct send *m)
{
    if (!name_fits(t)) {
        t->status = OP_REFUSED;
        snprintf(op->error, sizeof(op->error), "A target's name is not allowed.");
        return;
    }
    t->status = t->kind == TARGET_USER ? send_to_user(s, op, t, m) : send_live(s, op, t, m);
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
    m.ttl_s = pick_ttl(s, p->ttl_s, terms.ttl_s);
    m.id = span_str(p->id); /* P's own may be one that the asker made up: no repeat can bring it again */
    m.name_it = m.id;
    for (unsigned i = 0; i < p->ntargets; i++) {
        send_one(s, op, &p->targets[i], &m);
        if (status == OP_OK)
            status = p->targets[i].status;
    }
    finish(s, op, status, NULL);
}

/* ---- rooms ---- */

static void subscribe(struct store *st, struct span room, struct op *op)
{
    struct memory_store *s = self(st);
    if (!reserve_out(s, 1)) {
        op->status = OP_FULL;
        list_push(&s->refused, &op->link);
        event_active(s->turn, EV_TIMEOUT, 0);
        return;
    }
    struct wanted_room *r = map_get(&s->rooms, room);
    if (!r) {
        r = malloc(sizeof(*r) + room.n);
        if (r) {
            r->len = room.n;
            memcpy(r->name, room.p, room.n);
        }
        if (r && !map_put(&s->rooms, span_of(r->name, r->len), r)) {
            free(r);
            r = NULL;
        }
    }
    metric_set(s->metrics, M_CHANNELS, s->rooms.count);
    if (op)
        finish(s, op, r ? OP_OK : OP_FULL, "Memory is out.");
}

static void unsubscribe(struct store *st, struct span room)
{
    struct memory_store *s = self(st);
    free(map_remove(&s->rooms, room));
    metric_set(s->metrics, M_CHANNELS, s->rooms.count);
}

/* ---- questions ---- */

/* A cluster of one. */
static enum op_status ask_members(struct memory_store *s, struct op *op)
{
    struct members m;
    struct store_about about = {.address = "-"};
    struct buf info;
    enum op_status status = OP_FULL;
    members_init(&m);
    buf_init(&info, 1024);
    if (s->up.about)
        s->up.about(s->up.arg, &about);
    struct member *me = members_add(&m, span_str(s->node));
    if (me && member_write_info(&about, &info)) {
        me->since_ms = about.since_ms;
        member_read_info(me, buf_span(&info));
        status = members_answer(&m, s->node, op);
    }
    buf_fini(&info);
    members_fini(&m);
    return status;
}

static void query(struct memory_store *s, struct op *op)
{
    enum op_status status = OP_REFUSED;
    switch (op->query.kind) {
    case QUERY_NODES:
    case QUERY_STATS:
        status = ask_members(s, op);
        break;
    }
    finish(s, op, status, "Memory is out.");
}

/* ---- ops ---- */

static void submit(struct store *st, struct op *op)
{
    struct memory_store *s = self(st);
    size_t most = op->kind == OP_PUSH ? (size_t)op->push.ntargets + 1 : 1;
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
    case OP_QUERY:
        query(s, op);
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
    while ((v = map_next(&s->rooms, &it)) != NULL)
        free(v);
    used_ids_fini(&s->ids);
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
    map_init(&s->rooms);
    used_ids_init(&s->ids);
    list_init(&s->refused);
    jobmaker_init(&s->jm, m, cfg->max_payload);
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
