/*
 * outq.h - a connection's output queue: references to encoded bytes shared with other connections, bounded, with a
 * policy.
 *
 * Each entry holds a frame. Entries that are partly written, or were offered to SSL_write, are pinned: no policy
 * touches them.
 */
#ifndef NET_OUTQ_H
#define NET_OUTQ_H

#include <sys/uio.h>

#include "net/frame.h"

/* What an entry is, for the policy. */
enum out_class {
    OUT_CONTROL, /* answers, pings, HTTP: never dropped */
    OUT_STORED,  /* from an inbox: never dropped here, left to the inbox before it is queued */
    OUT_LOW,
    OUT_NORMAL,
    OUT_HIGH,
};

struct out_entry {
    struct frame *frame;
    enum out_class class : 8;
};

struct outq {
    struct out_entry *ring;    /* NULL while empty for long */
    uint16_t head, count, cap; /* entries; cap a power of two */
    uint16_t pinned;           /* entries at the head that must not be touched */
    uint32_t offset;           /* bytes of the head entry written already */
    uint32_t bytes;            /* bytes waiting */
};

enum out_result { OUT_OK, OUT_DROPPED_SELF, OUT_LEFT, OUT_OVER, OUT_NO_MEMORY };

struct outq_limits {
    uint32_t soft_bytes, hard_bytes, soft_count;
};
struct outq_drops {
    unsigned low, normal, collapsed;
    /* Told of each tracked frame that goes; NULL: nobody cares. */
    void (*tell)(void *arg, const struct frame *f, const char *why);
    void *arg;
};

void outq_init(struct outq *q);
void outq_fini(struct outq *q);
/* Queues a reference to f (its own count is raised on OUT_OK). Over the soft limits live entries go, `low` first, then
 * `normal`, oldest first, keeping the newest of each collapse key; what went is added to *drops. OUT_DROPPED_SELF: the
 * new one itself was dropped; OUT_LEFT: stored and no room: leave it to the inbox; OUT_OVER: past the hard limit: close
 * the connection. */
enum out_result outq_push(struct outq *q, struct frame *f, enum out_class cls, const struct outq_limits *lim,
                          struct outq_drops *drops) MUST_CHECK;
/* The one entry there is, if it is of that class and may have others joined to it; borrowed; else NULL. */
struct frame *outq_only(const struct outq *q, enum out_class cls);
/* Puts `both`, which begins with outq_only, in its place. False: over the soft limit. */
bool outq_extend(struct outq *q, struct frame *both, const struct outq_limits *lim) MUST_CHECK;
/* The same, where `before` is known to be one that others may be joined to, and the caller has a reference to each of
 * the two: is it the one entry, of that class? Then `both` takes its place. */
static inline bool outq_replace(struct outq *q, struct frame *before, struct frame *both, enum out_class cls)
{
    struct out_entry *e = q->count == 1 && !q->pinned ? &q->ring[q->head] : NULL;
    if (!e || e->frame != before || e->class != cls)
        return false;
    before->refs--;
    both->refs++;
    e->frame = both;
    q->bytes = both->len;
    return true;
}
/* Asks for the memory of the head entry, which is there. */
static inline void outq_expect(const struct outq *q)
{
    prefetch(q->ring[q->head].frame, sizeof(struct frame));
}
/* The bytes at the head as iovecs, at most `max` of them; returns how many. */
unsigned outq_peek(const struct outq *q, struct iovec *iov, unsigned max, unsigned *entries);
/* n bytes were written: entries done are let go. `done` is told of each message frame's born_us (may be NULL). */
void outq_written(struct outq *q, size_t n, void (*done)(void *arg, const struct frame *f), void *arg);
/* Entries at the head offered to SSL_write stay as they are until written. */
void outq_pin(struct outq *q, unsigned entries);
/* The offer came to nothing: only an entry that has begun stays pinned. */
void outq_unpin(struct outq *q);
/* Calls `tell` for each tracked frame behind the first `skip` entries. */
void outq_walk_tracked(const struct outq *q, unsigned skip, void (*tell)(void *arg, const struct frame *f), void *arg);
/* Lets go of everything that is not pinned. */
void outq_drop_unpinned(struct outq *q);
/* Gives the ring's memory back when it is empty. */
void outq_trim(struct outq *q);
static inline bool outq_empty(const struct outq *q)
{
    return q->count == 0;
}
bool outq_over_soft(const struct outq *q, const struct outq_limits *lim);

#endif
