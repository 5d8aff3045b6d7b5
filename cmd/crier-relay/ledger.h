/*
 * ledger.h - the relay's side of Redis: the functions of store/crier.lua it calls, and their keys. One thread.
 *
 * Each call: false: nothing was sent and there is no callback. The callback gets ledger_cfg.arg as its owner; see
 * redis_reply_cb.
 */
#ifndef CMD_CRIER_RELAY_LEDGER_H
#define CMD_CRIER_RELAY_LEDGER_H

#include "store/redis_conn.h"

struct ledger;

enum { LEDGER_PARTS = 256, LEDGER_VERSION = 9 /* of the function library, at least */ };

struct ledger_cfg {
    struct event_base *base;
    const struct redis_url *url; /* borrowed */
    const char *prefix;          /* borrowed */
    const char *worker;          /* borrowed */
    void *arg;
    void (*up)(void *arg);
    void (*down)(void *arg, const char *why);
};
struct ledger *ledger_new(const struct ledger_cfg *cfg) MUST_CHECK;
/* Callbacks still waiting get their NULL. Not from a callback. */
void ledger_free(struct ledger *l);
bool ledger_is_up(const struct ledger *l);

/* Which partition a user or an id is in. */
uint8_t ledger_part(struct span name);

/* An escalation that this worker has claimed; borrowed. */
struct claim {
    struct span name, user, id;
    uint64_t number; /* the claim */
};

bool ledger_version(struct ledger *l, redis_reply_cb *cb, void *arg) MUST_CHECK;
/* How many wait in a partition. */
bool ledger_pending(struct ledger *l, uint8_t part, redis_reply_cb *cb, void *arg) MUST_CHECK;
bool ledger_due(struct ledger *l, uint8_t part, unsigned limit, unsigned lease_ms, redis_reply_cb *cb,
                void *arg) MUST_CHECK;
bool ledger_take(struct ledger *l, const struct claim *c, redis_reply_cb *cb, void *arg) MUST_CHECK;
/* Takes it off the list of what waits, with nothing noted. */
bool ledger_forget(struct ledger *l, const struct claim *c, redis_reply_cb *cb, void *arg) MUST_CHECK;
/* The stored P of a message. */
bool ledger_payload(struct ledger *l, const struct claim *c, struct span hash, redis_reply_cb *cb,
                    void *arg) MUST_CHECK;

enum { LEDGER_NO_MORE = -1 };
struct note {
    struct span channel;
    const char *outcome, *detail;
    int64_t delay_ms; /* to the next attempt by any channel; LEDGER_NO_MORE: there is none */
};
bool ledger_done(struct ledger *l, const struct claim *c, const struct note *n, redis_reply_cb *cb,
                 void *arg) MUST_CHECK;

/* lock: a name of this one holder. stale: a token that was refused, or empty. */
bool ledger_token_get(struct ledger *l, const char *channel, const char *lock, unsigned lock_ms, struct span stale,
                      redis_reply_cb *cb, void *arg) MUST_CHECK;
/* token empty: none could be made. */
bool ledger_token_set(struct ledger *l, const char *channel, const char *lock, struct span token, uint64_t life_ms,
                      unsigned early_ms, redis_reply_cb *cb, void *arg) MUST_CHECK;

/* What this worker says of itself, for life_ms. */
bool ledger_beat(struct ledger *l, struct span status, unsigned life_ms) MUST_CHECK;
/* And no more. */
bool ledger_leave(struct ledger *l, redis_reply_cb *cb, void *arg) MUST_CHECK;

#endif
