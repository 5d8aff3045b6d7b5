/*
 * frame.c - frames, and how they are joined.
 *
 * What many connections get one after the other is joined as it comes: a joined frame's blob has room behind it, and
 * the next one shares its memory as far as it goes, so that a thousand connections with the same sixty messages wait
 * with one entry each, and the bytes stand in memory once. Nothing is written where somebody may read: a frame ends
 * before what comes behind it, and only the one that ends where the blob does is written behind. Whoever has other
 * bytes there gets a copy.
 *
 * Runs on the shard's thread, the only one that knows a joined blob; a frame dies with its last reference.
 */
#include "net/frame.h"

#include <stdlib.h>

#define JOIN_FIRST   (8u * 1024) /* bytes that a joined frame begins with room for */
#define JOINT_MISSES 8u          /* other beginnings than the last one: so many, and one more for eight that were not */

struct frame *frame_new(struct blob *b)
{
    struct frame *f = malloc(sizeof *f); /* not calloc: that passes by what malloc keeps at hand */
    if (f)
        *f = (struct frame){.refs = 1, .messages = 1, .len = b->len, .data = b->data, .blob = b};
    return f;
}

struct frame *frame_copy(struct span s)
{
    struct frame *f = malloc(sizeof *f + s.n);
    if (!f)
        return NULL;
    *f = (struct frame){.refs = 1, .messages = 1, .len = (uint32_t)s.n, .data = (uint8_t *)(f + 1)};
    if (s.n)
        memcpy(f + 1, s.p, s.n);
    return f;
}

/* A new blob that begins with f and has room for more. */
static struct blob *open_blob(const struct frame *f, uint32_t cap)
{
    struct blob *b = blob_new(cap);
    if (!b)
        return NULL;
    memcpy(b->data, f->data, f->len);
    b->len = f->len;
    return b;
}

struct frame *frame_join(const struct frame *a, const struct frame *b)
{
    if (b->len > FRAME_JOIN_MOST || a->len > FRAME_JOIN_MOST - b->len)
        return NULL;
    uint32_t len = a->len + b->len, cap = a->cap;
    bool open = cap && cap >= len && a->blob->len == a->len;
    if (!open)
        cap = len < JOIN_FIRST ? JOIN_FIRST : FRAME_JOIN_MOST;
    struct blob *blob = open ? blob_ref(a->blob) : open_blob(a, cap);
    struct frame *f = blob ? frame_new(blob) : NULL;
    if (!f) {
        blob_unref(blob);
        return NULL;
    }
    memcpy(blob->data + a->len, b->data, b->len);
    blob->len = f->len = len;
    f->cap = cap;
    f->messages = a->messages + b->messages;
    f->born_us = a->born_us;
    return f;
}

struct frame *joint_get(struct joint *j, struct frame *before, const struct frame *behind)
{
    if (j->before == before) {
        j->hits++;
        return j->both;
    }
    if (j->misses > JOINT_MISSES + j->hits / 8)
        return NULL;
    struct frame *both = frame_join(before, behind);
    if (!both)
        return NULL;
    j->misses++;
    frame_unref(j->before);
    frame_unref(j->both);
    before->refs++;
    j->before = before;
    j->both = both;
    return both;
}

void joint_fini(struct joint *j)
{
    frame_unref(j->before);
    frame_unref(j->both);
    *j = (struct joint){0};
}

void frame_unref(struct frame *f)
{
    if (!f || --f->refs > 0)
        return;
    blob_unref(f->blob);
    job_unref(f->tracked);
    free(f);
}
