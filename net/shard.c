/*
 * shard.c - one I/O thread and its loop.
 *
 * A turn: libevent calls what is ready (input, timers, the inbox by bounded batches), which marks connections dirty or
 * dead; then, in this order, kept input that may go on is looked at again, dirty connections are flushed once each,
 * moving ones are handed to their owner, ops that found the dispatcher's lane full are retried, and the dead are freed.
 * Nothing else frees a connection, so pointers live until the end of the turn.
 *
 * The wheel's tick event is armed only for the next timer that is due: an idle shard without connections does not wake
 * up.
 */
#include "net/shard.h"

#include <errno.h>
#include <event2/thread.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/hash.h"
#include "core/inbox.h"
#include "core/job.h"
#include "core/msg.h"
#include "core/owner.h"
#include "net/call.h"
#include "net/census.h"
#include "net/conn.h"
#include "net/deflate.h"
#include "net/flush.h"
#include "net/frame_cache.h"
#include "net/limits.h"
#include "net/poll.h"
#include "net/room.h"
#include "net/session.h"
#include "net/sockets.h"
#include "net/tls_ctx.h"
#include "net/user.h"

#define INBOX_BATCH 512
#define CROWD       64   /* members */
#define MANY        32   /* messages */
#define UNRUNG      64   /* ops */
#define TRIM_AFTER  1024 /* connections */

struct shard_thread {
    struct shard shard; /* first: the public struct is the start of this one */
    pthread_t thread;
    char name[16];
    bool told_stopped;
};

unsigned shard_owner(const struct shard *s, struct span user)
{
    return (unsigned)(siphash13(s->env->owner_key, user) % s->env->nshards);
}

/* ---- ops to the dispatcher ---- */

static void wake_dispatcher(struct shard *s)
{
    if (s->unrung)
        inbox_ring(s->env->dispatcher);
    s->unrung = 0;
}

/* The dispatcher is woken once for the ops of a turn (or for UNRUNG of them), not for the first: what it finds together
 * it asks Redis together. */
static bool give(struct shard *s, struct op *op)
{
    bool taken = inbox_put(s->env->dispatcher, s->index, (struct item){.kind = MSG_OP, .ptr = op});
    if (++s->unrung >= UNRUNG || !taken)
        wake_dispatcher(s);
    return taken;
}

void shard_submit(struct shard *s, struct op *op)
{
    op->shard = s->index;
    op->born_us = clock_mono_us();
    if (shard_congested(s) || !give(s, op)) {
        metric_add(s->m, M_LANE_FULL, 1);
        list_push(&s->unsent_ops, &op->link);
    }
}

static void retry_ops(struct shard *s)
{
    while (shard_congested(s)) {
        struct op *op = CONTAINER_OF(s->unsent_ops.next, struct op, link);
        list_unlink(&op->link);
        if (give(s, op))
            continue;
        op->link.next = s->unsent_ops.next; /* back to the front */
        op->link.prev = &s->unsent_ops;
        s->unsent_ops.next->prev = &op->link;
        s->unsent_ops.next = &op->link;
        return;
    }
}

/* ---- what comes in by the inbox ---- */

static void op_back(struct shard *s, struct op *op)
{
    if (op->conn & POLL_ID_BIT) {
        polls_op_back(s, op);
        return;
    }
    switch (op->kind) {
    case OP_ACK:
        if (op->conn)
            break;
        session_acks_back(s, op);
        return;
    case OP_INTEREST:
        room_interest_back(s, op);
        return;
    case OP_WATCH:
        room_watch_back(s, op);
        return;
    case OP_FETCH:
        if (op->conn || !op->fetch.room)
            break;
        room_page_back(s, op);
        return;
    case OP_TRACK:
        track_back(s, op);
        return;
    case OP_CONTROL:
        if (op->control.act == CONTROL_COMMAND) {
            call_from_elsewhere(s, op);
            return;
        }
        user_control(s, &op->control);
        op_free(op);
        return;
    case OP_FORWARD:
        call_back_from_elsewhere(s, op);
        return;
    case OP_ANSWER:
    case OP_ATTACH:
    case OP_DETACH:
    case OP_PRESENCE:
    case OP_PUSH:
    case OP_QUERY:
        break;
    }
    struct conn *c = op->conn ? idmap_get(&s->conns, op->conn) : NULL;
    if (c && c->proto->op_done && c->state == CONN_OPEN)
        c->proto->op_done(c, op);
    else
        op_free(op);
}

/* Gives out the messages to users that were put aside. */
static void land(struct shard *s)
{
    unsigned n = s->nlanding;
    s->nlanding = 0;
    users_deliver(s, s->landing, n);
    for (unsigned i = 0; i < n; i++)
        job_unref(s->landing[i]);
}

static void deliver(struct shard *s, struct job *j)
{
    switch (j->head.kind) {
    case TARGET_USER:
        s->landing[s->nlanding++] = j;
        if (s->nlanding == USERS_AT_ONCE)
            land(s);
        return;
    case TARGET_ROOM:
        room_deliver(s, j);
        break;
    case TARGET_ALL:
        land(s);
        session_deliver_all(s, j);
        polls_deliver_all(s, j);
        break;
    }
    job_unref(j);
}

static void drain(struct shard *s)
{
    s->draining = true;
    listeners_stop(s);
    rooms_finish(s);
    polls_drain(s);
    struct conn *c;
    size_t it = 0;
    while ((c = idmap_next(&s->conns, &it)) != NULL) {
        if (c->state == CONN_OPEN)
            c->proto->drain(c);
    }
}

static void set_store_state(struct shard *s, bool ready)
{
    if (ready && !s->store_ready) {
        session_store_back(s);
        rooms_store_back(s);
        polls_store_back(s);
    }
    s->store_ready = ready;
}

static void take(void *arg, struct item it)
{
    struct shard *s = arg;
    if (it.kind != MSG_JOB && s->nlanding)
        land(s);
    switch ((enum msg_kind)it.kind) {
    case MSG_JOB:
        deliver(s, it.ptr);
        break;
    case MSG_BEHIND:
        user_behind(s, it.ptr);
        free(it.ptr);
        break;
    case MSG_ROOM_BEHIND:
        room_behind(s, it.ptr);
        free(it.ptr);
        break;
    case MSG_PRESENCE:
        room_presence(s, it.ptr);
        free(it.ptr);
        break;
    case MSG_STORE_STATE:
        set_store_state(s, it.arg != 0);
        break;
    case MSG_OP:
        op_back(s, it.ptr);
        break;
    case MSG_CENSUS:
        census_take(s, it.ptr);
        break;
    case MSG_NODE:
        free(s->renamed);
        s->node = s->renamed = it.ptr;
        break;
    case MSG_CALL:
        call_arrived(s, it.ptr);
        break;
    case MSG_MOVE:
        conn_adopt(s, it.ptr);
        if (s->draining)
            ((struct conn *)it.ptr)->proto->drain(it.ptr);
        break;
    case MSG_STOP:
        if (it.arg == STOP_NOW)
            s->stop = true;
        else
            drain(s);
        break;
    case MSG_CERTIFICATE:
        tls_ctx_free(s->tls);
        s->tls = it.ptr;
        break;
    case MSG_STOPPED:
    case MSG_FREED:
        break;
    }
}

static unsigned take_some(struct shard *s)
{
    unsigned n = inbox_drain(s->inbox, INBOX_BATCH, take, s);
    land(s);
    return n;
}

/* What is written to a crowd costs as many system calls for one message as for fifty, and what is written to many users
 * the less a message the more of them there are. Where processors are scarce, the dispatcher, Redis and the publishers
 * are waiting for this thread's: they go first, and what they bring meanwhile leaves in the same writes. Where none
 * waits, it is the one call. */
static void on_doorbell(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct shard *s = arg;
    s->now_ms = clock_mono_ms();
    unsigned n = take_some(s);
    if (n >= MANY || rooms_crowd(s, CROWD)) {
        (void)sched_yield();
        (void)take_some(s);
    }
    rooms_turn_end(s);
}

/* ---- timers ---- */

static void fire(void *arg, struct timer *t)
{
    struct shard *s = arg;
    if (t == &s->ack_timer)
        session_flush_acks(s);
    else if (t == &s->poll_timer)
        polls_tick(s);
    else if (t == &s->tracker.timer)
        track_tick(s);
    else
        conn_timer_fired(CONTAINER_OF(t, struct conn, timer));
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct shard *s = arg;
    s->now_ms = clock_mono_ms();
    s->tick_due_ms = 0;
    (void)wheel_turn(&s->wheel, s->now_ms, fire, s);
}

/* tick_due_ms is 0 while the tick is not armed. One that wakes earlier than needed is left: it looks again then. */
static void arm_tick(struct shard *s)
{
    int ms = wheel_next_ms(&s->wheel, s->now_ms);
    uint64_t due = s->now_ms + (uint64_t)(ms > 0 ? ms : 1);
    if (ms < 0 || (s->tick_due_ms && s->tick_due_ms <= due))
        return;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms > 0 ? ms % 1000 : 1) * 1000};
    if (event_add(s->tick, &tv) == 0)
        s->tick_due_ms = due;
}

/* ---- the end of a turn ---- */

static void look_again(struct shard *s)
{
    struct conn *c = s->resumed;
    s->resumed = NULL;
    while (c) {
        struct conn *next = c->next_resumed;
        conn_resumed(c);
        c = next;
    }
}

static void hand_over(struct shard *s)
{
    struct conn *c = s->moves;
    s->moves = NULL;
    while (c) {
        struct conn *next = c->next;
        if (c->state == CONN_DEAD) {
            c->next = s->graveyard;
            s->graveyard = c;
        } else if (!conn_hand_over(c)) {
            c->next = s->moves;
            s->moves = c;
        }
        c = next;
    }
}

/* The heap does not shrink by itself when a wave of clients has gone: their memory lies between that of others. Main,
 * which serves nobody, is asked to see to it once for a few thousand of them, and for at least as many as are here. */
static void tell_freed(struct shard *s)
{
    if (s->freed < TRIM_AFTER || s->freed < s->conns.count)
        return;
    if (inbox_push(s->env->main, s->index, (struct item){.kind = MSG_FREED, .arg = s->index}))
        s->freed = 0;
}

static void reap(struct shard *s)
{
    struct conn *c = s->graveyard;
    s->graveyard = NULL;
    while (c) {
        struct conn *next = c->next;
        if (c->dirty || c->resuming) { /* still on a list of the next turn */
            c->next = s->graveyard;
            s->graveyard = c;
        } else {
            conn_free(c);
            s->freed++;
        }
        c = next;
    }
}

static void tell_stopped(struct shard_thread *t)
{
    struct shard *s = &t->shard;
    if (!s->draining || t->told_stopped || s->conns.count)
        return;
    struct item it = {.kind = MSG_STOPPED, .arg = s->index};
    t->told_stopped = inbox_push(s->env->main, s->index, it);
}

static void end_turn(struct shard_thread *t)
{
    struct shard *s = &t->shard;
    look_again(s);
    wake_dispatcher(s); /* it works while this thread writes */
    flush_dirty(s);
    if (s->resumed) /* by a proto whose output has just drained, or while looking: the next turn is now */
        inbox_ring(s->inbox);
    hand_over(s);
    calls_retry(s);
    retry_ops(s);
    wake_dispatcher(s);
    census_retry(s);
    reap(s);
    arm_tick(s);
    tell_freed(s);
    tell_stopped(t);
    metric_add(s->m, M_LOOP_TURNS, 1);
}

static void *run(void *arg)
{
    struct shard_thread *t = arg;
    struct shard *s = &t->shard;
    thread_role_set((int)s->index);
    log_thread(t->name);
    while (!s->stop) {
        if (event_base_loop(s->base, EVLOOP_ONCE) < 0)
            break;
        s->now_ms = clock_mono_ms();
        end_turn(t);
    }
    return NULL;
}

/* ---- start and stop ---- */

static struct event_base *new_base(void)
{
    struct event_config *ec = event_config_new();
    if (!ec)
        return NULL;
    (void)event_config_set_flag(ec, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *b = event_base_new_with_config(ec);
    event_config_free(ec);
    return b;
}

static bool set_up(struct shard *s, const struct listen_socket *socks, unsigned n)
{
    s->now_ms = clock_mono_ms();
    s->ping_nonce = random_u64();
    wheel_init(&s->wheel, s->now_ms);
    idmap_init(&s->conns, offsetof(struct conn, id));
    map_init_seeded(&s->users, s->env->owner_key);
    map_init(&s->rooms);
    list_init(&s->ack_dirty);
    tracker_init(&s->tracker);
    list_init(&s->unsent_ops);
    list_init(&s->unsent_calls);
    idmap_init(&s->polls, offsetof(struct poll, id));
    list_init(&s->idle_polls);
    list_init(&s->busy_rooms);
    s->rx = malloc(SHARD_RX_BYTES);
    s->staging = malloc(SHARD_RX_BYTES);
    frame_scratch_init(&s->scratch, s->cfg);
    s->limits = limits_wanted(s->cfg) ? limits_new(s->cfg) : NULL;
    s->tls = s->env->tls ? tls_ctx_of(s->env->tls, s->index) : NULL;
    s->base = new_base();
    s->flusher = flusher_new(s->cfg->batch_sends);
    if (s->index == 0)
        log_line(LOG_INFO, "shard", "output is written by %s", flusher_name(s->flusher));
    if (!s->rx || !s->staging || !s->base || (limits_wanted(s->cfg) && !s->limits))
        return false;
    s->sockets = sockets_new(s);
    s->doorbell = event_new(s->base, inbox_fd(s->inbox), EV_READ | EV_PERSIST, on_doorbell, s);
    s->tick = event_new(s->base, -1, 0, on_tick, s);
    return s->sockets && s->doorbell && s->tick && event_add(s->doorbell, NULL) == 0 && listeners_start(s, socks, n);
}

static void tear_down(struct shard *s)
{
    struct conn *c;
    size_t it = 0;
    session_flush_acks(s); /* few ops for many cursors; the detaches that follow then carry none */
    retry_ops(s);
    polls_end_all(s);
    while ((c = idmap_next(&s->conns, &it)) != NULL)
        conn_close(c, CLOSE_DRAIN);
    flush_dirty(s);
    s->resumed = NULL;
    for (c = s->graveyard; c; c = c->next)
        c->resuming = c->dirty = false;
    for (c = s->moves; c; c = c->next)
        c->resuming = c->dirty = false;
    hand_over(s);
    reap(s);
    tracker_end(s);
    retry_ops(s);
    wake_dispatcher(s);
    struct list *l;
    free(s->census);
    while ((l = list_pop(&s->unsent_ops)) != NULL)
        op_free(CONTAINER_OF(l, struct op, link));
}

static void release(struct shard *s)
{
    listeners_stop(s);
    rooms_free(s);
    users_free(s);
    calls_free(s);
    if (s->doorbell)
        event_free(s->doorbell);
    if (s->tick)
        event_free(s->tick);
    sockets_free(s->sockets);
    if (s->base)
        event_base_free(s->base);
    idmap_fini(&s->conns);
    deflate_free(s->deflate);
    flusher_free(s->flusher);
    limits_free(s->limits);
    tls_ctx_free(s->tls);
    idmap_fini(&s->polls);
    free(s->rx);
    free(s->staging);
    buf_fini(&s->scratch);
    free(s->renamed);
}

struct shard *shard_start(const struct net_env *env, unsigned index, struct inbox *in, struct metrics *m,
                          const struct listen_socket *socks, unsigned nsocks, char *err, size_t errlen)
{
    struct shard_thread *t = calloc(1, sizeof *t);
    if (!t) {
        snprintf(err, errlen, "out of memory for shard %u", index);
        return NULL;
    }
    struct shard *s = &t->shard;
    s->env = env;
    s->cfg = env->cfg;
    s->index = index;
    s->node = env->node;
    s->inbox = in;
    s->m = m;
    snprintf(t->name, sizeof t->name, "shard-%u", index % 1000);
    if (!set_up(s, socks, nsocks) || pthread_create(&t->thread, NULL, run, t) != 0) {
        snprintf(err, errlen, "cannot start shard %u: out of memory, fds or threads", index);
        release(s);
        free(t);
        return NULL;
    }
    return s;
}

/* Items that come too late: connections on their way here, replies, jobs. */
static void drop_late(void *arg, struct item it)
{
    if (it.kind == MSG_MOVE) {
        struct conn *c = it.ptr;
        c->shard = arg;
        c->proto->gone(c);
        conn_free(c);
    } else if (it.kind == MSG_CERTIFICATE) {
        tls_ctx_free(it.ptr);
    } else {
        msg_drop(arg, it);
    }
}

void shard_join(struct shard *s)
{
    struct shard_thread *t = CONTAINER_OF(s, struct shard_thread, shard);
    pthread_join(t->thread, NULL);
}

void shard_free(struct shard *s)
{
    struct shard_thread *t = CONTAINER_OF(s, struct shard_thread, shard);
    thread_role_set((int)s->index);
    while (inbox_drain(s->inbox, INBOX_BATCH, drop_late, s) > 0)
        continue;
    tear_down(s);
    release(s);
    thread_role_set(ROLE_MAIN);
    free(t);
}
