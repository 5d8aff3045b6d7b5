/*
 * frame_cache.c - see frame_cache.h. Runs on the shard's thread; the blob belongs to the job, the frame to the cache
 * and to the output queues that took a reference.
 */
#include "net/frame_cache.h"

#include "core/buf.h"
#include "core/config.h"
#include "net/shard.h"
#include "proto/tcp_frame.h"

#define OBJECT_MAX   4096 /* what a message has beside its data */
#define SCRATCH_KEEP (64u * 1024)

void frame_scratch_init(struct buf *b, const struct config *cfg)
{
    buf_init(b, (size_t)cfg->max_payload * 6 + OBJECT_MAX);
}

static struct blob *encode(struct shard *s, struct job *j, enum codec c, enum wire w,
                           struct blob *(*wrap)(const struct job_head *h, struct span object))
{
    struct buf *b = &s->scratch;
    b->len = 0;
    struct blob *wrapped = encode_message(c, &j->head, b) ? wrap(&j->head, buf_span(b)) : NULL;
    if (b->cap > SCRATCH_KEEP)
        buf_fini(b);
    if (!wrapped)
        return NULL;
    metric_add(s->m, M_ENCODED, 1);
    return job_set_wire(j, w, wrapped);
}

struct blob *job_encoded(struct shard *s, struct job *j, enum codec c, enum wire w,
                         struct blob *(*wrap)(const struct job_head *h, struct span object))
{
    struct blob *b = job_wire(j, w);
    return b ? b : encode(s, j, c, w, wrap);
}

struct blob *frame_wrap_line(const struct job_head *h, struct span object)
{
    (void)h;
    struct blob *b = blob_new(tcp_frame_size(CODEC_JSON, object));
    if (b)
        tcp_frame_write(CODEC_JSON, object, b->data);
    return b;
}

void frame_cache_fini(struct frame_cache *fc)
{
    for (uint32_t left = fc->made; left; left &= left - 1)
        frame_unref(fc->frame[__builtin_ctz(left)]);
}

struct frame *frame_cache_get(struct frame_cache *fc, struct shard *s, enum codec c, enum wire w,
                              struct blob *(*wrap)(const struct job_head *h, struct span object))
{
    struct frame *f = frame_cache_have(fc, w);
    if (f)
        return f;
    struct blob *b = job_encoded(s, fc->job, c, w, wrap);
    f = b ? frame_new(blob_ref(b)) : NULL;
    if (b && !f)
        blob_unref(b);
    if (!f)
        return NULL;
    f->collapse = fc->job->collapse_key;
    f->born_us = fc->job->born_us;
    f->tracked = fc->job->head.track ? job_ref(fc->job) : NULL;
    frame_cache_keep(fc, w, f);
    return f;
}
