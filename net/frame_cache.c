/*
 * frame_cache.c - see frame_cache.h. Runs on the shard's thread; the blob belongs to the job, the frame to the cache
 * and to the output queues that took a reference.
 */
#include "net/frame_cache.h"

#include "core/buf.h"
#include "core/config.h"
#include "net/shard.h"
#include "proto/tcp_frame.h"

#define OBJECT_MAX 4096 /* what a message has beside its data */

static struct blob *encode(struct shard *s, struct job *j, enum codec c, enum wire w,
                           struct blob *(*wrap)(const struct job_head *h, struct span object))
{
    struct buf b;
    struct blob *wrapped = NULL;
    buf_init(&b, (size_t)s->cfg->max_payload * 6 + OBJECT_MAX);
    if (encode_message(c, &j->head, &b))
        wrapped = wrap(&j->head, buf_span(&b));
    buf_fini(&b);
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

void frame_cache_init(struct frame_cache *fc, struct job *j)
{
    *fc = (struct frame_cache){.job = j};
}

void frame_cache_fini(struct frame_cache *fc)
{
    for (unsigned i = 0; i < WIRE_KINDS; i++)
        frame_unref(fc->frame[i]);
}

struct frame *frame_cache_get(struct frame_cache *fc, struct shard *s, enum codec c, enum wire w,
                              struct blob *(*wrap)(const struct job_head *h, struct span object))
{
    if (fc->frame[w])
        return fc->frame[w];
    struct blob *b = job_encoded(s, fc->job, c, w, wrap);
    struct frame *f = b ? frame_new(blob_ref(b)) : NULL;
    if (b && !f)
        blob_unref(b);
    if (!f)
        return NULL;
    f->collapse = fc->job->collapse_key;
    f->born_us = fc->job->born_us;
    f->tracked = fc->job->head.track ? job_ref(fc->job) : NULL;
    fc->frame[w] = f;
    return f;
}
