/*
 * pool.h - memory for things that one thread makes, all of them small, and others let go: pieces of one size that come
 * back to their maker, so that no heap is locked for them.
 */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include "core/base.h"

struct pool;

/* New; at most `keep` pieces of `size` bytes are kept when nobody needs them. NULL when memory is out. */
struct pool *pool_new(size_t size, unsigned keep) MUST_CHECK;
/* Closes it. Pieces that are still out may be given back later, by any thread; the last one frees the pool. */
void pool_free(struct pool *p);
/* n bytes, aligned for anything, not cleared; more than a piece come from the heap, and so does all with p NULL. NULL
 * when memory is out. The thread that made the pool. */
void *pool_take(struct pool *p, size_t n) MUST_CHECK;
/* Gives back what pool_take returned (NULL is fine). Any thread. */
void pool_give(void *mem);

#endif
