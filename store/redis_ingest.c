/*
 * redis_ingest.c - the Redis side of ingest.c: subscriptions, role, claims, probes.
 *
 * Idea: the senior REDIS_READERS nodes read raw messages; the heartbeat says who they are, and tells the others what
 * this node does:
 *   "-"     it reads nothing, or nothing that could be relied on
 *   "i<n>"  all patterns are confirmed on its n-th subscription: markers may name it
 *   "o"     it is to stop: it reads on until a marker no longer names it, so nothing falls between
 * A lost subscription is told at once by a heartbeat with "-": Redis answers with a marker that names the others and
 * says which node has a hole, and those store its share. Back again, it is "-" once more and then "i<n+1>".
 *
 * Storing: what ingest.c hands out goes into batches of raw messages (redis_push.c), each under its claim. Whatever was
 * not stored, or may not have been, goes back and is tried again; the claim makes that harmless. A claim that Redis
 * finds too old although the message is young by this node's own clock was hit by a step of the server's clock: it is
 * made again without that look.
 *
 * Health: the raw pattern is probed by publishing to a channel that it matches and no user can have; the channel of
 * markers by comparing what the heartbeat says was published with what has arrived.
 *
 * Dispatcher thread. Entries belong to ingest.c; while one flies redis_push.c holds its address and gives it back by
 * redis_ingest_outcome, exactly once.
 */
#include "store/redis_ingest.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/metrics.h"
#include "store/redis_beat.h"
#include "store/redis_cluster.h"
#include "store/redis_keys.h"
#include "store/redis_store.h"

enum {
    WINDOW_MS = 10000, /* others' messages are kept */
    LIFE_MS = 40000,   /* own ones that Redis does not take; claims end at 45 s */
    YOUNG_MS = 30000,
    WINDOW_BYTES = 64 * 1024 * 1024,
    PAUSE_MS = 200, /* after one that was not stored */
};

struct redis_ingest {
    struct ingest *in;
    bool reader;     /* among the senior ones */
    bool subscribed; /* the patterns are wanted */
    bool reading;    /* and confirmed */
    bool declared;   /* a heartbeat has said so */
    unsigned stream; /* how many subscriptions there were */
    uint64_t since_ms, probe_back_ms;
    uint64_t due_marker, due_since_ms; /* a marker that has been published and has not come */
    uint64_t not_before_ms;
};

static struct redis_ingest *self(const struct redis_store *s)
{
    return s->ingest;
}

/* ---- its part ---- */

static void stop_reading(struct redis_store *s)
{
    struct redis_ingest *g = self(s);
    if (g->subscribed)
        redis_patterns_remove(s);
    g->subscribed = g->reading = g->declared = false;
    ingest_cut(g->in);
}

void redis_ingest_elect(struct redis_store *s, bool reader)
{
    struct redis_ingest *g = self(s);
    g->reader = reader;
    if (reader && !g->subscribed) {
        ingest_cut(g->in);
        g->stream++;
        g->subscribed = redis_patterns_add(s);
        if (!g->subscribed)
            redis_sub_restart(s->sub, "memory is out");
    } else if (!reader && g->subscribed && !g->declared) {
        stop_reading(s);
    }
}

void redis_ingest_role(struct redis_store *s, bool whole, char role[REDIS_ROLE_BYTES])
{
    struct redis_ingest *g = self(s);
    if (!whole || !g->reading)
        g->declared = false;
    if (whole && g->reading && g->reader) {
        g->declared = true;
        snprintf(role, REDIS_ROLE_BYTES, "i%u", g->stream);
    } else {
        snprintf(role, REDIS_ROLE_BYTES, "%s", g->declared ? "o" : "-");
    }
}

bool redis_ingest_confirmed(struct redis_store *s)
{
    struct redis_ingest *g = self(s);
    if (!g->subscribed || g->reading || !redis_patterns_confirmed(s))
        return false;
    g->reading = true;
    g->since_ms = clock_mono_ms();
    g->probe_back_ms = 0;
    return true;
}

void redis_ingest_cut(struct redis_store *s)
{
    struct redis_ingest *g = self(s);
    g->reading = false;
    g->probe_back_ms = 0;
    g->due_marker = 0;
    g->stream++;
    ingest_cut(g->in);
}

void redis_ingest_renamed(struct redis_store *s)
{
    struct redis_ingest *g = self(s);
    g->declared = false;
    ingest_set_name(g->in, s->node);
}

bool redis_ingest_alone(const struct redis_store *s)
{
    const struct redis_ingest *g = self(s);
    return g->declared && ingest_among(g->in) && ingest_named(g->in) == 1 && s->members.n > 1;
}

bool redis_ingest_out(const struct redis_store *s)
{
    return !self(s)->declared;
}

/* ---- what arrives ---- */

void redis_ingest_take(struct redis_store *s, enum target_kind kind, uint8_t part, struct span name,
                       struct span payload)
{
    ingest_message(self(s)->in, kind, part, name, payload, clock_mono_ms());
    redis_ingest_flush(s);
}

bool redis_ingest_all_read(const struct redis_store *s)
{
    return ingest_all_read(self(s)->in);
}

void redis_ingest_count(struct redis_store *s, enum target_kind kind, uint8_t part)
{
    ingest_count(self(s)->in, kind, part);
}

void redis_ingest_marker(struct redis_store *s, struct span text)
{
    struct redis_ingest *g = self(s);
    bool was_among = ingest_among(g->in);
    ingest_marker(g->in, text, clock_mono_ms());
    if (ingest_last_marker(g->in) >= g->due_marker)
        g->due_marker = 0;
    bool among = ingest_among(g->in);
    if (among && !was_among)
        redis_ingest_probe(s);
    if (!among && g->declared && !g->reader)
        stop_reading(s);
    if (!g->reader && ingest_named(g->in) < REDIS_READERS)
        redis_beat_now(s); /* one has gone: the answer says who follows */
    redis_ingest_heard_all(s);
    redis_tell(s);
}

void redis_ingest_heard_dead(struct redis_store *s, struct span node)
{
    ingest_dead(self(s)->in, node);
}

void redis_ingest_heard_hole(struct redis_store *s, struct span node, uint64_t marker)
{
    if (!span_eq(node, span_str(s->node)))
        ingest_hole(self(s)->in, node, marker);
}

void redis_ingest_heard_marker(struct redis_store *s, uint64_t marker)
{
    struct redis_ingest *g = self(s);
    if (marker <= ingest_last_marker(g->in) || g->due_marker)
        return;
    g->due_marker = marker;
    g->due_since_ms = clock_mono_ms();
}

/* ---- storing ---- */

static void show_figures(struct redis_store *s)
{
    const struct ingest *in = self(s)->in;
    const struct ingest_stats *st = ingest_stats(in);
    metric_set(s->metrics, M_INGEST_BYTES, st->bytes);
    metric_set(s->metrics, M_INGEST_REPLAYS, st->replays);
    metric_set(s->metrics, M_INGEST_EVICTED, st->evicted);
    metric_set(s->metrics, M_INGEST_LOST, st->lost);
    metric_set(s->metrics, M_HOLES, st->holes);
    metric_set(s->metrics, M_INGEST_READER, ingest_among(in));
}

void redis_ingest_heard_all(struct redis_store *s)
{
    redis_ingest_flush(s);
    show_figures(s);
}

void redis_ingest_flush(struct redis_store *s)
{
    struct redis_ingest *g = self(s);
    struct ingest_entry *e;
    if (!redis_store_usable(s) || (g->not_before_ms && clock_mono_ms() < g->not_before_ms))
        return;
    g->not_before_ms = 0;
    while (redis_push_room(s) && (e = ingest_take(g->in)) != NULL)
        redis_push_raw(s, e);
}

static void not_stored(struct redis_store *s, const char *why)
{
    metric_add(s->metrics, M_DROP_MEMORY, 1);
    log_limited(&s->noise, 5, LOG_WARN, "redis", "a bare publish was not stored: %s", why);
}

void redis_ingest_outcome(struct redis_store *s, struct ingest_entry *e, enum raw_fate fate, const char *why)
{
    struct redis_ingest *g = self(s);
    switch (fate) {
    case RAW_STORED:
        break;
    case RAW_TAKEN:
        metric_add(s->metrics, M_CLAIMS_REFUSED, 1);
        break;
    case RAW_OLD:
        if (!e->forced && clock_mono_ms() - e->born_ms < YOUNG_MS) {
            e->forced = true;
            ingest_again(g->in, e);
            return;
        }
        not_stored(s, "its claim came too late");
        break;
    case RAW_AGAIN:
        g->not_before_ms = clock_mono_ms() + PAUSE_MS;
        ingest_again(g->in, e);
        return;
    case RAW_NEVER:
        redis_refuse(s, ingest_name(e), ingest_payload(e), why);
        break;
    }
    ingest_done(g->in, e);
}

/* ---- health ---- */

void redis_ingest_probe(struct redis_store *s)
{
    if (!self(s)->reading)
        return;
    char text[24];
    snprintf(text, sizeof(text), "P%llu", (unsigned long long)clock_mono_us());
    resp_reset(&s->args);
    resp_str(&s->args, "PUBLISH");
    redis_channel(s, &s->args, "user:\x01", span_str(s->node));
    resp_str(&s->args, text);
    if (redis_send(s, NULL, NULL, false) == REDIS_TOO_MUCH)
        redis_conn_drop(s->cmd, "too much is waiting");
}

void redis_ingest_on_probe(struct redis_store *s, struct span text)
{
    struct redis_ingest *g = self(s);
    uint64_t us;
    if (!redis_probe_age(text, &us))
        return;
    g->probe_back_ms = clock_mono_ms();
    redis_tell(s);
}

bool redis_ingest_ready(const struct redis_store *s)
{
    const struct redis_ingest *g = self(s);
    uint64_t now = clock_mono_ms();
    if (g->due_marker && now - g->due_since_ms > REDIS_DEAF_MS)
        return false;
    if (!g->reader)
        return true;
    return g->declared && ingest_among(g->in) && g->probe_back_ms && now - g->probe_back_ms < REDIS_PROBE_MS;
}

const char *redis_ingest_deaf(const struct redis_store *s)
{
    const struct redis_ingest *g = self(s);
    uint64_t now = clock_mono_ms(), heard = g->probe_back_ms > g->since_ms ? g->probe_back_ms : g->since_ms;
    if (g->due_marker && now - g->due_since_ms > REDIS_DEAF_MS)
        return "markers do not arrive";
    if (g->reading && now - heard > REDIS_DEAF_MS)
        return "what is published to users does not arrive";
    return NULL;
}

void redis_ingest_tick(struct redis_store *s)
{
    ingest_tick(self(s)->in, clock_mono_ms());
    redis_ingest_flush(s);
    show_figures(s);
}

/* ---- life ---- */

struct redis_ingest *redis_ingest_new(struct redis_store *s)
{
    struct redis_ingest *g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    g->in = ingest_new(&(struct ingest_cfg){.window_ms = WINDOW_MS, .life_ms = LIFE_MS, .max_bytes = WINDOW_BYTES});
    if (!g->in) {
        free(g);
        return NULL;
    }
    ingest_set_name(g->in, s->node);
    return g;
}

void redis_ingest_free(struct redis_ingest *g)
{
    if (!g)
        return;
    ingest_free(g->in);
    free(g);
}
