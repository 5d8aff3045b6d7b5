/*
 * frame.h - a shard's handle on encoded bytes that many output queues hold, and frames that others are joined to.
 * Counted without atomics: one thread.
 */
#ifndef NET_FRAME_H
#define NET_FRAME_H

#include "core/blob.h"
#include "core/job.h"

/* Shard-local handle on a blob; not thread-safe; freed with its last reference. */
struct frame {
    uint32_t refs;
    uint32_t len;
    uint32_t cap;      /* how many bytes its blob may come to have; 0: it is not one to write behind (frame_join) */
    uint32_t messages; /* how many are in it, if they are any */
    const uint8_t *data;
    struct blob *blob;
    uint64_t collapse;   /* 0: none */
    uint64_t born_us;    /* when the message reached this node; 0: not a message */
    struct job *tracked; /* one reference; NULL: nobody wants to know what becomes of it */
};
/* New frame with one reference; keeps the blob's reference it is given. NULL when memory is out (blob untouched). */
struct frame *frame_new(struct blob *b) MUST_CHECK;
/* New frame with one reference and its own copy of the bytes (no blob). */
struct frame *frame_copy(struct span s) MUST_CHECK;
/* New frame with one reference: the bytes of a, then those of b. Where nobody has done so before, b is written behind
 * a into the same memory. NULL: too long (FRAME_JOIN_MOST), or memory is out. */
#define FRAME_JOIN_MOST (64 * 1024)
struct frame *frame_join(const struct frame *a, const struct frame *b) MUST_CHECK;
void frame_unref(struct frame *f);

/* The last thing joined: many connections that wait with the same bytes get the same ones behind them. Holds one
 * reference to each. All zero: nothing yet. */
struct joint {
    struct frame *before, *both;
    unsigned hits, misses;
};
/* `before`, then `behind` (always the same one for this joint); borrowed. NULL: push it as it is. */
struct frame *joint_get(struct joint *j, struct frame *before, const struct frame *behind);
void joint_fini(struct joint *j);

#endif
