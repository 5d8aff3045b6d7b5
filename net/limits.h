/*
 * limits.h - how much a client may say: token buckets for messages, bytes and subscribes, one set a connection and one
 * a user.
 *
 * A struct limits belongs to a shard, so a user's set counts what the user does on that shard: sockets and event
 * streams of a user are all on one, requests may be on any.
 */
#ifndef NET_LIMITS_H
#define NET_LIMITS_H

#include "core/base.h"

struct command;
struct config;
struct limits;

enum rate_kind { RATE_MESSAGES, RATE_BYTES, RATE_SUBSCRIBES, RATE_REFUSALS, RATE_KINDS };

/* Token buckets: when each will be full again, ns of the monotonic clock. All zero: full. */
struct rates {
    uint64_t full_ns[RATE_KINDS];
};

struct rate_cost {
    uint32_t n[RATE_KINDS];
};

/* What the one who came too fast is told. */
#define LIMITS_SENTENCE "this connection, or this user's connections together, send too fast"

/* A client's message of that many bytes; cmd NULL: one that could not be read. ack and pong count by their bytes alone:
 * how many there are is up to what the broker has sent. */
struct rate_cost limits_cost(const struct command *cmd, size_t bytes);

/* Is anything limited at all? */
bool limits_wanted(const struct config *cfg);
/* NULL when memory is out. */
struct limits *limits_new(const struct config *cfg) MUST_CHECK;
void limits_free(struct limits *l); /* NULL is fine */

/* Takes the cost out of the connection's buckets (NULL: none) and its user's (empty: none). 0: taken; else nothing was
 * taken anywhere, and after that many milliseconds it could be. l NULL: nothing is limited. */
uint32_t limits_take(struct limits *l, uint64_t now_ms, struct rates *conn, struct span user,
                     const struct rate_cost *cost) MUST_CHECK;
/* Something was refused to this connection. False: too often, it should be closed (4029). */
bool limits_refused(struct limits *l, uint64_t now_ms, struct rates *conn) MUST_CHECK;

#endif
