/*
 * track.c - see track.h. Runs on the shard's thread.
 *
 * Idea: an event holds a reference to its job, so nothing is copied but the device's name; events of rooms and
 * broadcasts, which are counted and not named, are added to one that is in the batch already. A batch leaves when it is
 * full or FLUSH_MS after its first event. The store answers each; at most ON_WAY are unanswered. What it could not
 * take, and what fills up meanwhile, is kept (at most KEPT) and offered again, so that a Redis that is away or slow for
 * a moment costs no events. Beyond that events are dropped and counted: the ledger tells what is known, and never holds
 * back a message.
 *
 * Jobs die when the store's last batch with them does, or with the session that remembers them for their acks.
 */
#include "net/track.h"

#include <stdlib.h>

#include "core/clock.h"
#include "net/outq.h"
#include "net/session.h"
#include "net/shard.h"

#define FLUSH_MS        100
#define RETRY_MS        1000
#define ON_WAY          8
#define KEPT            16
#define LOOK_BACK       32u
#define TRACKED_AT_MOST 1024u
#define TRACKED_FIRST   8u

struct tracked {
    unsigned n, cap;
    struct job *v[]; /* one reference each, in seq order */
};

void tracker_init(struct tracker *t)
{
    *t = (struct tracker){0};
    list_init(&t->kept);
}

/* ---- batches ---- */

static void arm(struct shard *s, uint32_t ms)
{
    if (!timer_armed(&s->tracker.timer))
        wheel_arm(&s->wheel, &s->tracker.timer, s->now_ms, ms);
}

static void submit(struct shard *s, struct op *op)
{
    s->tracker.on_way++;
    shard_submit(s, op);
}

static bool may_send(const struct shard *s)
{
    return s->tracker.on_way < ON_WAY && s->tracker.nkept == 0 && !shard_congested(s);
}

static void flush(struct shard *s)
{
    struct tracker *t = &s->tracker;
    if (!t->open || !may_send(s))
        return;
    submit(s, t->open);
    t->open = NULL;
}

static void lost(struct shard *s, uint64_t n)
{
    metric_add(s->m, M_LEDGER_DROPPED, n);
}

/* False: there are too many. */
static bool keep(struct shard *s, struct op *op)
{
    struct tracker *t = &s->tracker;
    if (t->nkept == KEPT)
        return false;
    list_push(&t->kept, &op->link);
    t->nkept++;
    arm(s, RETRY_MS);
    return true;
}

/* Makes room where the open batch is full. */
static bool has_room(struct shard *s)
{
    struct tracker *t = &s->tracker;
    if (!t->open || t->open->track.n < TRACK_BATCH)
        return true;
    flush(s);
    if (t->open && keep(s, t->open))
        t->open = NULL;
    return !t->open;
}

/* A place in the open batch; NULL: there is none to be had. */
static struct track_event *new_event(struct shard *s)
{
    struct tracker *t = &s->tracker;
    if (!has_room(s))
        return NULL;
    if (!t->open && (t->open = op_new(OP_TRACK)) != NULL) {
        t->open->track.v = calloc(TRACK_BATCH, sizeof *t->open->track.v);
        if (!t->open->track.v) {
            op_free(t->open);
            t->open = NULL;
        }
    }
    if (!t->open)
        return NULL;
    arm(s, FLUSH_MS);
    return &t->open->track.v[t->open->track.n];
}

static struct track_event *same_event(struct shard *s, const struct job *j, enum track_what what, const char *why)
{
    struct op *op = s->tracker.open;
    for (unsigned i = 0; op && i < op->track.n && i < LOOK_BACK; i++) {
        struct track_event *e = &op->track.v[op->track.n - 1 - i];
        if (e->job == j && e->what == what && !e->device && (e->why == why || (e->why && why && !strcmp(e->why, why))))
            return e;
    }
    return NULL;
}

static uint64_t arrived_ms(const struct job *j, uint64_t now_ms)
{
    uint64_t mono = clock_mono_us(), ago = j->born_us && mono > j->born_us ? (mono - j->born_us) / 1000 : 0;
    return now_ms - ago;
}

static void note(struct shard *s, struct job *j, enum track_what what, const char *device, const char *why)
{
    struct track_event *e = device ? NULL : same_event(s, j, what, why);
    uint64_t now_ms = clock_real_us() / 1000;
    if (e) {
        e->count++;
        e->at_ms = now_ms;
        return;
    }
    char *copy = device ? span_dup(span_str(device)) : NULL;
    e = !device || copy ? new_event(s) : NULL;
    if (!e) {
        free(copy);
        lost(s, 1);
        return;
    }
    *e = (struct track_event){.job = job_ref(j),
                              .device = copy,
                              .why = why,
                              .what = what,
                              .count = 1,
                              .at_ms = now_ms,
                              .arrived_ms = arrived_ms(j, now_ms)};
    s->tracker.open->track.n++;
}

void track_tick(struct shard *s)
{
    struct tracker *t = &s->tracker;
    while (t->nkept && t->on_way < ON_WAY && !shard_congested(s)) {
        t->nkept--;
        submit(s, CONTAINER_OF(list_pop(&t->kept), struct op, link));
    }
    flush(s);
    if (t->open || t->nkept)
        arm(s, t->nkept ? RETRY_MS : FLUSH_MS);
}

void track_back(struct shard *s, struct op *op)
{
    struct tracker *t = &s->tracker;
    bool done = op->status == OP_OK || op->status == OP_REFUSED;
    t->on_way--;
    op->status = OP_OK;
    op->error[0] = '\0';
    if (!done && keep(s, op))
        return;
    if (!done)
        lost(s, op->track.n);
    op_free(op);
}

void tracker_end(struct shard *s)
{
    struct tracker *t = &s->tracker;
    struct list *l;
    if (t->open)
        submit(s, t->open);
    t->open = NULL;
    while ((l = list_pop(&t->kept)) != NULL) {
        struct op *op = CONTAINER_OF(l, struct op, link);
        lost(s, op->track.n);
        op_free(op);
    }
    t->nkept = 0;
}

/* ---- what happened ---- */

/* Rooms and broadcasts are counted; of users each device has its own line. */
static const char *device_of(const struct job *j, const struct session *ses)
{
    return j->head.kind == TARGET_USER && ses ? ses->device : NULL;
}

void track_written(struct shard *s, struct session *ses, const struct frame *f)
{
    struct job *j = f->tracked;
    if (j->head.kind != TARGET_USER)
        note(s, j, TRACK_WRITTEN, NULL, NULL);
    else if (ses && ses->device)
        note(s, j, TRACK_WRITTEN, ses->device, NULL);
}

void track_answered(struct shard *s, const char *device, struct job *j)
{
    if (j->head.track)
        note(s, j, TRACK_WRITTEN, j->head.kind == TARGET_USER ? device : NULL, NULL);
}

void track_dropped(struct shard *s, struct session *ses, struct job *j, const char *why)
{
    if (j->head.track && j->head.seq == 0)
        note(s, j, TRACK_DROPPED, device_of(j, ses), why);
}

/* ---- acks ---- */

static bool make_room(struct session *s)
{
    struct tracked *t = s->tracked;
    if (t && t->n < t->cap)
        return true;
    if (t &&
        t->n == TRACKED_AT_MOST) { /* no window holds this session: the oldest is found acknowledged by its cursor */
        lost(s->conn->shard, 1);
        job_unref(t->v[0]);
        memmove(t->v, t->v + 1, --t->n * sizeof(t->v[0]));
        return true;
    }
    unsigned cap = t ? t->cap * 2 : TRACKED_FIRST;
    struct tracked *grown = realloc(t, sizeof *t + cap * sizeof(t->v[0]));
    if (!grown)
        return false;
    grown->cap = cap;
    if (!t)
        grown->n = 0;
    s->tracked = grown;
    return true;
}

void track_queued(struct session *s, struct job *j)
{
    if (!j->head.track || j->head.kind != TARGET_USER)
        return;
    if (make_room(s))
        s->tracked->v[s->tracked->n++] = job_ref(j);
    else
        lost(s->conn->shard, 1);
}

void track_acked(struct session *s)
{
    struct tracked *t = s->tracked;
    unsigned n = 0;
    while (n < t->n && t->v[n]->head.seq <= s->acked) {
        note(s->conn->shard, t->v[n], TRACK_ACKED, s->device, NULL);
        job_unref(t->v[n++]);
    }
    t->n -= n;
    memmove(t->v, t->v + n, t->n * sizeof(t->v[0]));
    if (t->n == 0)
        track_forget(s);
}

void track_forget(struct session *s)
{
    for (unsigned i = 0; s->tracked && i < s->tracked->n; i++)
        job_unref(s->tracked->v[i]);
    free(s->tracked);
    s->tracked = NULL;
}
