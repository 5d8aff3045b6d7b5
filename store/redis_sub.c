/*
 * redis_sub.c - the subscription connection.
 *
 * Idea: a table of wanted channels, each with a state, over a connection whose bytes are read in place (resp.c). A
 * channel is `asked` while a SUBSCRIBE without its answer is on the wire and `confirmed` once the answer came. Redis
 * answers in order, but add and remove of one channel may overtake each other's answers, so an answer counts only while
 * it is the last one expected for that channel: `expected` counts them.
 *
 * When the connection is up (again) everything wanted is asked for, in commands of up to BATCH channels. A channel that
 * is no longer wanted stays in the table, unwanted, until Redis has answered, then it is freed; a lost connection frees
 * all those at once.
 *
 * Dispatcher thread.
 */
#include "store/redis_sub.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/map.h"
#include "core/metrics.h"
#include "store/redis_conn.h"

enum { BATCH = 128, MAX_UNSENT = 64 * 1024 * 1024 };

struct channel {
    bool pattern, wanted, confirmed;
    unsigned expected; /* answers still to come */
    size_t len;
    uint8_t name[];
};

struct redis_sub {
    struct redis_sub_cfg cfg;
    struct redis_conn *conn;
    struct map channels;
    struct resp_args args, plain, patterns;
};

static struct span name_of(const struct channel *ch)
{
    return span_of(ch->name, ch->len);
}

static void forget(struct redis_sub *s, struct channel *ch)
{
    map_remove(&s->channels, name_of(ch));
    metric_set(s->cfg.metrics, M_CHANNELS, s->channels.count);
    free(ch);
}

static void ask(struct redis_sub *s, struct resp_args *args)
{
    const struct resp_args *parts[] = {args};
    if (args->n > 1 && redis_conn_send(s->conn, parts, 1, NULL, NULL, true) == REDIS_TOO_MUCH)
        redis_conn_drop(s->conn, "too much is waiting to be subscribed");
}

static void ask_one(struct redis_sub *s, struct channel *ch, bool on)
{
    if (!redis_conn_is_up(s->conn))
        return;
    resp_reset(&s->args);
    resp_str(&s->args, ch->pattern ? (on ? "PSUBSCRIBE" : "PUNSUBSCRIBE") : (on ? "SUBSCRIBE" : "UNSUBSCRIBE"));
    resp_arg(&s->args, name_of(ch));
    ch->expected++;
    ask(s, &s->args);
}

/* ---- the connection ---- */

static void start_batch(struct resp_args *a, const char *word)
{
    resp_reset(a);
    resp_str(a, word);
}

static void add_to_batch(struct redis_sub *s, struct resp_args *a, const char *word, const struct channel *ch)
{
    resp_arg(a, name_of(ch));
    if (a->n > BATCH) {
        ask(s, a);
        start_batch(a, word);
    }
}

static void on_up(void *arg)
{
    struct redis_sub *s = arg;
    start_batch(&s->plain, "SUBSCRIBE");
    start_batch(&s->patterns, "PSUBSCRIBE");
    size_t it = 0;
    struct channel *ch;
    while ((ch = map_next(&s->channels, &it)) != NULL) {
        ch->expected = 1;
        if (ch->pattern)
            add_to_batch(s, &s->patterns, "PSUBSCRIBE", ch);
        else
            add_to_batch(s, &s->plain, "SUBSCRIBE", ch);
    }
    ask(s, &s->plain);
    ask(s, &s->patterns);
}

static void on_down(void *arg, const char *why)
{
    struct redis_sub *s = arg;
    size_t it = 0;
    struct channel *ch;
    while ((ch = map_next(&s->channels, &it)) != NULL) {
        ch->expected = 0;
        ch->confirmed = false;
        if (!ch->wanted)
            forget(s, ch);
    }
    s->cfg.down(s->cfg.arg, why);
}

static void answered(struct redis_sub *s, const struct resp_push *p)
{
    struct channel *ch = map_get(&s->channels, p->channel);
    if (!ch || ch->expected == 0 || --ch->expected > 0)
        return;
    if (p->kind == RESP_UNSUBSCRIBED) {
        if (!ch->wanted)
            forget(s, ch);
        return;
    }
    if (!ch->wanted || ch->confirmed)
        return;
    ch->confirmed = true;
    s->cfg.confirmed(s->cfg.arg, p->channel);
}

/* False: the connection is given up. */
static bool take(struct redis_sub *s, const struct resp_push *p)
{
    switch (p->kind) {
    case RESP_MESSAGE:
        s->cfg.message(s->cfg.arg, p->channel, p->payload, p->is_pattern);
        break;
    case RESP_SUBSCRIBED:
    case RESP_UNSUBSCRIBED:
        answered(s, p);
        break;
    case RESP_ERROR: {
        char why[120];
        snprintf(why, sizeof(why), "subscription refused: %.*s", (int)(p->payload.n < 90 ? p->payload.n : 90),
                 (const char *)p->payload.p);
        redis_conn_drop(s->conn, why);
        return false;
    }
    case RESP_OTHER:
        break;
    }
    return true;
}

/* Read some at a time: whom they are for is looked up for all of them before the first is handed on. */
static ptrdiff_t on_bytes(void *arg, struct span in)
{
    struct redis_sub *s = arg;
    size_t at = 0;
    ptrdiff_t used = 1;
    while (used > 0 && at < in.n) {
        struct resp_push p[REDIS_SUB_AHEAD];
        struct span channels[REDIS_SUB_AHEAD];
        unsigned n = 0, messages = 0;
        while (n < REDIS_SUB_AHEAD && at < in.n) {
            used = resp_push_parse(span_of(in.p + at, in.n - at), s->cfg.max_payload, &p[n]);
            if (used <= 0)
                break;
            at += (size_t)used;
            if (p[n].kind == RESP_MESSAGE)
                channels[messages++] = p[n].channel;
            n++;
        }
        s->cfg.coming(s->cfg.arg, channels, messages);
        for (unsigned i = 0; i < n; i++) {
            if (!take(s, &p[i]))
                return (ptrdiff_t)in.n;
        }
    }
    return used < 0 ? -1 : (ptrdiff_t)at;
}

/* ---- what is wanted ---- */

/* Marks a channel as wanted; NULL: memory is out. *fresh: it was not before. */
static struct channel *want(struct redis_sub *s, struct span channel, bool pattern, bool *fresh)
{
    struct channel *ch = map_get(&s->channels, channel);
    *fresh = !ch || !ch->wanted;
    if (!ch) {
        ch = calloc(1, sizeof(*ch) + channel.n);
        if (!ch)
            return NULL;
        ch->len = channel.n;
        ch->pattern = pattern;
        memcpy(ch->name, channel.p, channel.n);
        if (!map_put(&s->channels, name_of(ch), ch)) {
            free(ch);
            return NULL;
        }
        metric_set(s->cfg.metrics, M_CHANNELS, s->channels.count);
    }
    ch->wanted = true;
    return ch;
}

bool redis_sub_add(struct redis_sub *s, struct span channel, bool pattern)
{
    bool fresh;
    struct channel *ch = want(s, channel, pattern, &fresh);
    if (ch && fresh)
        ask_one(s, ch, true);
    return ch != NULL;
}

bool redis_sub_add_patterns(struct redis_sub *s, const struct span *patterns, unsigned n)
{
    bool up = redis_conn_is_up(s->conn), fresh;
    start_batch(&s->patterns, "PSUBSCRIBE");
    for (unsigned i = 0; i < n; i++) {
        struct channel *ch = want(s, patterns[i], true, &fresh);
        if (!ch)
            return false;
        if (!fresh || !up)
            continue;
        ch->expected++;
        resp_arg(&s->patterns, name_of(ch));
    }
    ask(s, &s->patterns);
    return true;
}

void redis_sub_remove(struct redis_sub *s, struct span channel)
{
    struct channel *ch = map_get(&s->channels, channel);
    if (!ch || !ch->wanted)
        return;
    ch->wanted = false;
    ch->confirmed = false;
    if (redis_conn_is_up(s->conn))
        ask_one(s, ch, false);
    else
        forget(s, ch);
}

bool redis_sub_confirmed(const struct redis_sub *s, struct span channel)
{
    const struct channel *ch = map_get(&s->channels, channel);
    return ch && ch->confirmed;
}

void redis_sub_restart(struct redis_sub *s, const char *why)
{
    redis_conn_drop(s->conn, why);
}

void redis_sub_praise(struct redis_sub *s)
{
    redis_conn_praise(s->conn);
}

/* ---- life ---- */

struct redis_sub *redis_sub_new(const struct redis_sub_cfg *cfg)
{
    struct redis_sub *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->cfg = *cfg;
    map_init(&s->channels);
    resp_init(&s->args, 64 * 1024);
    resp_init(&s->plain, 1024 * 1024);
    resp_init(&s->patterns, 1024 * 1024);
    s->conn = redis_conn_new(&(struct redis_conn_cfg){.base = cfg->base,
                                                      .url = cfg->url,
                                                      .metrics = cfg->metrics,
                                                      .label = "subscription",
                                                      .timeout_ms = cfg->timeout_ms,
                                                      .max_unsent = MAX_UNSENT,
                                                      .max_waiting = 64,
                                                      .arg = s,
                                                      .up = on_up,
                                                      .down = on_down,
                                                      .bytes = on_bytes});
    if (!s->conn) {
        redis_sub_free(s);
        return NULL;
    }
    return s;
}

void redis_sub_free(struct redis_sub *s)
{
    if (!s)
        return;
    redis_conn_free(s->conn);
    size_t it = 0;
    struct channel *ch;
    while ((ch = map_next(&s->channels, &it)) != NULL)
        free(ch);
    map_fini(&s->channels);
    resp_fini(&s->args);
    resp_fini(&s->plain);
    resp_fini(&s->patterns);
    free(s);
}
