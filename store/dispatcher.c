/*
 * dispatcher.c - the thread between the store and the shards.
 *
 * Idea: two streams cross here. What the store has received (jobs) goes down to the shards that want it: a user's to
 * the one owner, a room's to those that announced interest, everybody's to all. What shards ask (ops) goes up to the
 * store, and the same struct goes back with the answer. Nothing here waits: a full lane turns items into bounded state
 * (outlane.c), and the store has ceilings of its own.
 *
 * Rooms: one bit a shard (hence at most 64 shards). The first bit subscribes, the last one gone starts the linger; a
 * room that nobody wants when its linger ends is unsubscribed and forgotten. The confirmation of interest is the
 * store's: each asking op waits there until the channel delivers, since the member is in the room before it is told so.
 *
 * Stop: STOP_DRAIN makes the node unready and goes on serving, since draining shards still ack and detach. STOP_NOW
 * empties the inbox, lets the store write what is left and say goodbye (at most LEAVE_MS), and ends the loop.
 *
 * Thread: everything but dispatcher_start and dispatcher_join runs on the dispatcher thread; the struct is made before
 * it starts and freed after it ended. Ops and jobs belong to whoever holds them (core/msg.h).
 */
#include "store/dispatcher.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/hash.h"
#include "core/inbox.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/msg.h"
#include "core/owner.h"
#include "store/outlane.h"
#include "store/rollcall.h"
#include "store/store.h"

enum { MAX_SHARDS = 64, INBOX_BATCH = 256, LEAVE_MS = 2000, LEAVE_LOOK_MS = 10 };

struct room {
    struct list linger; /* linked while no shard wants it */
    uint64_t mask;      /* shards with members */
    uint64_t watchers;  /* shards with members that want to hear who comes and goes */
    uint64_t due_ms;
    size_t len;
    char name[];
};

struct dispatcher {
    struct dispatcher_env env;
    pthread_t thread;
    struct event_base *base;
    struct store *store;
    struct event *inbox_event, *linger_timer, *leave_timer;
    struct outlane lanes[MAX_SHARDS];
    struct rollcall rollcall;
    struct map rooms;
    struct list lingering; /* soonest due first */
    /* what main is to be told */
    bool main_state_pending, main_state;
    uint64_t stopped_pending; /* shards */
    /* the end */
    bool draining, leaving, left, done;
    uint64_t leave_due_ms;
};

/* ---- to main ---- */

static bool push_main(struct dispatcher *d, enum msg_kind kind, uint32_t arg)
{
    return inbox_push(d->env.main, d->env.nshards, (struct item){kind, arg, NULL});
}

static void tell_main(struct dispatcher *d)
{
    if (!d->env.main)
        return;
    if (d->main_state_pending && push_main(d, MSG_STORE_STATE, d->main_state))
        d->main_state_pending = false;
    for (unsigned i = 0; i < d->env.nshards && d->stopped_pending; i++) {
        uint64_t bit = UINT64_C(1) << i;
        if ((d->stopped_pending & bit) && push_main(d, MSG_STOPPED, i))
            d->stopped_pending &= ~bit;
    }
}

/* ---- rooms ---- */

static struct span room_name(const struct room *r)
{
    return span_of(r->name, r->len);
}

static struct room *room_new(struct dispatcher *d, struct span name)
{
    struct room *r = calloc(1, sizeof(*r) + name.n + 1);
    if (!r)
        return NULL;
    r->len = name.n;
    memcpy(r->name, name.p, name.n);
    if (!map_put(&d->rooms, room_name(r), r)) {
        free(r);
        return NULL;
    }
    return r;
}

static void arm_linger(struct dispatcher *d)
{
    if (list_empty(&d->lingering))
        return;
    const struct room *r = CONTAINER_OF(d->lingering.next, struct room, linger);
    uint64_t now = clock_mono_ms(), wait = r->due_ms > now ? r->due_ms - now : 0;
    struct timeval tv = {(time_t)(wait / 1000), (suseconds_t)(wait % 1000) * 1000};
    event_add(d->linger_timer, &tv);
}

static void on_linger(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct dispatcher *d = arg;
    uint64_t now = clock_mono_ms();
    while (!list_empty(&d->lingering)) {
        struct room *r = CONTAINER_OF(d->lingering.next, struct room, linger);
        if (r->due_ms > now)
            break;
        list_unlink(&r->linger);
        d->store->ops->unsubscribe(d->store, room_name(r));
        map_remove(&d->rooms, room_name(r));
        free(r);
    }
    arm_linger(d);
}

static void interest_on(struct dispatcher *d, struct op *op)
{
    struct span name = span_str(op->interest.room);
    struct room *r = map_get(&d->rooms, name);
    if (!r)
        r = room_new(d, name);
    if (!r) {
        op->status = OP_FULL;
        snprintf(op->error, sizeof(op->error), "Memory is out.");
        outlane_reply(&d->lanes[op->shard], op);
        return;
    }
    list_unlink(&r->linger);
    r->mask |= UINT64_C(1) << op->shard;
    d->store->ops->subscribe(d->store, name, op);
}

static void watch_on(struct dispatcher *d, struct op *op)
{
    struct span name = span_str(op->watch.room);
    struct room *r = map_get(&d->rooms, name);
    if (!r) { /* its members have gone already */
        op->status = OP_REFUSED;
        outlane_reply(&d->lanes[op->shard], op);
        return;
    }
    r->watchers |= UINT64_C(1) << op->shard;
    d->store->ops->watch(d->store, name, op);
}

static void watch_off(struct dispatcher *d, struct span room, unsigned shard)
{
    struct room *r = map_get(&d->rooms, room);
    uint64_t bit = UINT64_C(1) << shard;
    if (!r || !(r->watchers & bit))
        return;
    r->watchers &= ~bit;
    if (!r->watchers)
        d->store->ops->unwatch(d->store, room);
}

static void interest_off(struct dispatcher *d, struct op *op)
{
    struct room *r = map_get(&d->rooms, span_str(op->interest.room));
    uint64_t bit = UINT64_C(1) << op->shard;
    watch_off(d, span_str(op->interest.room), op->shard);
    op_free(op);
    if (!r || !(r->mask & bit))
        return;
    r->mask &= ~bit;
    if (r->mask)
        return;
    r->due_ms = clock_mono_ms() + d->env.cfg->linger_ms;
    bool first = list_empty(&d->lingering);
    list_push(&d->lingering, &r->linger);
    if (first)
        arm_linger(d);
}

/* ---- from the store ---- */

/* A tracked message that found a lane full: the ledger is told, in the very way shards tell it. */
static void lost(struct dispatcher *d, struct job *j)
{
    struct op *op = op_new(OP_TRACK);
    uint64_t now_ms = clock_real_us() / 1000;
    if (op && !(op->track.v = calloc(1, sizeof(*op->track.v)))) {
        op_free(op);
        op = NULL;
    }
    if (!op) {
        metric_add(d->env.metrics, M_LEDGER_DROPPED, 1);
        return;
    }
    op->shard = MAX_SHARDS; /* nobody waits for it */
    op->track.n = 1;
    op->track.v[0] = (struct track_event){.job = job_ref(j),
                                          .why = "lane_full",
                                          .what = TRACK_DROPPED,
                                          .count = 1,
                                          .at_ms = now_ms,
                                          .arrived_ms = now_ms};
    d->store->ops->submit(d->store, op);
}

/* Takes the reference. */
static void job_to(struct dispatcher *d, unsigned shard, struct job *j)
{
    struct job *watched = j->head.track ? job_ref(j) : NULL;
    if (!outlane_job(&d->lanes[shard], j) && watched)
        lost(d, watched);
    job_unref(watched);
}

static void job_to_mask(struct dispatcher *d, struct job *j, uint64_t mask)
{
    for (unsigned i = 0; i < d->env.nshards; i++) {
        if (mask & (UINT64_C(1) << i))
            job_to(d, i, job_ref(j));
    }
    job_unref(j);
}

static unsigned owner(const struct dispatcher *d, struct span user)
{
    return (unsigned)(siphash13(d->env.owner_key, user) % d->env.nshards);
}

static void on_job(void *arg, struct job *j)
{
    struct dispatcher *d = arg;
    const struct room *r;
    switch (j->head.kind) {
    case TARGET_USER:
        if (!j->target_hash) /* one that a store keeps may be seen by others by now */
            j->target_hash = siphash13(d->env.owner_key, j->head.target);
        job_to(d, (unsigned)(j->target_hash % d->env.nshards), j);
        break;
    case TARGET_ROOM:
        r = map_get(&d->rooms, j->head.target);
        job_to_mask(d, j, r ? r->mask : 0);
        break;
    case TARGET_ALL:
        job_to_mask(d, j, UINT64_MAX);
        break;
    }
}

static void on_behind(void *arg, struct span user, uint64_t seq)
{
    struct dispatcher *d = arg;
    outlane_behind(&d->lanes[owner(d, user)], user, seq);
}

static void on_room_behind(void *arg, struct span room, uint64_t seq)
{
    struct dispatcher *d = arg;
    const struct room *r = map_get(&d->rooms, room);
    for (unsigned i = 0; r && i < d->env.nshards; i++) {
        if (r->mask & (UINT64_C(1) << i))
            outlane_room_behind(&d->lanes[i], room, seq);
    }
}

static void on_presence(void *arg, struct presence *p)
{
    struct dispatcher *d = arg;
    const struct room *r = map_get(&d->rooms, presence_room(p));
    for (unsigned i = 0; r && i < d->env.nshards; i++) {
        if (!(r->watchers & (UINT64_C(1) << i)))
            continue;
        struct presence *copy = presence_new(presence_room(p), presence_user(p), p->join, p->seq);
        if (copy)
            outlane_presence(&d->lanes[i], copy);
        else
            metric_add(d->env.metrics, M_DROP_MEMORY, 1);
    }
    free(p);
}

static void on_done(void *arg, struct op *op)
{
    struct dispatcher *d = arg;
    switch (op->kind) {
    case OP_DETACH: /* nobody waits for it */
    case OP_PRESENCE:
    case OP_ANSWER:
        op_free(op);
        break;
    case OP_ATTACH:
    case OP_FETCH:
    case OP_ACK:
    case OP_PUSH:
    case OP_INTEREST:
    case OP_WATCH:
    case OP_QUERY:
    case OP_FORWARD:
        outlane_reply(&d->lanes[op->shard], op);
        break;
    case OP_TRACK:
        if (op->shard < d->env.nshards)
            outlane_reply(&d->lanes[op->shard], op);
        else
            op_free(op);
        break;
    case OP_CONTROL:
        outlane_control(&d->lanes[owner(d, span_str(op->control.user))], op);
        break;
    }
}

static void on_state(void *arg, bool ready)
{
    struct dispatcher *d = arg;
    log_line(LOG_INFO, "dispatcher", "the %s store %s", d->store->ops->name, ready ? "answers" : "is away");
    for (unsigned i = 0; i < d->env.nshards; i++)
        outlane_state(&d->lanes[i], ready);
    d->main_state_pending = true;
    d->main_state = ready;
    tell_main(d);
}

static void on_ready(void *arg, bool ready)
{
    struct dispatcher *d = arg;
    atomic_store_explicit(d->env.ready, ready && !d->draining, memory_order_release);
}

static void on_audit(void *arg)
{
    struct dispatcher *d = arg;
    rollcall_start(&d->rollcall);
}

static void on_renamed(void *arg, const char *name)
{
    struct dispatcher *d = arg;
    for (unsigned i = 0; i < d->env.nshards; i++)
        outlane_node(&d->lanes[i], name);
}

static uint64_t sum(const struct dispatcher *d, enum metric id)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < d->env.nall; i++)
        n += metric_get(d->env.all[i], id);
    return n;
}

static void on_about(void *arg, struct store_about *out)
{
    const struct dispatcher *d = arg;
    *out = (struct store_about){.address = d->env.address ? d->env.address : "-",
                                .since_ms = d->env.started_ms,
                                .clients = sum(d, M_CONNS_WS) + sum(d, M_CONNS_SSE) + sum(d, M_CONNS_POLL) +
                                           sum(d, M_CONNS_TCP),
                                .users = sum(d, M_USERS),
                                .rooms = sum(d, M_ROOMS),
                                .stored = sum(d, M_STORED),
                                .delivered = sum(d, M_DELIVERED)};
}

/* ---- from the inbox ---- */

static void take_op(struct dispatcher *d, struct op *op)
{
    if (op->shard >= d->env.nshards) {
        op_free(op);
        return;
    }
    if (op->kind == OP_INTEREST && op->interest.on) {
        interest_on(d, op);
    } else if (op->kind == OP_INTEREST) {
        interest_off(d, op);
    } else if (op->kind == OP_WATCH && op->watch.on) {
        watch_on(d, op);
    } else if (op->kind == OP_WATCH) {
        watch_off(d, span_str(op->watch.room), op->shard);
        op_free(op);
    } else {
        d->store->ops->submit(d->store, op);
    }
}

static void take_stop(struct dispatcher *d, enum stop_phase phase)
{
    d->draining = true;
    on_ready(d, false);
    switch (phase) {
    case STOP_DRAIN:
        break;
    case STOP_NOW: {
        struct timeval tv = {0, LEAVE_LOOK_MS * 1000};
        d->leaving = true;
        d->leave_due_ms = clock_mono_ms() + LEAVE_MS;
        event_add(d->leave_timer, &tv);
        break;
    }
    }
}

static void take(void *arg, struct item it)
{
    struct dispatcher *d = arg;
    switch ((enum msg_kind)it.kind) {
    case MSG_OP:
        take_op(d, it.ptr);
        break;
    case MSG_CENSUS:
        rollcall_take(&d->rollcall, it.ptr);
        break;
    case MSG_STOP:
        take_stop(d, (enum stop_phase)it.arg);
        break;
    case MSG_STOPPED:
        if (it.arg < d->env.nshards)
            d->stopped_pending |= UINT64_C(1) << it.arg;
        break;
    case MSG_JOB:
    case MSG_BEHIND:
    case MSG_ROOM_BEHIND:
    case MSG_PRESENCE:
    case MSG_STORE_STATE:
    case MSG_NODE:
    case MSG_CALL:
    case MSG_MOVE:
    case MSG_CERTIFICATE:
    case MSG_FREED:
        msg_drop(NULL, it);
        break;
    }
}

static void on_inbox(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct dispatcher *d = arg;
    (void)inbox_drain(d->env.inbox, INBOX_BATCH, take, d);
}

/* ---- the loop ---- */

static void on_leave_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg; /* turns the loop, which looks */
}

static unsigned inbox_left(const struct dispatcher *d)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < inbox_lanes(d->env.inbox); i++)
        sum += inbox_depth(d->env.inbox, i);
    return sum;
}

static void look_at_end(struct dispatcher *d)
{
    if (!d->leaving)
        return;
    bool late = clock_mono_ms() >= d->leave_due_ms;
    if (!d->left && (late || inbox_left(d) == 0)) {
        d->left = true;
        d->store->ops->leave(d->store);
    }
    if (late || (d->left && d->store->ops->idle(d->store)))
        d->done = true;
}

static void ring_lanes(struct dispatcher *d)
{
    for (unsigned i = 0; i < d->env.nshards; i++)
        outlane_ring(&d->lanes[i]);
}

static void end_turn(struct dispatcher *d)
{
    for (unsigned i = 0; i < d->env.nshards; i++) {
        if (outlane_waiting(&d->lanes[i]))
            outlane_flush(&d->lanes[i]);
    }
    ring_lanes(d);
    tell_main(d);
    metric_set(d->env.metrics, M_LANE_DEPTH, inbox_left(d));
    metric_add(d->env.metrics, M_LOOP_TURNS, 1);
    look_at_end(d);
}

static void *run(void *arg)
{
    struct dispatcher *d = arg;
    thread_role_set(ROLE_DISPATCHER);
    log_thread("dispatcher");
    ring_lanes(d); /* what was said before this thread ran */
    while (!d->done) {
        if (event_base_loop(d->base, EVLOOP_ONCE) < 0) {
            log_line(LOG_ERROR, "dispatcher", "the event loop failed");
            break;
        }
        end_turn(d);
    }
    return NULL;
}

/* ---- life ---- */

static void free_rooms(struct dispatcher *d)
{
    size_t it = 0;
    struct room *r;
    while ((r = map_next(&d->rooms, &it)) != NULL)
        free(r);
    map_fini(&d->rooms);
}

static void dispatcher_free(struct dispatcher *d)
{
    if (d->store)
        d->store->ops->free(d->store);
    for (unsigned i = 0; i < d->env.nshards; i++)
        outlane_fini(&d->lanes[i]);
    free_rooms(d);
    struct event *events[] = {d->inbox_event, d->linger_timer, d->leave_timer};
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        if (events[i])
            event_free(events[i]);
    }
    if (d->base)
        event_base_free(d->base);
    free(d);
}

static struct event_base *new_base(void)
{
    struct event_config *cfg = event_config_new();
    if (!cfg)
        return NULL;
    struct event_base *base = NULL;
    if (event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK) == 0)
        base = event_base_new_with_config(cfg);
    event_config_free(cfg);
    return base;
}

static bool open_events(struct dispatcher *d)
{
    d->base = new_base();
    if (!d->base)
        return false;
    d->inbox_event = event_new(d->base, inbox_fd(d->env.inbox), EV_READ | EV_PERSIST, on_inbox, d);
    d->linger_timer = evtimer_new(d->base, on_linger, d);
    d->leave_timer = event_new(d->base, -1, EV_PERSIST, on_leave_look, d);
    return d->inbox_event && d->linger_timer && d->leave_timer && event_add(d->inbox_event, NULL) == 0;
}

static struct store *open_store(struct dispatcher *d, char *err, size_t errlen)
{
    const struct store_up up = {.arg = d,
                                .job = on_job,
                                .done = on_done,
                                .state = on_state,
                                .ready = on_ready,
                                .behind = on_behind,
                                .room_behind = on_room_behind,
                                .presence = on_presence,
                                .audit = on_audit,
                                .renamed = on_renamed,
                                .about = on_about};
    const struct dispatcher_env *e = &d->env;
    if (e->cfg->redis)
        return store_redis_new(e->cfg, d->base, e->metrics, e->node, &up, err, errlen);
    return store_memory_new(e->cfg, d->base, e->metrics, e->node, &up, err, errlen);
}

struct dispatcher *dispatcher_start(const struct dispatcher_env *env, char *err, size_t errlen)
{
    if (env->nshards == 0 || env->nshards > MAX_SHARDS) {
        snprintf(err, errlen, "The number of shards has to be from 1 to %d.", MAX_SHARDS);
        return NULL;
    }
    struct dispatcher *d = calloc(1, sizeof(*d));
    if (!d) {
        snprintf(err, errlen, "Memory is out.");
        return NULL;
    }
    d->env = *env;
    map_init(&d->rooms);
    list_init(&d->lingering);
    for (unsigned i = 0; i < env->nshards; i++)
        outlane_init(&d->lanes[i], env->shards[i], env->nshards, env->metrics);
    snprintf(err, errlen, "Memory or file descriptors are out.");
    bool good = open_events(d) && (d->store = open_store(d, err, errlen)) != NULL;
    d->rollcall = (struct rollcall){.lanes = d->lanes, .nshards = env->nshards, .store = d->store};
    if (!good || pthread_create(&d->thread, NULL, run, d) != 0) {
        dispatcher_free(d);
        return NULL;
    }
    return d;
}

void dispatcher_join(struct dispatcher *d)
{
    if (!d)
        return;
    pthread_join(d->thread, NULL);
    dispatcher_free(d);
}
