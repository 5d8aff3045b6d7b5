/*
 * redis_beat.c - heartbeat, joining, fencing, the goodbye.
 *
 * Idea: one function call a second says that this node lives and what it does with raw messages, and answers who else
 * lives, who has died, who has a hole, and which marker was the last. Everything that the nodes know of each other
 * comes from these answers, so it is the same on each of them.
 *
 * Once commands work and the subscription stands the node joins:
 *   heartbeat ("reads nothing yet": what it read before is cut) -> (fenced? a new name, its channel, and join again)
 *             -> detaches kept meanwhile -> sync of all that is registered -> a heartbeat with its true role -> probes.
 * All of it goes through one queue, so it is carried out in this order, before anything the shards ask next.
 *
 * Whoever was declared dead finds itself in the list of the dead at its next heartbeat, and goes on under a new name:
 * what was registered under the old one is swept by others without touching the new. The name lives in s->node alone;
 * the shards are told.
 *
 * A node that has joined and is new to the cluster all the same was forgotten (FLUSHALL): it registers everything
 * again.
 *
 * The goodbye takes steps: a node that reads alone waits for another one to read; then it stops being a reader (its
 * role becomes "o", and it reads on until a marker no longer names it); then it takes its registrations back and
 * leaves. It waits for none of this for long.
 *
 * Dispatcher thread.
 */
#include "store/redis_beat.h"

#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/metrics.h"
#include "store/redis_audit.h"
#include "store/redis_cluster.h"
#include "store/redis_forward.h"
#include "store/redis_ingest.h"
#include "store/redis_keys.h"
#include "store/redis_presence.h"
#include "store/redis_rooms.h"
#include "store/redis_store.h"
#include "store/redis_users.h"

enum { LEAVE_WAIT_MS = 500 };

/* ---- probe ---- */

static void send_probe(struct redis_store *s)
{
    char text[24];
    snprintf(text, sizeof(text), "P%llu", (unsigned long long)clock_mono_us());
    resp_reset(&s->args);
    resp_str(&s->args, "PUBLISH");
    redis_channel(s, &s->args, "n:", span_str(s->node));
    resp_str(&s->args, text);
    redis_must_send(s, NULL);
    redis_ingest_probe(s);
}

bool redis_probe_age(struct span text, uint64_t *us)
{
    uint64_t sent = 0, now = clock_mono_us();
    if (text.n < 2 || text.n > 20 || text.p[0] != 'P')
        return false;
    for (size_t i = 1; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        sent = sent * 10 + (uint64_t)(text.p[i] - '0');
    }
    *us = now - sent;
    return sent <= now && *us <= REDIS_PROBE_MS * 1000ull;
}

void redis_on_probe(struct redis_store *s, struct span text)
{
    uint64_t us;
    if (!redis_probe_age(text, &us))
        return;
    s->probe_back_ms = clock_mono_ms();
    metric_set(s->metrics, M_REDIS_PROBE_US, us);
    redis_tell(s);
}

/* ---- reading a heartbeat's answer ---- */

static void fenced(struct redis_store *s)
{
    char old[sizeof(s->node)];
    memcpy(old, s->node, sizeof(old));
    redis_own_channel_remove(s);
    redis_name_node(s, true);
    s->renames++;
    log_line(LOG_WARN, "redis", "the cluster took %s for dead: going on as %s", old, s->node);
    metric_add(s->metrics, M_FENCED, 1);
    s->sub_ready = false;
    s->joined = false;
    s->probe_back_ms = 0;
    redis_ingest_renamed(s);
    if (s->up.renamed)
        s->up.renamed(s->up.arg, s->node);
    if (!redis_own_channel_add(s))
        redis_sub_restart(s->sub, "memory is out");
    redis_beat_now(
        s); /* the name is known before anything is registered under it, or nobody would ever take that back */
    redis_tell(s);
}

static void register_all(struct redis_store *s)
{
    redis_users_sync(s);
    redis_rooms_sync(s);
    redis_presence_sync(s);
    redis_watch_sync(s);
}

/* The cluster does not know a node that has joined: Redis was emptied, or is another one. */
static void forgotten(struct redis_store *s)
{
    log_line(LOG_WARN, "redis", "Redis has forgotten this node and whoever is here: registering all again");
    register_all(s);
    redis_audit_begin(s);
}

static struct span text_of(const struct redisReply *r)
{
    return r->type == REDIS_REPLY_STRING ? span_of(r->str, (size_t)r->len) : span_of(NULL, 0);
}

static uint64_t number_of(const struct redisReply *r)
{
    return r->type == REDIS_REPLY_INTEGER && r->integer > 0 ? (uint64_t)r->integer : 0;
}

/* node, joined, role, info; the senior ones first: they are the readers. */
static void read_live(struct redis_store *s, const struct redisReply *r)
{
    bool reader = false;
    members_clear(&s->members);
    for (size_t i = 0; i + 3 < r->elements; i += 4) {
        struct span name = text_of(r->element[i]), role = text_of(r->element[i + 2]);
        struct member *m = members_add(&s->members, name);
        if (i / 4 < REDIS_READERS)
            reader |= span_eq(name, span_str(s->node));
        if (!m)
            continue;
        m->since_ms = number_of(r->element[i + 1]);
        m->ingest = role.n && role.p[0] == 'i';
        member_read_info(m, text_of(r->element[i + 3]));
    }
    metric_set(s->metrics, M_NODES, r->elements / 4);
    if (!s->stepping_out)
        redis_ingest_elect(s, reader);
}

/* node, swept, graceful. */
static void read_dead(struct redis_store *s, const struct redisReply *r)
{
    for (size_t i = 0; i + 2 < r->elements; i += 3) {
        struct span name = text_of(r->element[i]);
        if (name.n == 0)
            continue;
        if (!number_of(r->element[i + 2]))
            redis_ingest_heard_dead(s, name);
        uint64_t swept = number_of(r->element[i + 1]);
        if (swept != 1)
            redis_sweep_heard(s, name, swept != 0);
    }
}

static void read_holes(struct redis_store *s, const struct redisReply *r)
{
    for (size_t i = 0; i + 1 < r->elements; i += 2)
        redis_ingest_heard_hole(s, text_of(r->element[i]), number_of(r->element[i + 1]));
}

/* {state, live, dead, holes, M}: false when it is none. stale: it was sent under a name that is given up, which is what
 * it would tell. */
static bool read_beat(struct redis_store *s, const struct redisReply *r, bool stale)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 1 || r->element[0]->type != REDIS_REPLY_INTEGER)
        return false;
    if (r->element[0]->integer == 1) {
        if (s->phase == REDIS_OPEN && !stale)
            fenced(s);
        return true;
    }
    if (r->elements < 5)
        return false;
    if (r->element[0]->integer == 2 && s->joined && !stale)
        forgotten(s);
    for (unsigned i = 1; i <= 3; i++) {
        if (r->element[i]->type != REDIS_REPLY_ARRAY)
            return false;
    }
    read_live(s, r->element[1]);
    read_dead(s, r->element[2]);
    read_holes(s, r->element[3]);
    redis_ingest_heard_marker(s, number_of(r->element[4]));
    redis_ingest_heard_all(s);
    return true;
}

/* ---- the heartbeat ---- */

/* What the node says of itself to the others, as one argument. */
static void arg_about(struct redis_store *s)
{
    struct store_about about = {.address = "-"};
    struct buf info;
    if (s->up.about)
        s->up.about(s->up.arg, &about);
    buf_init(&info, 1024);
    if (member_write_info(&about, &info))
        resp_arg(&s->args, buf_span(&info));
    else
        resp_str(&s->args, "v=" CRIER_VERSION);
    buf_fini(&info);
}

static void cluster_keys(struct redis_store *s)
{
    redis_cluster_key(s, &s->args, "mark");
    redis_cluster_key(s, &s->args, "nodes");
    redis_cluster_key(s, &s->args, "dead");
    redis_cluster_key(s, &s->args, "holes");
}

/* whole: with the role that it has; else as one that reads nothing yet. */
static void send_beat(struct redis_store *s, redis_reply_cb *cb, bool whole)
{
    redis_ingest_role(s, whole, s->role);
    redis_fcall(s, "crier_beat", 4);
    cluster_keys(s);
    resp_str(&s->args, s->node);
    resp_str(&s->args, s->role);
    arg_about(s);
    resp_u64(&s->args, REDIS_DEAD_MS);
    resp_str(&s->args, s->run_id);
    redis_channel(s, &s->args, "mark", span_of(NULL, 0));
    redis_channel(s, &s->args, "n:", span_of(NULL, 0));
    if (redis_send(s, cb, (void *)(uintptr_t)s->renames, false) == REDIS_TOO_MUCH)
        redis_conn_drop(s->cmd, "too much is waiting");
}

static bool is_stale(const struct redis_store *s, const void *arg)
{
    return (unsigned)(uintptr_t)arg != s->renames;
}

static bool took_beat(struct redis_store *s, const struct redisReply *r, bool stale)
{
    char why[96];
    if (redis_judge(s, r, why, sizeof(why)) != OP_OK)
        return false;
    if (read_beat(s, r, stale))
        return true;
    redis_conn_drop(s->cmd, "a heartbeat had a strange answer");
    return false;
}

static void on_beat(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    char role[REDIS_ROLE_BYTES];
    if (!took_beat(s, r, is_stale(s, arg)) || s->phase != REDIS_OPEN || !s->joined || !s->sub_ready)
        return;
    memcpy(role, s->role, sizeof(role));
    redis_ingest_role(s, true, s->role);
    if (strcmp(role, s->role) != 0)
        send_beat(s, on_beat, true);
    redis_goodbye_look(s);
}

void redis_beat_now(struct redis_store *s)
{
    if (s->phase == REDIS_OPEN && s->known)
        send_beat(s, on_beat, s->joined && s->sub_ready);
}

/* ---- joining ---- */

static void on_join_beat(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    bool stale = is_stale(s, arg), taken = took_beat(s, r, stale);
    if (redis_fault_of(r) != REDIS_FINE) {
        redis_conn_drop(s->cmd, "the node could not join");
        return;
    }
    if (!taken || stale || s->phase != REDIS_OPEN || !s->sub_ready)
        return; /* fenced, or the subscription went meanwhile: the next confirmation joins */
    s->joined = s->known = true;
    redis_kept_flush(s);
    register_all(s);
    redis_beat_now(s);
    redis_audit_begin(s);
    send_probe(s);
    redis_tell(s);
}

void redis_join(struct redis_store *s)
{
    send_beat(s, on_join_beat, false);
}

/* ---- every second ---- */

static const char *deaf(const struct redis_store *s)
{
    uint64_t heard = s->probe_back_ms > s->sub_since_ms ? s->probe_back_ms : s->sub_since_ms;
    if (clock_mono_ms() - heard > REDIS_DEAF_MS)
        return "the node's own probe does not come back";
    return redis_ingest_deaf(s);
}

void redis_tick(struct redis_store *s)
{
    redis_tell(s);
    redis_watch_tick(s);
    redis_forward_tick(s);
    redis_ingest_tick(s);
    uint64_t age = s->probe_back_ms ? clock_mono_ms() - s->probe_back_ms : 0;
    metric_set(s->metrics, M_REDIS_PROBE_AGE, age);
    redis_beat_now(s);
    if (s->phase != REDIS_OPEN || !s->sub_ready || !s->joined)
        return;
    send_probe(s);
    redis_kept_flush(s);
    redis_presence_flush(s);
    redis_audit_tick(s);
    const char *why = deaf(s);
    if (!why)
        return;
    metric_add(s->metrics, M_DEAF, 1);
    redis_sub_restart(s->sub, why);
}

/* ---- the goodbye ---- */

static void leave(struct redis_store *s)
{
    redis_ingest_flush(s);
    redis_batch_flush(s);
    redis_kept_flush(s);
    redis_users_sweep(s);
    redis_rooms_sweep(s);
    redis_presence_sweep(s);
    redis_fcall(s, "crier_leave", 4);
    cluster_keys(s);
    resp_str(&s->args, s->node);
    redis_channel(s, &s->args, "mark", span_of(NULL, 0));
    redis_must_send(s, NULL);
    s->phase = REDIS_LEAVING;
}

void redis_goodbye_look(struct redis_store *s)
{
    uint64_t now = clock_mono_ms();
    if (!s->leaving || s->phase != REDIS_OPEN)
        return;
    if (!s->stepping_out) {
        if (redis_ingest_alone(s) && now < s->leave_due_ms)
            return; /* another one is about to read */
        s->stepping_out = true;
        s->leave_due_ms = now + LEAVE_WAIT_MS;
        redis_ingest_elect(s, false);
        if (!redis_ingest_out(s))
            redis_beat_now(s);
    }
    if (redis_ingest_out(s) || now >= s->leave_due_ms)
        leave(s);
}

void redis_goodbye(struct redis_store *s)
{
    redis_batch_flush(s);
    if (s->leaving)
        return;
    s->leaving = true;
    s->leave_due_ms = clock_mono_ms() + LEAVE_WAIT_MS;
    redis_goodbye_look(s);
}
