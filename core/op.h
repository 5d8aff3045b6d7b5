/*
 * op.h - round trips between a shard and the store: a shard fills the request half of an op and gives it to the
 * dispatcher; the store fills the reply half; the same struct travels back to the shard, which frees it. Whoever finds
 * the receiver gone frees it.
 *
 * Ops of one shard reach the dispatcher in the order they were posted, and the store carries out those of one user in
 * that order. Strings of an op are owned by it, jobs are references (core/job.h).
 */
#ifndef CORE_OP_H
#define CORE_OP_H

#include "core/base.h"
#include "core/job.h"
#include "core/list.h"
#include "core/op_inbox.h"
#include "core/op_query.h"
#include "core/op_where.h"
#include "core/track.h"

enum op_kind {
    OP_ATTACH,
    OP_DETACH,
    OP_FETCH,
    OP_ACK,
    OP_PUSH,
    OP_INTEREST,
    OP_PRESENCE,
    OP_WATCH,
    OP_QUERY,
    OP_CONTROL,
    OP_TRACK,
    OP_FORWARD,
    OP_ANSWER
};

enum op_status {
    OP_OK,
    OP_AWAY,    /* the store does not answer; nothing is known to be kept */
    OP_FULL,    /* too much is waiting already; nothing was kept */
    OP_REFUSED, /* the request itself is wrong; op->error says why */
};

struct op_target {
    enum target_kind kind;
    char *name; /* NULL for all */
    /* reply */
    enum op_status status;
    uint64_t seq;    /* 0: live only */
    unsigned online; /* user: nodes it was sent to; room, all: nodes that received it */
    bool duplicate;  /* the id was there already; seq is the first one's */
};

/* A message that the relay is to bring where nobody has acknowledged it after_s seconds later (cmd/crier-relay). */
struct op_escalate {
    uint32_t after_s; /* 0: no */
    char *to;         /* names of channels, "wecom,webhook" */
    char *text;       /* "": the relay's own */
};

/* Sends one payload to each target. `payload` is a P of PROTOCOL.md section 3: an envelope in the caller's own format.
 */
struct op_push {
    unsigned ntargets;
    struct op_target *targets;
    uint8_t *payload;
    size_t payload_len;
    char *id;                    /* idempotency id, or NULL */
    struct op_escalate escalate; /* of tracked messages to users */
    uint32_t ttl_s;              /* UINT32_MAX: the store's default; 0: live only */
    enum priority priority;
};

struct op {
    struct list link; /* the holder's own */
    enum op_kind kind;
    unsigned shard;   /* who asked and gets the reply */
    uint64_t conn;    /* connection the asker wants it for; 0: none */
    uint64_t serial;  /* the asker's own number, returned unchanged */
    uint64_t born_us; /* clock_mono_us() when asked */
    enum op_status status;
    char error[96]; /* a sentence for OP_REFUSED, OP_AWAY, OP_FULL */
    union {
        struct op_attach attach;
        struct op_detach detach;
        struct op_fetch fetch;
        struct op_ack ack;
        struct op_push push;
        struct op_interest interest;
        struct op_presence presence;
        struct op_watch watch;
        struct op_query query;
        struct op_control control;
        struct op_track track;
        struct op_forward forward;
    };
};

/* New zeroed op of a kind; NULL when memory is out. */
struct op *op_new(enum op_kind kind) MUST_CHECK;
/* Frees the op, its strings and its job references. NULL is fine. */
void op_free(struct op *op);

#endif
