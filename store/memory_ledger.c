/*
 * memory_ledger.c - the ledger in memory.
 *
 * Idea: a target of a tracked message is one block that hangs in two tables, by (kind, name, id) and below its id, and
 * in a list by age: every life is equally long and begins anew with each attempt, so the list is in order by itself.
 * It holds a reference of the job, which a retry sends again. The facts are those of crier.lua's hash `t`, and what
 * follows from them is worked out where it is shown (ledger_view.c).
 *
 * Dispatcher thread. A target owns its devices; it dies when it is swept.
 */
#include "store/memory_ledger.h"

#include <stdlib.h>

#include "core/op.h"
#include "store/memory_inbox.h"

enum { TARGETS_AT_MOST = 20000, FIRST_TARGETS = 4 };

struct known_device {
    char *name;
    const char *why; /* lives for ever */
    uint64_t arrived_ms, written_ms, acked_ms, dropped_ms, times;
    unsigned shard;
};

struct known_drop {
    const char *why;
    uint64_t count, at_ms;
};

struct tracked_id;

struct tracked_target {
    struct list age;
    uint64_t until_s;
    struct tracked_id *of;
    struct job *job;
    uint64_t queued_ms, tried_ms, attempts, written, last_ms;
    unsigned nodes;
    uint32_t ttl_s;
    unsigned ndevices, ndrops;
    struct known_device devices[LEDGER_DEVICES];
    struct known_drop drops[LEDGER_DROPS];
    size_t key_len, field_len;
    char key[]; /* field "u:alice", line end, id */
};

struct tracked_id {
    struct tracked_target **v;
    unsigned n, cap;
    size_t len;
    char id[];
};

void memory_ledger_init(struct memory_ledger *l, unsigned life_s, const char *node)
{
    *l = (struct memory_ledger){.life_s = life_s, .node = node};
    map_init(&l->targets);
    map_init(&l->ids);
    list_init(&l->by_age);
}

static size_t cost(const struct tracked_target *t)
{
    return sizeof(*t) + t->key_len + t->job->len;
}

/* ---- tables ---- */

static size_t write_key(char *to, enum target_kind kind, struct span name, struct span id)
{
    static const char letters[] = {[TARGET_USER] = 'u', [TARGET_ROOM] = 'r', [TARGET_ALL] = 'a'};
    char *p = to;
    *p++ = letters[kind];
    *p++ = ':';
    if (name.n)
        memcpy(p, name.p, name.n);
    p += name.n;
    *p++ = '\n';
    memcpy(p, id.p, id.n);
    return (size_t)(p - to) + id.n;
}

struct tracked_target *memory_ledger_find(const struct memory_ledger *l, enum target_kind kind, struct span name,
                                          struct span id)
{
    char key[512];
    if (name.n + id.n + 3 > sizeof(key) || id.n == 0)
        return NULL;
    return map_get(&l->targets, span_of(key, write_key(key, kind, name, id)));
}

static struct tracked_id *id_of(struct memory_ledger *l, struct span id)
{
    struct tracked_id *x = map_get(&l->ids, id);
    if (x)
        return x;
    x = calloc(1, sizeof(*x) + id.n);
    if (!x)
        return NULL;
    x->len = id.n;
    memcpy(x->id, id.p, id.n);
    if (map_put(&l->ids, span_of(x->id, x->len), x))
        return x;
    free(x);
    return NULL;
}

static void drop_id_if_empty(struct memory_ledger *l, struct tracked_id *x)
{
    if (x->n)
        return;
    map_remove(&l->ids, span_of(x->id, x->len));
    free(x->v);
    free(x);
}

static bool add_to_id(struct tracked_id *x, struct tracked_target *t)
{
    if (x->n == TARGETS_AT_MOST)
        return false;
    if (x->n == x->cap) {
        unsigned cap = x->cap ? x->cap * 2 : FIRST_TARGETS;
        struct tracked_target **v = realloc(x->v, cap * sizeof(struct tracked_target *));
        if (!v)
            return false;
        x->v = v;
        x->cap = cap;
    }
    x->v[x->n++] = t;
    t->of = x;
    return true;
}

static void target_free(struct memory_ledger *l, struct tracked_target *t)
{
    struct tracked_id *x = t->of;
    for (unsigned i = 0; i < x->n; i++) {
        if (x->v[i] == t) {
            x->v[i] = x->v[--x->n];
            break;
        }
    }
    drop_id_if_empty(l, x);
    map_remove(&l->targets, span_of(t->key, t->key_len));
    list_unlink(&t->age);
    l->bytes -= cost(t);
    for (unsigned i = 0; i < t->ndevices; i++)
        free(t->devices[i].name);
    job_unref(t->job);
    free(t);
}

static struct tracked_target *target_new(struct memory_ledger *l, struct job *j)
{
    const struct job_head *h = &j->head;
    struct tracked_target *t = calloc(1, sizeof(*t) + h->target.n + h->id.n + 3);
    struct tracked_id *x = t ? id_of(l, h->id) : NULL;
    if (!x) {
        free(t);
        return NULL;
    }
    t->key_len = write_key(t->key, h->kind, h->target, h->id);
    t->field_len = h->target.n + 2;
    if (!add_to_id(x, t) || !map_put(&l->targets, span_of(t->key, t->key_len), t)) {
        if (t->of)
            x->n--;
        drop_id_if_empty(l, x);
        free(t);
        return NULL;
    }
    t->job = job_ref(j);
    l->bytes += cost(t);
    return t;
}

void memory_ledger_fini(struct memory_ledger *l)
{
    while (!list_empty(&l->by_age))
        target_free(l, CONTAINER_OF(l->by_age.next, struct tracked_target, age));
    map_fini(&l->targets);
    map_fini(&l->ids);
}

uint64_t memory_ledger_sweep(struct memory_ledger *l, uint64_t now_s)
{
    while (!list_empty(&l->by_age)) {
        struct tracked_target *t = CONTAINER_OF(l->by_age.next, struct tracked_target, age);
        if (t->until_s > now_s)
            return t->until_s;
        target_free(l, t);
    }
    return UINT64_MAX;
}

/* ---- what happens ---- */

bool memory_ledger_attempt(struct memory_ledger *l, struct job *j, uint32_t ttl_s, unsigned nodes, uint64_t now_us)
{
    struct tracked_target *t = memory_ledger_find(l, j->head.kind, j->head.target, j->head.id);
    if (!t && !(t = target_new(l, j)))
        return false;
    l->bytes -= cost(t);
    job_ref(j);
    job_unref(t->job);
    t->job = j;
    l->bytes += cost(t);
    t->tried_ms = now_us / 1000;
    if (t->attempts++ == 0)
        t->queued_ms = t->tried_ms;
    t->nodes = nodes;
    t->ttl_s = ttl_s;
    t->until_s = now_us / 1000000 + l->life_s;
    list_unlink(&t->age);
    list_push(&l->by_age, &t->age);
    return true;
}

static struct known_device *device_of(struct tracked_target *t, const char *name)
{
    for (unsigned i = 0; i < t->ndevices; i++) {
        if (strcmp(t->devices[i].name, name) == 0)
            return &t->devices[i];
    }
    char *copy = t->ndevices < LEDGER_DEVICES ? span_dup(span_str(name)) : NULL;
    if (!copy)
        return NULL;
    struct known_device *d = &t->devices[t->ndevices++];
    *d = (struct known_device){.name = copy};
    return d;
}

static void note_drop(struct tracked_target *t, const struct track_event *e)
{
    struct known_drop *d = NULL;
    for (unsigned i = 0; i < t->ndrops && !d; i++)
        d = strcmp(t->drops[i].why, e->why) == 0 ? &t->drops[i] : NULL;
    if (!d && t->ndrops < LEDGER_DROPS) {
        d = &t->drops[t->ndrops++];
        *d = (struct known_drop){.why = e->why};
    }
    if (!d)
        return;
    d->count += e->count;
    d->at_ms = e->at_ms;
}

static void note_device(struct known_device *d, const struct track_event *e, unsigned shard)
{
    switch (e->what) {
    case TRACK_WRITTEN:
        d->arrived_ms = e->arrived_ms;
        d->written_ms = e->at_ms;
        d->times++;
        d->shard = shard;
        break;
    case TRACK_ACKED:
        if (!d->acked_ms)
            d->acked_ms = e->at_ms;
        break;
    case TRACK_DROPPED:
        d->dropped_ms = e->at_ms;
        d->why = e->why;
        break;
    }
}

void memory_ledger_events(struct memory_ledger *l, const struct op_track *ev, unsigned shard)
{
    for (unsigned i = 0; i < ev->n; i++) {
        const struct track_event *e = &ev->v[i];
        const struct job_head *h = &e->job->head;
        struct tracked_target *t = memory_ledger_find(l, h->kind, h->target, h->id);
        if (!t)
            continue;
        struct known_device *d = e->device ? device_of(t, e->device) : NULL;
        if (d) {
            note_device(d, e, shard);
        } else if (e->what == TRACK_DROPPED) {
            note_drop(t, e);
        } else if (e->what == TRACK_WRITTEN && !e->device) {
            t->written += e->count;
            t->last_ms = e->at_ms;
        }
    }
}

/* ---- reading ---- */

struct span tracked_field(const struct tracked_target *t)
{
    return span_of(t->key, t->field_len);
}

struct job *tracked_job(const struct tracked_target *t)
{
    return t->job;
}

uint32_t tracked_ttl(const struct tracked_target *t)
{
    return t->ttl_s;
}

static int compare(struct span a, struct span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int by_field(const void *a, const void *b)
{
    return compare(tracked_field(*(struct tracked_target *const *)a),
                   tracked_field(*(struct tracked_target *const *)b));
}

struct tracked_target **memory_ledger_targets(const struct memory_ledger *l, struct span id, struct span after,
                                              unsigned limit, unsigned *n, bool *more, bool *known)
{
    const struct tracked_id *x = id.n ? map_get(&l->ids, id) : NULL;
    unsigned most = x ? x->n : 0;
    struct tracked_target **v = malloc((most ? most : 1) * sizeof(struct tracked_target *));
    *n = 0;
    *known = x != NULL;
    for (unsigned i = 0; v && i < most; i++) {
        if (compare(tracked_field(x->v[i]), after) > 0)
            v[(*n)++] = x->v[i];
    }
    if (v)
        qsort(v, *n, sizeof(struct tracked_target *), by_field);
    *more = *n > limit;
    if (*more)
        *n = limit;
    return v;
}

static void view_device(const struct memory_ledger *l, const struct known_device *d, struct ledger_target *out)
{
    struct ledger_device *v = ledger_device(out, span_str(d->name));
    if (!v)
        return;
    v->node = span_str(l->node);
    v->why = span_str(d->why);
    v->arrived_ms = d->arrived_ms;
    v->written_ms = d->written_ms;
    v->acked_ms = d->acked_ms;
    v->dropped_ms = d->dropped_ms;
    v->times = d->times;
    v->shard = d->shard;
    v->acked = d->acked_ms != 0;
}

/* The devices whose cursor has passed the message: see passed() in crier.lua. */
static void view_cursors(const struct user_inbox *box, struct ledger_target *out)
{
    bool trimmed = !out->waiting && out->now_s < out->expires_s;
    if (out->seq <= box->gap)
        return;
    for (unsigned i = 0; i < box->ndev; i++) {
        struct ledger_device *v = ledger_device(out, span_str(box->dev[i].name));
        if (v && box->dev[i].seq >= out->seq && (trimmed || v->written_ms))
            v->acked = true;
    }
}

static int by_device(const void *a, const void *b)
{
    return compare(((const struct ledger_device *)a)->name, ((const struct ledger_device *)b)->name);
}

void memory_ledger_view(const struct memory_ledger *l, const struct tracked_target *t, const struct user_inbox *box,
                        uint64_t now_s, struct ledger_target *out)
{
    const struct job_head *h = &t->job->head;
    bool stored = h->kind == TARGET_USER && h->seq;
    *out = (struct ledger_target){.kind = h->kind,
                                  .name = h->target,
                                  .known = true,
                                  .waiting = stored && box && user_inbox_find(box, h->seq, now_s),
                                  .now_s = now_s,
                                  .queued_ms = t->queued_ms,
                                  .tried_ms = t->tried_ms,
                                  .seq = h->seq,
                                  .expires_s = stored ? h->expires_s : 0,
                                  .nodes = t->nodes,
                                  .attempts = t->attempts,
                                  .node = span_str(l->node),
                                  .written = t->written,
                                  .last_ms = t->last_ms};
    for (unsigned i = 0; i < t->ndevices; i++)
        view_device(l, &t->devices[i], out);
    for (unsigned i = 0; i < t->ndrops; i++)
        out->drops[out->ndrops++] =
            (struct ledger_drop){span_str(t->drops[i].why), t->drops[i].count, t->drops[i].at_ms};
    if (stored && box)
        view_cursors(box, out);
    qsort(out->devices, out->ndevices, sizeof(out->devices[0]), by_device);
}
