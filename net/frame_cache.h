/*
 * frame_cache.h - the wire forms of a job: encoded once a node by whichever shard needs them first, with one handle a
 * shard and job while it is given out there.
 */
#ifndef NET_FRAME_CACHE_H
#define NET_FRAME_CACHE_H

#include "core/job.h"
#include "net/outq.h"
#include "proto/codec.h"

struct buf;
struct config;
struct shard;

/* The buffer of a shard in which messages are encoded (shard.scratch). */
void frame_scratch_init(struct buf *b, const struct config *cfg);
/* The job in one wire form, which `wrap` makes of an encoded message object (new blob, or NULL); borrowed from the job.
 * NULL: it cannot be encoded (memory). */
struct blob *job_encoded(struct shard *s, struct job *j, enum codec c, enum wire w,
                         struct blob *(*wrap)(const struct job_head *h, struct span object));

/* The wrap of WIRE_TCP_JSON: the object on one line, and the line's end. */
struct blob *frame_wrap_line(const struct job_head *h, struct span object);

/* The frames of a job made so far on this shard. Borrows the job. */
struct frame_cache {
    struct job *job;
    uint32_t made; /* bit w: frame[w] is there; the others hold nothing */
    struct frame *frame[WIRE_KINDS];
};
static inline void frame_cache_init(struct frame_cache *fc, struct job *j)
{
    fc->job = j;
    fc->made = 0;
}
void frame_cache_fini(struct frame_cache *fc);
/* The frame in this form if it has been made; borrowed from the cache. */
static inline struct frame *frame_cache_have(const struct frame_cache *fc, enum wire w)
{
    return fc->made >> w & 1 ? fc->frame[w] : NULL;
}
/* Takes the reference. */
static inline void frame_cache_keep(struct frame_cache *fc, enum wire w, struct frame *f)
{
    fc->frame[w] = f;
    fc->made |= 1u << w;
}
/* Borrowed from the cache. NULL as above. */
struct frame *frame_cache_get(struct frame_cache *fc, struct shard *s, enum codec c, enum wire w,
                              struct blob *(*wrap)(const struct job_head *h, struct span object));

#endif
