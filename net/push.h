/*
 * push.h - one message on its way to the store: how the server API (net/api_push.c) and a client's `send` (the session)
 * build the op that carries it. Runs on the shard that asks; no I/O.
 *
 *     struct envelope e = {.ttl_s = TTL_UNSET, .priority = PRIO_NORMAL, .format = ..., .data = ...};
 *     char id[PUSH_ID_BYTES];
 *     if (!e.id.n)
 *         e.id = push_id_new(id);                     // for the answer and the receivers; never for idempotency
 *     struct push_target t = {.kind = TARGET_ROOM, .name = cmd.room};
 *     struct op *op = push_op_new(&e, codec, &t, 1, cmd.id);
 *     if (!op) ...                                    // out of memory
 *     op->conn = c->id;
 *     op->serial = ...;                               // the asker's own number, to find what it was for
 *     push_count(c->shard->m, op);                    // when it is back (op_done), before op_free
 *     shard_submit(c->shard, op);
 */
#ifndef NET_PUSH_H
#define NET_PUSH_H

#include "core/msg.h"
#include "proto/codec.h"
#include "proto/envelope.h"

struct metrics;

#define PUSH_ID_BYTES   13 /* 72 random bits, six a character, and a NUL: kept with each message, so short */
#define PUSH_TARGETS    1000
#define PUSH_HEAD_BYTES 8192 /* what the members beside `data` can need at most, in either format */

struct push_target {
    enum target_kind kind;
    struct span name; /* empty for TARGET_ALL */
};

/* A new message id (96 random bits) written to out; the span borrows from it. */
struct span push_id_new(char out[PUSH_ID_BYTES]);

/* New OP_PUSH to n targets (1..PUSH_TARGETS), everything copied; NULL when memory is out. Its payload is the envelope
 * in `format`; data of that same format goes in byte for byte. idempotency_id: the id its sender gave (empty: none, so
 * that a repeat is a new message). ttl and priority go into the op as well as into the payload. */
struct op *push_op_new(const struct envelope *e, enum codec format, const struct push_target *t, unsigned n,
                       struct span idempotency_id) MUST_CHECK;

/* Counts what an op that is back has achieved: its targets that were kept, by kind. */
void push_count(struct metrics *m, const struct op *op);

#endif
