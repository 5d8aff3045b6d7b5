/*
 * job.c - the life of a job: references, and the wire forms that hang on it.
 *
 * Any thread. The head and the bytes never change once the job is shared. A wire form appears at most once: whoever
 * encodes it offers it by compare-and-swap from NULL, and the loser drops its own. The form belongs to the job and dies
 * with it; an output queue that must outlive the job takes a reference of its own (blob_ref).
 *
 * Memory orders: as in blob.c for the count. Publishing a form is a release, reading it an acquire, so its bytes are
 * complete for whoever sees the pointer. `made` is read by the last holder alone, behind what all others did.
 */
#include "core/job.h"

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

void job_unref(struct job *j)
{
    if (!j || atomic_fetch_sub_explicit(&j->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned left = atomic_load_explicit(&j->made, memory_order_relaxed); left; left &= left - 1)
        blob_unref(atomic_load_explicit(&j->wire[__builtin_ctz(left)], memory_order_relaxed));
    pool_give(j);
}

struct blob *job_set_wire(struct job *j, enum wire w, struct blob *b)
{
    struct blob *there = NULL;
    if (atomic_compare_exchange_strong_explicit(&j->wire[w], &there, b, memory_order_acq_rel, memory_order_acquire)) {
        atomic_fetch_or_explicit(&j->made, 1u << w, memory_order_relaxed);
        return b;
    }
    blob_unref(b);
    return there;
}
