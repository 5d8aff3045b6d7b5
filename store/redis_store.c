/*
 * redis_store.c - the Redis back-end: life, state, and the way of an op.
 *
 * Idea: two connections. Commands go over one (redis_conn), what other nodes and backends publish comes in over the
 * other (redis_sub). The store is
 *   down     no command connection. Ops end with OP_AWAY at once; detaches are kept for later.
 *   setup    connected; version checked, functions loaded if need be (redis_cluster.c).
 *   open     commands work. Once the subscription stands too the node joins: heartbeat, registrations compared (sync),
 *            and from the first join on the dispatcher hears `state(true)`.
 *   leaving  the goodbye has been written.
 * "ready" is more than open: the node's own probe, published through Redis, came back within REDIS_PROBE_MS.
 *
 * The files: redis_session.c attach, fetch, detach, ack; redis_users.c who is registered here; redis_push.c sends;
 * redis_recv.c what arrives; redis_ingest.c bare publishes; redis_cluster.c setup and channels; redis_beat.c heartbeat
 * and probe, redis_sweep.c what dead nodes leave behind.
 *
 * Dispatcher thread. Ownership: an op given to submit belongs to the store until `done`. While its command is under way
 * its address is the command's argument, and redis_conn promises one callback for it; otherwise it hangs in `finished`
 * or `interests`. redis_conn_free answers all callbacks, so nothing is left when the store dies.
 */
#include "store/redis_store.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/metrics.h"
#include "proto/room_rules.h"
#include "store/redis_audit.h"
#include "store/redis_beat.h"
#include "store/redis_cluster.h"
#include "store/redis_forward.h"
#include "store/redis_ingest.h"
#include "store/redis_ledger.h"
#include "store/redis_presence.h"
#include "store/redis_rooms.h"
#include "store/redis_users.h"

enum { MAX_ARGS = 80 * 1024 * 1024, MAX_UNSENT = 128 * 1024 * 1024, MAX_WAITING = 262144 };

/* A subscriber that waits for its room's channel. */
struct interest {
    struct list link;
    struct op *op;
    uint64_t due_ms;
};

static struct redis_store *self(const struct store *s)
{
    return CONTAINER_OF(s, struct redis_store, store);
}

/* ---- ending ops ---- */

static void fill(struct op *op, enum op_status status, const char *sentence)
{
    op->status = status;
    if (status != OP_OK && op->error[0] == '\0')
        snprintf(op->error, sizeof(op->error), "%s", sentence ? sentence : "Redis is away.");
}

void redis_finish(struct redis_store *s, struct op *op, enum op_status status, const char *sentence)
{
    fill(op, status, sentence);
    list_push(&s->finished, &op->link);
    event_active(s->finish, EV_TIMEOUT, 0);
}

void redis_finish_now(struct redis_store *s, struct op *op, enum op_status status, const char *sentence)
{
    fill(op, status, sentence);
    s->up.done(s->up.arg, op);
}

static void on_finish(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct redis_store *s = arg;
    struct list *l;
    while ((l = list_pop(&s->finished)) != NULL)
        s->up.done(s->up.arg, CONTAINER_OF(l, struct op, link));
}

/* ---- state ---- */

bool redis_store_usable(const struct redis_store *s)
{
    return s->phase >= REDIS_OPEN && redis_conn_is_up(s->cmd);
}

static bool is_ready(const struct redis_store *s)
{
    return s->phase == REDIS_OPEN && s->joined && s->sub_ready && s->probe_back_ms &&
           clock_mono_ms() - s->probe_back_ms < REDIS_PROBE_MS && redis_ingest_ready(s);
}

void redis_tell(struct redis_store *s)
{
    bool state = s->phase >= REDIS_OPEN && s->joined, ready = is_ready(s);
    metric_set(s->metrics, M_REDIS_UP, state);
    metric_set(s->metrics, M_REDIS_READY, ready);
    bool news = s->told ? state != s->told_state : state || s->tried, ready_news = ready != s->told_ready;
    s->told |= news;
    s->told_state = state;
    s->told_ready = ready;
    if (news)
        s->up.state(s->up.arg, state);
    if (ready_news)
        s->up.ready(s->up.arg, ready);
}

static void gone(struct redis_store *s, const char *why)
{
    s->phase = REDIS_DOWN;
    s->joined = false;
    s->tried = true;
    snprintf(s->why, sizeof(s->why), "%s", why);
    redis_tell(s);
}

/* What the connection can do about it: a server that is loading or was demoted is left and looked for again; functions
 * that are missing are loaded. */
static void heal(struct redis_store *s, enum redis_fault fault, const char *text)
{
    switch (fault) {
    case REDIS_UNAVAILABLE:
        if (strncmp(text, "LOADING", 7) == 0 || strncmp(text, "READONLY", 8) == 0 ||
            strncmp(text, "MASTERDOWN", 10) == 0)
            redis_conn_drop(s->cmd, text);
        if (strncmp(text, "READONLY", 8) == 0)
            redis_sub_restart(s->sub, text);
        break;
    case REDIS_NO_FUNCTION:
        if (s->phase == REDIS_OPEN) {
            log_line(LOG_WARN, "redis", "the function library is gone: loading it again");
            gone(s, "its functions are being loaded");
            redis_setup(s);
        }
        break;
    case REDIS_FINE:
    case REDIS_GONE:
    case REDIS_OUT_OF_MEMORY:
    case REDIS_REJECTED:
        break;
    }
}

enum op_status redis_judge(struct redis_store *s, const struct redisReply *r, char *sentence, size_t len)
{
    enum redis_fault fault = redis_fault_of(r);
    sentence[0] = '\0';
    if (fault == REDIS_FINE)
        return OP_OK;
    if (fault == REDIS_GONE) {
        snprintf(sentence, len, "Redis did not answer.");
        return OP_AWAY;
    }
    const char *text = redis_error_text(r);
    log_limited(&s->noise, 5, LOG_WARN, "redis", "a command was refused: %.200s", text);
    snprintf(sentence, len, "Redis refused: %.70s", text);
    heal(s, fault, text);
    return fault == REDIS_OUT_OF_MEMORY ? OP_FULL : OP_AWAY;
}

/* ---- connections ---- */

static void on_cmd_up(void *arg)
{
    struct redis_store *s = arg;
    redis_setup(s);
}

static void on_cmd_down(void *arg, const char *why)
{
    gone(arg, why);
}

static void on_sub_down(void *arg, const char *why)
{
    struct redis_store *s = arg;
    (void)why;
    s->sub_ready = false;
    s->probe_back_ms = 0;
    redis_ingest_cut(s);
    redis_beat_now(s); /* the others store this node's share */
    redis_tell(s);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    redis_tick(arg);
}

/* ---- rooms ---- */

static void arm_interest(struct redis_store *s)
{
    if (list_empty(&s->interests))
        return;
    const struct interest *in = CONTAINER_OF(s->interests.next, struct interest, link);
    uint64_t now = clock_mono_ms(), wait = in->due_ms > now ? in->due_ms - now : 0;
    struct timeval tv = {(time_t)(wait / 1000), (suseconds_t)(wait % 1000) * 1000};
    event_add(s->interest_timer, &tv);
}

static void end_interest(struct redis_store *s, struct interest *in, enum op_status status)
{
    struct op *op = in->op;
    list_unlink(&in->link);
    free(in);
    redis_finish_now(s, op, status, "The room's channel is not confirmed by Redis.");
}

static void on_interest_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct redis_store *s = arg;
    uint64_t now = clock_mono_ms();
    while (!list_empty(&s->interests)) {
        struct interest *in = CONTAINER_OF(s->interests.next, struct interest, link);
        if (in->due_ms > now)
            break;
        end_interest(s, in, OP_AWAY);
    }
    arm_interest(s);
}

static void wait_for_channel(struct redis_store *s, struct op *op)
{
    struct interest *in = malloc(sizeof(*in));
    if (!in) {
        redis_finish(s, op, OP_FULL, "Memory is out.");
        return;
    }
    bool first = list_empty(&s->interests);
    *in = (struct interest){.op = op, .due_ms = clock_mono_ms() + s->cfg->redis_timeout_ms};
    list_push(&s->interests, &in->link);
    if (first)
        arm_interest(s);
}

/* The channel of a room, in s->args' buffer; borrowed until the next command is built. */
static struct span room_channel(struct redis_store *s, struct span room)
{
    resp_reset(&s->args);
    if (!buf_append_str(&s->args.b, s->cfg->prefix) || !buf_append_str(&s->args.b, "room:") ||
        !buf_append_span(&s->args.b, room))
        return span_of(NULL, 0);
    return buf_span(&s->args.b);
}

static void subscribe(struct store *st, struct span room, struct op *op)
{
    struct redis_store *s = self(st);
    if (room_history(s->cfg, room, NULL)) {
        redis_room_join(s, room, op);
        return;
    }
    struct span channel = room_channel(s, room);
    bool wanted = channel.n && redis_sub_add(s->sub, channel, false);
    if (!op)
        return;
    if (!wanted)
        redis_finish(s, op, OP_FULL, "Memory is out.");
    else if (redis_sub_confirmed(s->sub, channel))
        redis_finish(s, op, OP_OK, NULL);
    else
        wait_for_channel(s, op);
}

static void unsubscribe(struct store *st, struct span room)
{
    struct redis_store *s = self(st);
    if (room_history(s->cfg, room, NULL)) {
        redis_room_leave(s, room);
        return;
    }
    struct span channel = room_channel(s, room);
    if (channel.n)
        redis_sub_remove(s->sub, channel);
}

static void watch(struct store *st, struct span room, struct op *op)
{
    redis_watch_start(self(st), room, op);
}

static void unwatch(struct store *st, struct span room)
{
    redis_watch_stop(self(st), room);
}

/* Subscriptions are confirmed in the order they were asked for, so the waiters are near the front. */
static void room_confirmed(struct redis_store *s, struct span room)
{
    struct list *l = s->interests.next;
    while (l != &s->interests) {
        struct interest *in = CONTAINER_OF(l, struct interest, link);
        l = l->next;
        if (span_eq(span_str(in->op->interest.room), room))
            end_interest(s, in, OP_OK);
    }
}

static void on_confirmed(void *arg, struct span channel)
{
    struct redis_store *s = arg;
    size_t n = strlen(s->cfg->prefix);
    struct span name = span_of(channel.p + n, channel.n - n);
    if (name.n > 5 && memcmp(name.p, "room:", 5) == 0)
        room_confirmed(s, span_of(name.p + 5, name.n - 5));
    else if (name.n > 9 && memcmp(name.p, "presence:", 9) == 0)
        redis_watch_confirmed(s, span_of(name.p + 9, name.n - 9));
    bool reading = redis_ingest_confirmed(s);
    if (!s->sub_ready && redis_base_confirmed(s)) {
        s->sub_ready = true;
        s->sub_since_ms = clock_mono_ms();
        redis_sub_praise(s->sub);
        if (s->phase == REDIS_OPEN)
            redis_join(s);
    } else if (reading && s->sub_ready && s->joined) {
        redis_beat_now(s);
    }
}

/* ---- ops ---- */

static void submit(struct store *st, struct op *op)
{
    struct redis_store *s = self(st);
    switch (op->kind) {
    case OP_ATTACH:
        redis_attach(s, op);
        break;
    case OP_DETACH:
        redis_detach(s, op);
        break;
    case OP_FETCH:
        redis_fetch(s, op);
        break;
    case OP_ACK:
        redis_ack(s, op);
        break;
    case OP_PUSH:
        redis_push(s, op);
        break;
    case OP_INTEREST:
        if (op->interest.on) {
            subscribe(st, span_str(op->interest.room), op);
            break;
        }
        unsubscribe(st, span_str(op->interest.room));
        redis_finish(s, op, OP_OK, NULL);
        break;
    case OP_PRESENCE:
        redis_presence_set(s, op);
        break;
    case OP_WATCH:
        if (op->watch.on) {
            redis_watch_start(s, span_str(op->watch.room), op);
            break;
        }
        redis_watch_stop(s, span_str(op->watch.room));
        redis_finish(s, op, OP_OK, NULL);
        break;
    case OP_QUERY:
        redis_query(s, op);
        break;
    case OP_TRACK:
        redis_track(s, op);
        break;
    case OP_FORWARD:
        redis_forward(s, op);
        break;
    case OP_ANSWER:
        redis_forward_answer(s, op);
        break;
    case OP_CONTROL:
        redis_finish(s, op, OP_REFUSED, "This is not for the store.");
        break;
    }
}

static void census(struct store *st, const struct census *page)
{
    redis_audit_census(self(st), page);
}

static bool ready(const struct store *st)
{
    return is_ready(self(st));
}

static void leave(struct store *st)
{
    redis_goodbye(self(st));
}

static bool idle(const struct store *st)
{
    struct redis_store *s = self(st);
    redis_goodbye_look(s); /* it is asked again and again: steps of the goodbye are not to wait for a tick */
    bool going = s->leaving && s->phase == REDIS_OPEN;
    return !redis_store_usable(s) || (!going && redis_conn_waiting(s->cmd) == 0 && list_empty(&s->finished));
}

/* ---- life ---- */

static void ignore_state(void *arg, bool on)
{
    (void)arg, (void)on;
}

static void free_store(struct store *st)
{
    struct redis_store *s = self(st);
    s->phase = REDIS_DOWN;
    s->up.state = ignore_state;
    s->up.ready = ignore_state;
    redis_sub_free(s->sub);
    redis_conn_free(s->cmd);
    redis_watch_stop_all(s);
    while (!list_empty(&s->interests))
        end_interest(s, CONTAINER_OF(s->interests.next, struct interest, link), OP_AWAY);
    redis_push_free(s);
    redis_forwards_end(s);
    if (s->finish)
        on_finish(-1, 0, s);
    redis_kept_free(s);
    free(s->forwards);
    redis_users_free(s);
    redis_rooms_free(s->rooms);
    redis_presence_free(s->presence);
    redis_watch_free(s->watch);
    redis_ingest_free(s->ingest);
    redis_sweep_free(s->sweep);
    redis_audit_free(s->audit);
    struct event *events[] = {s->tick, s->finish, s->interest_timer, s->batch_turn};
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        if (events[i])
            event_free(events[i]);
    }
    members_fini(&s->members);
    resp_fini(&s->args);
    resp_fini(&s->keys);
    resp_fini(&s->sends);
    resp_fini(&s->head);
    jobmaker_fini(&s->jm);
    redis_url_fini(&s->url);
    free(s);
}

static void init(struct redis_store *s)
{
    list_init(&s->finished);
    list_init(&s->interests);
    members_init(&s->members);
    map_init(&s->users);
    map_init(&s->kept);
    for (unsigned i = 0; i < REDIS_PARTS; i++)
        list_init(&s->parts[i]);
    s->prefix = span_str(s->cfg->prefix);
    jobmaker_init(&s->jm, s->metrics, s->cfg->max_payload, true);
    resp_init(&s->args, MAX_ARGS);
    resp_init(&s->keys, MAX_ARGS);
    resp_init(&s->sends, MAX_ARGS);
    resp_init(&s->head, 4096);
    snprintf(s->why, sizeof(s->why), "not connected yet");
}

static bool open_connections(struct redis_store *s)
{
    s->cmd = redis_conn_new(&(struct redis_conn_cfg){.base = s->loop,
                                                     .url = &s->url,
                                                     .metrics = s->metrics,
                                                     .label = "command",
                                                     .timeout_ms = s->cfg->redis_timeout_ms,
                                                     .max_unsent = MAX_UNSENT,
                                                     .max_waiting = MAX_WAITING,
                                                     .arg = s,
                                                     .up = on_cmd_up,
                                                     .down = on_cmd_down});
    s->sub = redis_sub_new(&(struct redis_sub_cfg){.base = s->loop,
                                                   .url = &s->url,
                                                   .metrics = s->metrics,
                                                   .timeout_ms = s->cfg->redis_timeout_ms,
                                                   .max_payload = REDIS_MAX_PUSH_BYTES,
                                                   .arg = s,
                                                   .coming = redis_on_coming,
                                                   .message = redis_on_message,
                                                   .confirmed = on_confirmed,
                                                   .down = on_sub_down});
    return s->cmd && s->sub && redis_subscribe_base(s);
}

static bool open_events(struct redis_store *s)
{
    s->finish = event_new(s->loop, -1, 0, on_finish, s);
    s->batch_turn = event_new(s->loop, -1, 0, redis_on_batch_turn, s);
    s->interest_timer = evtimer_new(s->loop, on_interest_timer, s);
    s->tick = event_new(s->loop, -1, EV_PERSIST, on_tick, s);
    struct timeval tv = {REDIS_TICK_MS / 1000, (REDIS_TICK_MS % 1000) * 1000};
    return s->finish && s->batch_turn && s->interest_timer && s->tick && event_add(s->tick, &tv) == 0;
}

static bool open_tables(struct redis_store *s)
{
    s->rooms = redis_rooms_new();
    s->presence = redis_presence_new(s);
    s->watch = redis_watch_new();
    s->forwards = redis_forwards_new();
    s->ingest = redis_ingest_new(s);
    s->sweep = redis_sweep_new();
    s->audit = redis_audit_new();
    return s->rooms && s->presence && s->watch && s->forwards && s->ingest && s->sweep && s->audit;
}

static const struct store_ops redis_ops = {
    .name = "redis",
    .submit = submit,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .watch = watch,
    .unwatch = unwatch,
    .census = census,
    .ready = ready,
    .leave = leave,
    .idle = idle,
    .free = free_store,
};

struct store *store_redis_new(const struct config *cfg, struct event_base *base, struct metrics *m, const char *node,
                              const struct store_up *up, char *err, size_t errlen)
{
    struct redis_url url;
    if (!redis_url_parse(cfg->redis, &url, err, errlen))
        return NULL;
    struct redis_store *s = calloc(1, sizeof(*s));
    if (!s) {
        redis_url_fini(&url);
        snprintf(err, errlen, "Memory is out.");
        return NULL;
    }
    *s = (struct redis_store){
        .store = {&redis_ops}, .up = *up, .cfg = cfg, .loop = base, .metrics = m, .node_base = node, .url = url};
    init(s);
    redis_name_node(s, false);
    if (open_tables(s) && open_events(s) && open_connections(s))
        return &s->store;
    snprintf(err, errlen, "Memory is out.");
    free_store(&s->store);
    return NULL;
}
