/*
 * pool.c - pieces of memory that go from one thread to others and come back.
 *
 * Idea: a heap is made for memory that is let go where it was taken. What the dispatcher makes and shards let go costs
 * it two locks and a search, a message. Here whoever lets go pushes the piece on a stack, and the maker takes the whole
 * stack when its own is empty. Nobody takes single pieces from the shared stack, so it has no ABA problem.
 *
 * Who runs together: pool_take and pool_free on the maker's thread, pool_give on any. Memory orders: a push releases,
 * taking the stack acquires: what was done with a piece is over before it is used again. `alive` counts pieces that
 * exist, and the maker's own reference; dropping is acquire+release, as in blob.c, since the last one frees the pool.
 *
 * The end: pool_free puts CLOSED in the stack's place, and whoever finds it there frees its piece itself.
 */
#include "core/pool.h"

#include <stdatomic.h>
#include <stdlib.h>

struct piece {
    struct pool *home; /* NULL: from the heap */
    struct piece *next;
    _Alignas(max_align_t) uint8_t bytes[];
};

struct pool {
    size_t size;
    unsigned keep;
    struct piece *own; /* the maker's */
    atomic_uint alive;
    _Alignas(64) _Atomic(struct piece *) returned;
};

static const char closed_mark;
#define CLOSED ((struct piece *)(uintptr_t)&closed_mark)

struct pool *pool_new(size_t size, unsigned keep)
{
    struct pool *p = aligned_alloc(_Alignof(struct pool), sizeof *p);
    if (!p)
        return NULL;
    *p = (struct pool){.size = size, .keep = keep};
    atomic_init(&p->alive, 1);
    atomic_init(&p->returned, NULL);
    return p;
}

static void drop(struct pool *p)
{
    if (atomic_fetch_sub_explicit(&p->alive, 1, memory_order_acq_rel) == 1)
        free(p);
}

static void drop_all(struct pool *p, struct piece *list)
{
    while (list) {
        struct piece *next = list->next;
        free(list);
        drop(p);
        list = next;
    }
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    drop_all(p, p->own);
    drop_all(p, atomic_exchange_explicit(&p->returned, CLOSED, memory_order_acq_rel));
    drop(p);
}

static struct piece *fresh(struct pool *home, size_t n)
{
    struct piece *x = n <= SIZE_MAX / 2 ? malloc(sizeof *x + n) : NULL;
    if (x)
        x->home = home;
    return x;
}

void *pool_take(struct pool *p, size_t n)
{
    struct piece *x;
    if (!p || n > p->size) {
        x = fresh(NULL, n);
        return x ? x->bytes : NULL;
    }
    if (!p->own)
        p->own = atomic_exchange_explicit(&p->returned, NULL, memory_order_acquire);
    x = p->own;
    if (x) {
        p->own = x->next;
        prefetch(p->own, sizeof *x); /* whoever let it go was on another processor */
        return x->bytes;
    }
    x = fresh(p, p->size);
    if (!x)
        return NULL;
    atomic_fetch_add_explicit(&p->alive, 1, memory_order_relaxed);
    return x->bytes;
}

/* False: the pool is closed. */
static bool push(struct pool *p, struct piece *x)
{
    struct piece *top = atomic_load_explicit(&p->returned, memory_order_relaxed);
    do {
        if (top == CLOSED)
            return false;
        x->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&p->returned, &top, x, memory_order_release, memory_order_relaxed));
    return true;
}

void pool_give(void *mem)
{
    if (!mem)
        return;
    struct piece *x = CONTAINER_OF(mem, struct piece, bytes);
    struct pool *p = x->home;
    bool few = p && atomic_load_explicit(&p->alive, memory_order_relaxed) <= p->keep;
    if (few && push(p, x))
        return;
    free(x);
    if (p)
        drop(p);
}
