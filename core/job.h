/*
 * job.h - one message on its way to its receivers: the msgpack-encoded job's bytes, its header decoded once, and its
 * wire forms, each encoded once per node by whichever shard needs it first and shared by reference.
 *
 * Any thread may ref, unref and read; the head is immutable once the job is shared. proto/job_codec.h makes jobs.
 */
#ifndef CORE_JOB_H
#define CORE_JOB_H

#include <stdatomic.h>

#include "core/base.h"

struct blob;
struct pool;

enum target_kind { TARGET_USER, TARGET_ROOM, TARGET_ALL };
enum priority { PRIO_LOW, PRIO_NORMAL, PRIO_HIGH };
enum data_format { DATA_JSON, DATA_MSGPACK, DATA_TEXT, DATA_BINARY };

#define WIRE_Z_SIZES 7 /* windows of 9 to 15 bits */

/* Wire forms: the bytes as they go to the transport. WIRE_WS_Z: WebSocket frames compressed without context
 * (permessage-deflate), one form a codec and window size; for a message that is better left as it is, the plain form.
 */
enum wire {
    WIRE_WS_JSON,
    WIRE_WS_MSGPACK,
    WIRE_SSE,
    WIRE_TCP_JSON,
    WIRE_TCP_MSGPACK,
    WIRE_WS_Z,
    WIRE_KINDS = WIRE_WS_Z + 2 * WIRE_Z_SIZES
};

/* The forms that only some messages come to have. */
struct job_squeezed {
    _Atomic(struct blob *) wire[WIRE_KINDS - WIRE_WS_Z];
};

/* The compressed form of a WebSocket's plain one (WIRE_WS_JSON, WIRE_WS_MSGPACK) for a window of that many bits. */
static inline enum wire wire_deflated(enum wire plain, unsigned bits)
{
    assert(plain <= WIRE_WS_MSGPACK && bits >= 9 && bits < 9 + WIRE_Z_SIZES);
    return (enum wire)(WIRE_WS_Z + (unsigned)plain * WIRE_Z_SIZES + (bits - 9));
}

/* Spans point into the job's own bytes (or, when packing, anywhere). An empty span means the member is not there. */
struct job_head {
    enum target_kind kind;
    struct span target; /* user or room; empty for all */
    uint64_t seq;       /* 0: live only */
    uint64_t prev;      /* seq of the entry before it in the same inbox */
    uint64_t expires_s; /* unix seconds; 0: never */
    uint64_t ts_ms;     /* unix ms: when it was published */
    struct span id;     /* never empty */
    struct span event, from, collapse;
    enum priority priority;
    bool track;
    enum data_format format;
    struct span data; /* JSON text (one valid value), one msgpack value, UTF-8 text, or bytes */
};

struct job {
    atomic_uint refs;
    struct job_head head;
    uint64_t born_us;      /* clock_mono_us() when it reached this node, for the latency histogram */
    uint64_t target_hash;  /* of a user, with the node's owner key: whose it is and where he is found; 0: not known */
    uint64_t collapse_key; /* hash of `collapse` (and target), 0: none */
    bool again;            /* a stored one sent once more, to sessions that have had it and not acknowledged it */
    _Atomic(struct blob *) wire[WIRE_WS_Z];
    _Atomic(struct job_squeezed *) squeezed; /* NULL: none of them */
    size_t len;
    uint8_t bytes[]; /* the msgpack form */
};

/* New, all zero but for its one reference, with room for n bytes; of a pool of the calling thread, or of the heap
 * (NULL). NULL when memory is out. */
struct job *job_new(struct pool *pool, size_t n) MUST_CHECK;
struct job *job_ref(struct job *j);
void job_unref(struct job *j); /* NULL is fine */

/* The wire form if somebody has encoded it already; borrowed from the job. */
static inline struct blob *job_wire(const struct job *j, enum wire w)
{
    if (w < WIRE_WS_Z)
        return atomic_load_explicit(&j->wire[w], memory_order_acquire);
    const struct job_squeezed *z = atomic_load_explicit(&j->squeezed, memory_order_acquire);
    return z ? atomic_load_explicit(&z->wire[w - WIRE_WS_Z], memory_order_acquire) : NULL;
}
/* Offers a newly encoded form; takes the reference. Returns the form to use (another thread's, if that was quicker;
 * ours is then dropped); borrowed from the job. NULL: memory is out (for WIRE_WS_Z and above alone), ours is dropped.
 */
struct blob *job_set_wire(struct job *j, enum wire w, struct blob *b);

#endif
