/*
 * blob.c - shared immutable bytes.
 *
 * Memory orders: a new reference is always made from one that is already held, so taking it needs no order. Dropping
 * one is acquire+release: what a thread did with the bytes happens before the last holder frees them.
 */
#include "core/blob.h"

#include <stdlib.h>

struct blob *blob_new(size_t len)
{
    if (len > UINT32_MAX - sizeof(struct blob))
        return NULL;
    struct blob *b = malloc(sizeof(*b) + len);
    if (!b)
        return NULL;
    atomic_init(&b->refs, 1);
    b->len = (uint32_t)len;
    return b;
}

struct blob *blob_copy(struct span s)
{
    struct blob *b = blob_new(s.n);
    if (b && s.n)
        memcpy(b->data, s.p, s.n);
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void blob_unref(struct blob *b)
{
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        free(b);
}
