/*
 * inbox.c - bounded single-producer single-consumer rings ("lanes") and one eventfd doorbell.
 *
 * A lane's `tail` counts items ever pushed, `head` items ever taken; both wrap, their difference does not. Each side
 * keeps its index on a cache line of its own together with its last sight of the other side's, and looks again only
 * when that sight says full or empty: in a steady flow the lines of the indices travel once a batch, not once an item.
 *
 * Who runs together: per lane one producer and the one consumer. Memory orders:
 *   tail     the producer stores with release, the consumer loads with acquire: the item is there before its number.
 *   head     the consumer stores with release, the producer loads with acquire: an item has been read out before its
 * slot is used again. pending  all accesses are read-modify-writes with acquire+release, so they stand in one order and
 * each sees what went before the one before it. If the producer's exchange to 1 comes before the consumer's exchange to
 * 0, the consumer then sees the new tail and drains it. If it comes after, it returned 0 and the producer rings.
 *   starved  the same trick for full lanes. Producer: exchange starved to 1, then look at head again. Consumer: store
 *            head, then exchange starved to 0. Whichever exchange is second sees what its partner did before the first:
 *            the producer sees the room and pushes, or the consumer sees the mark and wakes. A load in place of either
 *            exchange could miss both. Nobody ever stores plainly to these two words, which would break the chain.
 *
 * The consumer wakes a starved producer only once the lane is at least half empty, so that the two do not take turns
 * item by item. That loses nothing: with more than half left the consumer has rung its own bell and comes back.
 *
 * Items own what they point to. inbox_free runs alone and hands what is left to `drop`.
 */
#include "core/inbox.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    CACHE_LINE = 64,
    TURN_ITEMS = 32,   /* items of one lane before the next lane has its turn */
    AHEAD = 4,         /* items whose memory is asked for before they are handed out */
    AHEAD_BYTES = 448, /* a message of usual length whole */
};

struct lane {
    /* constant once threads run */
    _Alignas(CACHE_LINE) struct item *items;
    struct inbox *wake;
    /* producer's line */
    _Alignas(CACHE_LINE) atomic_uint tail;
    unsigned head_seen;
    /* consumer's line */
    _Alignas(CACHE_LINE) atomic_uint head;
    unsigned tail_seen;
    /* both, once a batch */
    _Alignas(CACHE_LINE) atomic_bool starved;
};

struct inbox {
    /* written by everybody */
    _Alignas(CACHE_LINE) atomic_bool pending;
    /* constant after inbox_new */
    _Alignas(CACHE_LINE) unsigned nlanes;
    unsigned capacity; /* of a lane, a power of two */
    int fd;
    /* consumer's */
    _Alignas(CACHE_LINE) unsigned turn; /* lane to begin with */
    struct lane lanes[];
};

struct inbox *inbox_new(unsigned lanes, unsigned capacity)
{
    if (lanes == 0 || lanes > 65536 || capacity < 2 || capacity > (1u << 30) || (capacity & (capacity - 1)))
        return NULL;
    struct inbox *in = aligned_alloc(CACHE_LINE, sizeof(*in) + lanes * sizeof(struct lane));
    if (!in)
        return NULL;
    memset(in, 0, sizeof(*in) + lanes * sizeof(struct lane));
    atomic_init(&in->pending, false);
    in->capacity = capacity;
    in->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    bool good = in->fd >= 0;
    for (unsigned i = 0; good && i < lanes; i++) {
        struct lane *l = &in->lanes[i];
        atomic_init(&l->tail, 0);
        atomic_init(&l->head, 0);
        atomic_init(&l->starved, false);
        l->items = calloc(capacity, sizeof(*l->items));
        good = l->items != NULL;
        in->nlanes = i + 1;
    }
    if (good)
        return in;
    inbox_free(in, NULL, NULL);
    return NULL;
}

void inbox_free(struct inbox *in, void (*drop)(void *arg, struct item it), void *arg)
{
    if (!in)
        return;
    for (unsigned i = 0; i < in->nlanes; i++) {
        struct lane *l = &in->lanes[i];
        unsigned tail = atomic_load_explicit(&l->tail, memory_order_acquire);
        unsigned head = atomic_load_explicit(&l->head, memory_order_acquire);
        for (; drop && head != tail; head++)
            drop(arg, l->items[head & (in->capacity - 1)]);
        free(l->items);
    }
    if (in->fd >= 0)
        close(in->fd);
    free(in);
}

void inbox_set_wake(struct inbox *in, unsigned lane, struct inbox *producer)
{
    assert(lane < in->nlanes);
    in->lanes[lane].wake = producer;
}

void inbox_ring(struct inbox *in)
{
    if (atomic_exchange_explicit(&in->pending, true, memory_order_acq_rel))
        return; /* somebody has rung, and the consumer has not looked yet */
    uint64_t one = 1;
    while (write(in->fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* The producer's view of how much room there is, looking at the consumer's index only when it must. */
static bool has_room(const struct inbox *in, struct lane *l, unsigned tail)
{
    if (tail - l->head_seen < in->capacity)
        return true;
    l->head_seen = atomic_load_explicit(&l->head, memory_order_acquire);
    return tail - l->head_seen < in->capacity;
}

bool inbox_put(struct inbox *in, unsigned lane, struct item it)
{
    assert(lane < in->nlanes);
    struct lane *l = &in->lanes[lane];
    unsigned tail = atomic_load_explicit(&l->tail, memory_order_relaxed);
    if (!has_room(in, l, tail)) {
        (void)atomic_exchange_explicit(&l->starved, true, memory_order_acq_rel);
        if (!has_room(in, l, tail))
            return false;
        /* The mark stays: at worst one wake-up too many. */
    }
    l->items[tail & (in->capacity - 1)] = it;
    atomic_store_explicit(&l->tail, tail + 1, memory_order_release);
    return true;
}

bool inbox_push(struct inbox *in, unsigned lane, struct item it)
{
    if (!inbox_put(in, lane, it))
        return false;
    inbox_ring(in);
    return true;
}

unsigned inbox_room(const struct inbox *in, unsigned lane)
{
    assert(lane < in->nlanes);
    const struct lane *l = &in->lanes[lane];
    unsigned tail = atomic_load_explicit(&l->tail, memory_order_relaxed);
    return in->capacity - (tail - atomic_load_explicit(&l->head, memory_order_acquire));
}

int inbox_fd(const struct inbox *in)
{
    return in->fd;
}

/* Hands out at most `max` items of one lane, then makes their slots free and wakes a starved producer. */
static unsigned drain_lane(struct inbox *in, struct lane *l, unsigned max, void (*take)(void *arg, struct item it),
                           void *arg)
{
    unsigned head = atomic_load_explicit(&l->head, memory_order_relaxed);
    if (head == l->tail_seen)
        l->tail_seen = atomic_load_explicit(&l->tail, memory_order_acquire);
    unsigned n = l->tail_seen - head;
    if (n == 0)
        return 0;
    if (n > max)
        n = max;
    for (unsigned i = 0; i < n; i++) {
        if (i + AHEAD < n) /* it was written by another core */
            prefetch(l->items[(head + i + AHEAD) & (in->capacity - 1)].ptr, AHEAD_BYTES);
        take(arg, l->items[(head + i) & (in->capacity - 1)]);
    }
    atomic_store_explicit(&l->head, head + n, memory_order_release);
    if (l->tail_seen - (head + n) <= in->capacity / 2 &&
        atomic_exchange_explicit(&l->starved, false, memory_order_acq_rel) && l->wake)
        inbox_ring(l->wake);
    return n;
}

/* Something is in a lane. Items that come later ring for themselves, because pending was cleared before. */
static bool any_left(struct inbox *in)
{
    for (unsigned i = 0; i < in->nlanes; i++) {
        struct lane *l = &in->lanes[i];
        if (atomic_load_explicit(&l->tail, memory_order_acquire) !=
            atomic_load_explicit(&l->head, memory_order_relaxed))
            return true;
    }
    return false;
}

unsigned inbox_drain(struct inbox *in, unsigned max, void (*take)(void *arg, struct item it), void *arg)
{
    uint64_t rung;
    while (read(in->fd, &rung, sizeof(rung)) < 0 && errno == EINTR)
        ;
    (void)atomic_exchange_explicit(&in->pending, false, memory_order_acq_rel);

    unsigned total = 0, silent = 0; /* lanes in a row that had nothing */
    while (total < max && silent < in->nlanes) {
        unsigned quota = max - total < TURN_ITEMS ? max - total : TURN_ITEMS;
        unsigned n = drain_lane(in, &in->lanes[in->turn], quota, take, arg);
        in->turn = in->turn + 1 < in->nlanes ? in->turn + 1 : 0;
        silent = n ? 0 : silent + 1;
        total += n;
    }
    if (total == max && any_left(in))
        inbox_ring(in);
    return total;
}

unsigned inbox_depth(const struct inbox *in, unsigned lane)
{
    assert(lane < in->nlanes);
    const struct lane *l = &in->lanes[lane];
    unsigned head = atomic_load_explicit(&l->head, memory_order_acquire); /* before tail: never negative */
    unsigned depth = atomic_load_explicit(&l->tail, memory_order_relaxed) - head;
    return depth < in->capacity ? depth : in->capacity;
}

unsigned inbox_lanes(const struct inbox *in)
{
    return in->nlanes;
}
