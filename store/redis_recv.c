/*
 * redis_recv.c - what arrives over the subscription: the live path from Redis to the shards.
 *
 * Idea: one look at the channel, then straight to a job, made once. Channels:
 *   n:<node>  frames from crier_send for users and rooms registered here (several may follow each other), and this
 *             node's probe
 *   room:*, all   P for local members, from whoever published it
 *   user:*    raw P for a user anywhere: one of the nodes that read them stores it (redis_ingest.c); room:* the same
 *             where rooms keep history. One that is live only and has no id needs nobody where all nodes read: each
 *             gives it to its own users at once
 *   user:\1<node>   this node's probe of that pattern
 *   presence:*    who comes into a watched room and who leaves it
 *   mark      markers in the order of the raw messages
 *
 * What cannot be read as a P is refused: counted, logged now and then, and kept in the capped list "<prefix>refused".
 *
 * Dispatcher thread. Spans borrow from the subscription's buffer until the callback returns.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/metrics.h"
#include "proto/names.h"
#include "proto/room_rules.h"
#include "store/redis_beat.h"
#include "store/redis_forward.h"
#include "store/redis_ingest.h"
#include "store/redis_keys.h"
#include "store/redis_ledger.h"
#include "store/redis_page.h"
#include "store/redis_presence.h"
#include "store/redis_rooms.h"
#include "store/redis_store.h"
#include "store/redis_user_query.h"
#include "store/redis_users.h"

enum {
    FRAME_HEAD = 28,        /* 'U' or 'R', I8 I8 I4 B I2 I4 */
    REFUSED_CAP = 1000,     /* entries of the list */
    REFUSED_BYTES = 4096,   /* of a payload that are kept */
    REFUSED_A_SECOND = 100, /* written to the list; the rest is only counted */
};

/* ---- refused ---- */

void redis_refuse(struct redis_store *s, struct span channel, struct span payload, const char *why)
{
    metric_add(s->metrics, M_BAD_PUBLISH, 1);
    log_limited(&s->noise, 5, LOG_WARN, "redis", "refused what was published to %.*s: %s", SPAN_ARG(channel), why);
    uint64_t now = clock_mono_ms();
    if (now - s->refused_window_ms >= 1000) {
        s->refused_window_ms = now;
        s->refused_seen = 0;
    }
    if (s->refused_seen++ >= REFUSED_A_SECOND || !redis_store_usable(s))
        return;
    redis_fcall(s, "crier_refuse", 1);
    redis_channel(s, &s->args, "refused", span_of(NULL, 0));
    resp_u64(&s->args, REFUSED_CAP);
    resp_arg(&s->args, channel);
    resp_str(&s->args, why);
    resp_arg(&s->args, span_of(payload.p, payload.n < REFUSED_BYTES ? payload.n : REFUSED_BYTES));
    if (redis_send(s, NULL, NULL, false) != REDIS_SENT)
        log_limited(&s->noise, 5, LOG_WARN, "redis", "a refused message could not be kept");
}

/* ---- jobs ---- */

static void deliver(struct redis_store *s, const struct job_source *src, struct span channel)
{
    struct job *j;
    char why[120];
    switch (job_make(&s->jm, src, &j, why, sizeof(why))) {
    case JOB_MADE:
        j->again = src->again;
        if (j->head.track && j->head.seq == 0 && j->head.kind != TARGET_USER)
            redis_ledger_seen(s, j, src->payload);
        s->up.job(s->up.arg, j);
        return;
    case JOB_REFUSED:
        redis_refuse(s, channel, src->payload, why);
        return;
    case JOB_NO_MEMORY:
        break;
    }
    metric_add(s->metrics, M_DROP_MEMORY, 1);
    if (src->seq && src->kind == TARGET_ROOM)
        s->up.room_behind(s->up.arg, src->target, src->seq);
    else if (src->seq)
        s->up.behind(s->up.arg, src->target, src->seq);
}

/* Does this node want what came? It may have left just now, or another incarnation has registered it. */
static bool is_wanted(struct redis_store *s, struct job_source *src, uint32_t hash)
{
    if (src->kind == TARGET_ROOM)
        return redis_room_came(s, src->target, src->seq);
    struct ruser *u = map_get_hashed(&s->users, src->target, hash);
    if (!u)
        return false;
    if (src->seq > u->last)
        u->last = src->seq;
    src->hash = u->hash;
    return true;
}

/* One frame; returns the bytes used, 0 when it is broken. */
static size_t read_frame(struct span in, struct job_source *src)
{
    if (in.n < FRAME_HEAD || (in.p[0] != 'U' && in.p[0] != 'R' && in.p[0] != 'A'))
        return 0;
    size_t idlen = in.p[21], userlen = redis_big_endian(in.p + 22, 2), plen = redis_big_endian(in.p + 24, 4);
    size_t total = FRAME_HEAD + idlen + userlen + plen;
    if (in.n < total)
        return 0;
    const uint8_t *p = in.p + FRAME_HEAD;
    *src = (struct job_source){.kind = in.p[0] == 'R' ? TARGET_ROOM : TARGET_USER,
                               .again = in.p[0] == 'A',
                               .seq = redis_big_endian(in.p + 1, 8),
                               .prev = redis_big_endian(in.p + 9, 8),
                               .expires_s = redis_big_endian(in.p + 17, 4),
                               .id = span_of(p, idlen),
                               .target = span_of(p + idlen, userlen),
                               .payload = span_of(p + idlen + userlen, plen)};
    return total;
}

/* As many frames as are looked at together: whom they are for is asked for from memory for all of them before the first
 * is delivered. Returns the bytes used, 0 when the first is broken. */
static size_t take_frames(struct redis_store *s, struct span in, struct span channel)
{
    struct job_source src[REDIS_SUB_AHEAD];
    uint32_t hash[REDIS_SUB_AHEAD];
    unsigned n = 0;
    size_t at = 0, used = 1;
    while (used > 0 && n < REDIS_SUB_AHEAD && at < in.n) {
        used = read_frame(span_of(in.p + at, in.n - at), &src[n]);
        at += used;
        n += used > 0;
    }
    for (unsigned i = 0; i < n; i++) {
        hash[i] = map_hash(&s->users, src[i].target);
        map_expect(&s->users, hash[i]);
    }
    for (unsigned i = 0; i < n; i++)
        (void)map_guess(&s->users, hash[i]);
    for (unsigned i = 0; i < n; i++) {
        if (is_wanted(s, &src[i], hash[i]))
            deliver(s, &src[i], channel);
    }
    return at;
}

static bool take_request(struct redis_store *s, struct span frame)
{
    if (frame.p[0] == 'Y')
        return redis_take_answer(s, frame);
    return frame.n > 1 && frame.p[1] == 'C' ? redis_take_command(s, frame) : redis_take_control(s, frame);
}

static void take_targeted(struct redis_store *s, struct span channel, struct span payload)
{
    if (payload.n && payload.p[0] == 'P') {
        redis_on_probe(s, payload);
        return;
    }
    if (payload.n && (payload.p[0] == 'X' || payload.p[0] == 'Y')) {
        if (!take_request(s, payload))
            redis_refuse(s, channel, payload, "not a control of this version");
        return;
    }
    while (payload.n) {
        size_t used = take_frames(s, payload, channel);
        if (used == 0) {
            redis_refuse(s, channel, payload, "not a frame of this version");
            return;
        }
        payload = span_of(payload.p + used, payload.n - used);
    }
}

/* ---- raw messages to users and to rooms with history ---- */

/* A live-only message is for who is here now: every node sees it and gives it to its own. False: it is no such one. */
static bool take_live(struct redis_store *s, struct span user, struct span payload, bool here)
{
    struct job_source src = {.kind = TARGET_USER, .target = user, .payload = payload};
    struct job *j;
    switch (job_make_live(&s->jm, &src, here, &j)) {
    case JOB_MADE:
        if (j)
            s->up.job(s->up.arg, j);
        return true;
    case JOB_REFUSED:
        return false;
    case JOB_NO_MEMORY:
        break;
    }
    metric_add(s->metrics, M_DROP_MEMORY, 1);
    return true;
}

/* u: NULL when that user is not here. */
static void take_user(struct redis_store *s, const struct ruser *u, struct span user, struct span payload)
{
    uint8_t part = u ? u->part : redis_part(user);
    if (redis_ingest_all_read(s) && take_live(s, user, payload, u != NULL))
        redis_ingest_count(s, TARGET_USER, part);
    else
        redis_ingest_take(s, TARGET_USER, part, user, payload);
}

/* ---- all channels ---- */

/* Does it begin so, with more behind it? *rest: what follows. */
static inline bool after(struct span s, struct span word, struct span *rest)
{
    if (s.n <= word.n || memcmp(s.p, word.p, word.n) != 0)
        return false;
    *rest = span_of(s.p + word.n, s.n - word.n);
    return true;
}
#define AFTER(s, lit, rest) after((s), SPAN_LIT(lit), (rest))

/* A room with history is nobody's channel: what is published to it comes by the pattern and is stored by one node. To
 * any other room the pattern brings a second copy of what its members get, or what nobody here wants. */
static void take_room(struct redis_store *s, struct span room, struct span payload, struct span channel,
                      bool by_pattern)
{
    struct job_source src = {.kind = TARGET_ROOM, .target = room, .payload = payload};
    bool kept = room_history(s->cfg, room, NULL);
    if (kept && by_pattern)
        redis_ingest_take(s, TARGET_ROOM, redis_part(room), room, payload);
    else if (!kept && !by_pattern)
        deliver(s, &src, channel);
}

void redis_on_coming(void *arg, const struct span *channels, unsigned n)
{
    struct redis_store *s = arg;
    struct span own, name;
    for (unsigned i = 0; i < n; i++) {
        bool user = after(channels[i], s->prefix, &own) && AFTER(own, "user:", &name);
        s->coming[i] = user ? map_hash(&s->users, name) : 0;
        if (user)
            map_expect(&s->users, s->coming[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        if (s->coming[i])
            (void)map_guess(&s->users, s->coming[i]);
    }
    s->ncome = 0;
}

/* To what backends publish to: a user, a room, all. False: there is no such channel. */
static bool take_public(struct redis_store *s, struct span channel, struct span payload, bool by_pattern)
{
    struct job_source src = {.payload = payload};
    if (!channel_parse(s->prefix, channel, &src.kind, &src.target))
        return false;
    switch (src.kind) {
    case TARGET_USER:
        take_user(s, redis_user(s, src.target), src.target, payload);
        break;
    case TARGET_ROOM:
        take_room(s, src.target, payload, channel, by_pattern);
        break;
    case TARGET_ALL:
        deliver(s, &src, channel);
        break;
    }
    return true;
}

/* What nodes tell each other. False: there is no such channel. */
static bool take_internal(struct redis_store *s, struct span own, struct span channel, struct span payload)
{
    struct span name;
    if (AFTER(own, "n:", &name)) {
        take_targeted(s, channel, payload); /* of an earlier name, too: what was on the way is as good */
    } else if (AFTER(own, "presence:", &name)) {
        redis_watch_came(s, name, payload);
    } else if (AFTER(own, "user:\x01", &name)) {
        if (span_eq(name, span_str(s->node)))
            redis_ingest_on_probe(s, payload);
    } else if (SPAN_IS(own, "mark")) {
        redis_ingest_marker(s, payload);
        redis_goodbye_look(s);
    } else {
        return false;
    }
    return true;
}

void redis_on_message(void *arg, struct span channel, struct span payload, bool by_pattern)
{
    struct redis_store *s = arg;
    struct span own, name;
    uint32_t hash = s->coming[s->ncome++];
    metric_add(s->metrics, M_REDIS_RECEIVED, 1);
    /* Nearly all: to a user who is here, whose name was looked at when he came. */
    const struct ruser *u = hash && after(channel, s->prefix, &own) && AFTER(own, "user:", &name)
                                ? map_get_hashed(&s->users, name, hash)
                                : NULL;
    if (u)
        take_user(s, u, name, payload);
    else if (!(after(channel, s->prefix, &own) && take_internal(s, own, channel, payload)) &&
             !take_public(s, channel, payload, by_pattern))
        redis_refuse(s, channel, payload, "the name in the channel is not allowed");
}
