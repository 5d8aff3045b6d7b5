/*
 * limits.c - token buckets. Runs on the shard's thread.
 *
 * A bucket is one number: the time at which it will be full again. Taking n of `rate` a second moves that time by
 * n / rate, and is allowed as long as it stays within burst / rate of now. So a bucket that nobody uses fills up by
 * itself, and one that is full needs no memory: users have a slot in a small table only while they are below full, and
 * any slot that has filled up may become another user's. When all slots of a neighbourhood are in use the one nearest
 * to full is given away: with more busy users at once than slots somebody may say a little more than the rate.
 *
 * The burst is twice the rate, but never less than one message of the greatest length, nor less than all rooms of a
 * connection, so that a client may always come back to where it was.
 */
#include "net/limits.h"

#include <stdlib.h>

#include "core/config.h"
#include "core/hash.h"
#include "proto/codec.h"

#define NS_PER_S     1000000000ull
#define NS_PER_MS    1000000ull
#define SLOTS        8192u /* a power of two */
#define NEIGHBOURS   8u
#define PATIENCE     32 /* refusals before a connection is closed; one is forgiven each second */
#define BURST_FACTOR 2

struct rule {
    uint64_t rate;      /* a second; 0: no limit */
    uint64_t window_ns; /* burst / rate */
};

struct slot {
    uint64_t key;
    struct rates rates;
};

struct limits {
    struct rule conn[RATE_KINDS], user[RATE_KINDS];
    uint64_t key[2];
    struct slot slots[SLOTS];
};

bool limits_wanted(const struct config *cfg)
{
    return cfg->rate_messages || cfg->rate_bytes || cfg->rate_subscribes;
}

static struct rule rule_of(unsigned rate, unsigned least_burst)
{
    uint64_t burst = (uint64_t)rate * BURST_FACTOR;
    burst = burst > least_burst ? burst : least_burst;
    return (struct rule){.rate = rate, .window_ns = rate ? burst * NS_PER_S / rate : 0};
}

struct limits *limits_new(const struct config *cfg)
{
    struct limits *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    random_bytes(l->key, sizeof l->key);
    l->conn[RATE_MESSAGES] = rule_of(cfg->rate_messages, 1);
    l->conn[RATE_BYTES] = rule_of(cfg->rate_bytes, cfg->max_message);
    l->conn[RATE_SUBSCRIBES] = rule_of(cfg->rate_subscribes, cfg->max_rooms);
    l->conn[RATE_REFUSALS] = rule_of(1, PATIENCE);
    for (unsigned k = 0; k < RATE_REFUSALS; k++) /* so many connections' worth, rate and burst alike */
        l->user[k] = (struct rule){.rate = l->conn[k].rate * cfg->rate_user, .window_ns = l->conn[k].window_ns};
    return l;
}

struct rate_cost limits_cost(const struct command *cmd, size_t bytes)
{
    bool follows = cmd && (cmd->type == CMD_ACK || cmd->type == CMD_PONG);
    return (struct rate_cost){.n = {[RATE_MESSAGES] = !follows,
                                    [RATE_BYTES] = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX,
                                    [RATE_SUBSCRIBES] = cmd && cmd->type == CMD_SUBSCRIBE}};
}

void limits_free(struct limits *l)
{
    free(l);
}

/* ---- one set of buckets ---- */

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* When the bucket would be full again after n more were taken. More than it holds counts as all of it. */
static uint64_t after_taking(uint64_t full, uint64_t now, uint64_t n, const struct rule *rule)
{
    uint64_t ns = n * NS_PER_S / rule->rate;
    return later(full, now) + (ns < rule->window_ns ? ns : rule->window_ns);
}

/* How long until this could be taken, ns; 0: now. */
static uint64_t wait_for(const struct rates *r, const struct rule *rules, uint64_t now, const struct rate_cost *cost)
{
    uint64_t wait = 0;
    for (unsigned k = 0; r && k < RATE_KINDS; k++) {
        if (!rules[k].rate || !cost->n[k])
            continue;
        uint64_t full = after_taking(r->full_ns[k], now, cost->n[k], &rules[k]), latest = now + rules[k].window_ns;
        wait = later(wait, full > latest ? full - latest : 0);
    }
    return wait;
}

static void take(struct rates *r, const struct rule *rules, uint64_t now, const struct rate_cost *cost)
{
    for (unsigned k = 0; r && k < RATE_KINDS; k++) {
        if (rules[k].rate && cost->n[k])
            r->full_ns[k] = after_taking(r->full_ns[k], now, cost->n[k], &rules[k]);
    }
}

/* ---- users ---- */

static uint64_t full_at(const struct rates *r)
{
    uint64_t at = 0;
    for (unsigned k = 0; k < RATE_KINDS; k++)
        at = later(at, r->full_ns[k]);
    return at;
}

/* The user's buckets: those there are, or a slot that nobody needs (or needs least) made full. */
static struct rates *rates_of(struct limits *l, struct span user)
{
    uint64_t key = siphash13(l->key, user);
    struct slot *best = NULL;
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        struct slot *s = &l->slots[(key + i) & (SLOTS - 1)];
        if (s->key == key)
            return &s->rates;
        if (!best || full_at(&s->rates) < full_at(&best->rates))
            best = s;
    }
    *best = (struct slot){.key = key};
    return &best->rates;
}

uint32_t limits_take(struct limits *l, uint64_t now_ms, struct rates *conn, struct span user,
                     const struct rate_cost *cost)
{
    if (!l)
        return 0;
    uint64_t now = now_ms * NS_PER_MS;
    struct rates *of_user = user.n ? rates_of(l, user) : NULL;
    uint64_t wait = later(wait_for(conn, l->conn, now, cost), wait_for(of_user, l->user, now, cost));
    if (wait)
        return (uint32_t)((wait + NS_PER_MS - 1) / NS_PER_MS);
    take(conn, l->conn, now, cost);
    take(of_user, l->user, now, cost);
    return 0;
}

bool limits_refused(struct limits *l, uint64_t now_ms, struct rates *conn)
{
    static const struct rate_cost one = {.n = {[RATE_REFUSALS] = 1}};
    return limits_take(l, now_ms, conn, (struct span){NULL, 0}, &one) == 0;
}
