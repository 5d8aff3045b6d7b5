/*
 * ledger.c - calls of the function library, built straight into a command.
 *
 * Keys are those of store/redis_keys.c: "<prefix>{T}:<kind>:<name>", T the first byte of SHA-1(name) as two hex digits;
 * "{c}" is the tag of what belongs to the cluster. A command is built in one buffer that all share, since it is copied
 * when it is sent.
 */
#include "cmd/crier-relay/ledger.h"

#include <stdlib.h>

#include "core/hash.h"
#include "core/metrics.h"

enum {
    REPLY_MS = 2000,
    MAX_UNSENT = 4 << 20,
    MAX_WAITING = 8192,
    MAX_ARGS = 1 << 20,
};

struct ledger {
    struct ledger_cfg cfg;
    struct redis_conn *conn;
    struct metrics metrics; /* which redis_conn wants to count in */
    struct resp_args args;
};

struct ledger *ledger_new(const struct ledger_cfg *cfg)
{
    struct ledger *l = aligned_alloc(_Alignof(struct ledger), sizeof(*l));
    if (!l)
        return NULL;
    memset(l, 0, sizeof(*l));
    l->cfg = *cfg;
    metrics_init(&l->metrics, "main");
    resp_init(&l->args, MAX_ARGS);
    struct redis_conn_cfg conn = {
        .base = cfg->base,
        .url = cfg->url,
        .metrics = &l->metrics,
        .label = "command",
        .timeout_ms = REPLY_MS,
        .max_unsent = MAX_UNSENT,
        .max_waiting = MAX_WAITING,
        .arg = cfg->arg,
        .up = cfg->up,
        .down = cfg->down,
    };
    l->conn = redis_conn_new(&conn);
    if (l->conn)
        return l;
    ledger_free(l);
    return NULL;
}

void ledger_free(struct ledger *l)
{
    if (!l)
        return;
    redis_conn_free(l->conn);
    resp_fini(&l->args);
    free(l);
}

bool ledger_is_up(const struct ledger *l)
{
    return redis_conn_is_up(l->conn);
}

uint8_t ledger_part(struct span name)
{
    uint8_t hash[20];
    sha1(name, hash);
    return hash[0];
}

/* ---- building ---- */

static void begin(struct ledger *l, const char *command)
{
    resp_reset(&l->args);
    resp_str(&l->args, command);
}

static void call(struct ledger *l, const char *function, unsigned nkeys)
{
    begin(l, "FCALL");
    resp_str(&l->args, function);
    resp_u64(&l->args, nkeys);
}

/* "<prefix>{T}:<kind><rest>" */
static void key(struct ledger *l, uint8_t part, const char *kind, struct span rest)
{
    static const char digits[] = "0123456789abcdef";
    const char tag[] = {'{', digits[part >> 4], digits[part & 15], '}', ':'};
    const struct span pieces[] = {span_str(l->cfg.prefix), span_of(tag, sizeof(tag)), span_str(kind), rest};
    resp_join(&l->args, pieces, ARRAY_LEN(pieces));
}

/* "<prefix>{c}:<kind><rest><more>" */
static void cluster_key(struct ledger *l, const char *kind, const char *rest, const char *more)
{
    const struct span pieces[] = {span_str(l->cfg.prefix), SPAN_LIT("{c}:"), span_str(kind), span_str(rest),
                                  span_str(more)};
    resp_join(&l->args, pieces, ARRAY_LEN(pieces));
}

static bool out(struct ledger *l, redis_reply_cb *cb, void *arg)
{
    const struct resp_args *parts[] = {&l->args};
    return redis_conn_send(l->conn, parts, 1, cb, arg, false) == REDIS_SENT;
}

/* ---- what waits ---- */

bool ledger_version(struct ledger *l, redis_reply_cb *cb, void *arg)
{
    call(l, "crier_version", 0);
    return out(l, cb, arg);
}

bool ledger_pending(struct ledger *l, uint8_t part, redis_reply_cb *cb, void *arg)
{
    begin(l, "ZCARD");
    key(l, part, "esc", span_str(""));
    return out(l, cb, arg);
}

bool ledger_due(struct ledger *l, uint8_t part, unsigned limit, unsigned lease_ms, redis_reply_cb *cb, void *arg)
{
    call(l, "crier_relay_due", 1);
    key(l, part, "esc", span_str(""));
    resp_u64(&l->args, limit);
    resp_u64(&l->args, lease_ms);
    return out(l, cb, arg);
}

bool ledger_take(struct ledger *l, const struct claim *c, redis_reply_cb *cb, void *arg)
{
    uint8_t part = ledger_part(c->user);
    call(l, "crier_relay_take", 5);
    key(l, part, "", c->name);
    key(l, part, "m:", c->user);
    key(l, part, "q:", c->user);
    key(l, part, "esc", span_str(""));
    key(l, part, "addr:", c->user);
    resp_arg(&l->args, c->name);
    resp_u64(&l->args, c->number);
    return out(l, cb, arg);
}

bool ledger_forget(struct ledger *l, const struct claim *c, redis_reply_cb *cb, void *arg)
{
    begin(l, "ZREM");
    key(l, ledger_part(c->user), "esc", span_str(""));
    resp_arg(&l->args, c->name);
    return out(l, cb, arg);
}

bool ledger_payload(struct ledger *l, const struct claim *c, struct span hash, redis_reply_cb *cb, void *arg)
{
    const struct span field[] = {SPAN_LIT("p:"), hash};
    begin(l, "HGET");
    key(l, ledger_part(c->id), "x:", c->id);
    resp_join(&l->args, field, ARRAY_LEN(field));
    return out(l, cb, arg);
}

bool ledger_done(struct ledger *l, const struct claim *c, const struct note *n, redis_reply_cb *cb, void *arg)
{
    uint8_t part = ledger_part(c->user);
    call(l, "crier_relay_done", 2);
    key(l, part, "", c->name);
    key(l, part, "esc", span_str(""));
    resp_arg(&l->args, c->name);
    resp_u64(&l->args, c->number);
    resp_arg(&l->args, n->channel);
    resp_str(&l->args, n->outcome);
    resp_str(&l->args, n->detail);
    if (n->delay_ms == LEDGER_NO_MORE)
        resp_str(&l->args, "");
    else
        resp_u64(&l->args, (uint64_t)n->delay_ms);
    return out(l, cb, arg);
}

/* ---- tokens ---- */

bool ledger_token_get(struct ledger *l, const char *channel, const char *lock, unsigned lock_ms, struct span stale,
                      redis_reply_cb *cb, void *arg)
{
    call(l, "crier_token_get", 2);
    cluster_key(l, "token:", channel, "");
    cluster_key(l, "token:", channel, ":lock");
    resp_str(&l->args, lock);
    resp_u64(&l->args, lock_ms);
    resp_arg(&l->args, stale);
    return out(l, cb, arg);
}

bool ledger_token_set(struct ledger *l, const char *channel, const char *lock, struct span token, uint64_t life_ms,
                      unsigned early_ms, redis_reply_cb *cb, void *arg)
{
    call(l, "crier_token_set", 2);
    cluster_key(l, "token:", channel, "");
    cluster_key(l, "token:", channel, ":lock");
    resp_str(&l->args, lock);
    resp_arg(&l->args, token);
    resp_u64(&l->args, life_ms);
    resp_u64(&l->args, early_ms);
    return out(l, cb, arg);
}

/* ---- the worker itself ---- */

bool ledger_beat(struct ledger *l, struct span status, unsigned life_ms)
{
    begin(l, "SET");
    cluster_key(l, "relay:", l->cfg.worker, "");
    resp_arg(&l->args, status);
    resp_str(&l->args, "PX");
    resp_u64(&l->args, life_ms);
    return out(l, NULL, NULL);
}

bool ledger_leave(struct ledger *l, redis_reply_cb *cb, void *arg)
{
    begin(l, "DEL");
    cluster_key(l, "relay:", l->cfg.worker, "");
    return out(l, cb, arg);
}
