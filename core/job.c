/*
 * job.c - the life of a job: references, and the wire forms that hang on it.
 *
 * Any thread. The head and the bytes never change once the job is shared. A wire form appears at most once: whoever
 * encodes it offers it by compare-and-swap from NULL, and the loser drops its own. The form belongs to the job and dies
 * with it; an output queue that must outlive the job takes a reference of its own (blob_ref).
 *
 * Memory orders: as in blob.c for the count. Publishing a form is a release, reading it an acquire, so its bytes are
 * complete for whoever sees the pointer; so with the table of compressed forms, which most messages never come to have.
 */
#include "core/job.h"

#include <stdlib.h>

#include "core/blob.h"
#include "core/pool.h"

struct job *job_new(struct pool *pool, size_t n)
{
    struct job *j = n <= SIZE_MAX / 2 ? pool_take(pool, sizeof *j + n) : NULL;
    if (!j)
        return NULL;
    memset(j, 0, sizeof *j);
    atomic_init(&j->refs, 1);
    return j;
}

struct job *job_ref(struct job *j)
{
    atomic_fetch_add_explicit(&j->refs, 1, memory_order_relaxed);
    return j;
}

static void drop_squeezed(struct job_squeezed *z)
{
    for (unsigned i = 0; i < ARRAY_LEN(z->wire); i++)
        blob_unref(atomic_load_explicit(&z->wire[i], memory_order_relaxed));
    free(z);
}

void job_unref(struct job *j)
{
    if (!j || atomic_fetch_sub_explicit(&j->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned w = 0; w < ARRAY_LEN(j->wire); w++)
        blob_unref(atomic_load_explicit(&j->wire[w], memory_order_relaxed));
    struct job_squeezed *z = atomic_load_explicit(&j->squeezed, memory_order_relaxed);
    if (z)
        drop_squeezed(z);
    pool_give(j);
}

/* The table of compressed forms, made at first need; NULL: memory is out. */
static struct job_squeezed *squeezed_of(struct job *j)
{
    struct job_squeezed *there = atomic_load_explicit(&j->squeezed, memory_order_acquire);
    struct job_squeezed *z = there ? NULL : calloc(1, sizeof *z);
    if (!z)
        return there;
    if (atomic_compare_exchange_strong_explicit(&j->squeezed, &there, z, memory_order_acq_rel, memory_order_acquire))
        return z;
    free(z);
    return there;
}

struct blob *job_set_wire(struct job *j, enum wire w, struct blob *b)
{
    struct job_squeezed *z = w < WIRE_WS_Z ? NULL : squeezed_of(j);
    struct blob *there = NULL;
    if (w >= WIRE_WS_Z && !z) {
        blob_unref(b);
        return NULL;
    }
    if (atomic_compare_exchange_strong_explicit(z ? &z->wire[w - WIRE_WS_Z] : &j->wire[w], &there, b,
                                                memory_order_acq_rel, memory_order_acquire))
        return b;
    blob_unref(b);
    return there;
}
