/*
 * outq.c - output queues. See outq.h for what an entry is and what the policy promises.
 *
 * The ring holds references; making room is one pass that closes the holes, and frees an eighth of the soft limit more
 * than is needed, so that a queue at its limit pays for a pass once in many messages, not at each. Runs on the shard's
 * thread; an entry's frame dies with its last reference, the ring with the last entry (outq_trim).
 */
#include "net/outq.h"

#include <stdlib.h>

#define RING_FIRST 4u
#define RING_MOST  32768u

static struct out_entry *entry_at(const struct outq *q, unsigned i)
{
    return &q->ring[(q->head + i) & (q->cap - 1u)];
}

void outq_init(struct outq *q)
{
    memset(q, 0, sizeof *q);
}

void outq_fini(struct outq *q)
{
    for (unsigned i = 0; i < q->count; i++)
        frame_unref(entry_at(q, i)->frame);
    free(q->ring);
    memset(q, 0, sizeof *q);
}

void outq_walk_tracked(const struct outq *q, unsigned skip, void (*tell)(void *arg, const struct frame *f), void *arg)
{
    for (unsigned i = skip; i < q->count; i++) {
        const struct frame *f = entry_at(q, i)->frame;
        if (f->tracked)
            tell(arg, f);
    }
}

void outq_drop_unpinned(struct outq *q)
{
    while (q->count > q->pinned) {
        struct frame *f = entry_at(q, --q->count)->frame;
        q->bytes -= f->len;
        frame_unref(f);
    }
}

void outq_trim(struct outq *q)
{
    if (q->count || !q->ring)
        return;
    free(q->ring);
    q->ring = NULL;
    q->cap = q->head = 0;
}

static bool grow(struct outq *q)
{
    unsigned cap = q->cap ? q->cap * 2u : RING_FIRST;
    if (cap > RING_MOST)
        return false;
    struct out_entry *ring = malloc(cap * sizeof *ring);
    if (!ring)
        return false;
    for (unsigned i = 0; i < q->count; i++)
        ring[i] = *entry_at(q, i);
    free(q->ring);
    q->ring = ring;
    q->cap = (uint16_t)cap;
    q->head = 0;
    return true;
}

static bool append(struct outq *q, struct frame *f, enum out_class cls)
{
    if (q->count == q->cap && !grow(q))
        return false;
    *entry_at(q, q->count) = (struct out_entry){.frame = f, .class = cls};
    q->count++;
    q->bytes += f->len;
    f->refs++;
    return true;
}

bool outq_over_soft(const struct outq *q, const struct outq_limits *lim)
{
    return q->bytes >= lim->soft_bytes || q->count >= lim->soft_count;
}

/* Is there an entry behind i with the same collapse key (or is the coming one such)? */
static bool superseded(const struct outq *q, unsigned i, uint64_t coming)
{
    uint64_t key = entry_at(q, i)->frame->collapse;
    if (key == 0)
        return false;
    if (key == coming)
        return true;
    for (unsigned j = i + 1; j < q->count; j++) {
        if (entry_at(q, j)->frame->collapse == key)
            return true;
    }
    return false;
}

/* What a pass over the queue lets go. */
enum pass { PASS_LOW, PASS_SUPERSEDED, PASS_UNKEYED, PASS_ANY_NORMAL };

static bool goes(const struct outq *q, unsigned i, enum pass pass, uint64_t coming)
{
    const struct out_entry *e = entry_at(q, i);
    switch (pass) {
    case PASS_LOW:
        return e->class == OUT_LOW;
    case PASS_SUPERSEDED:
        return (e->class == OUT_LOW || e->class == OUT_NORMAL) && superseded(q, i, coming);
    case PASS_UNKEYED:
        return e->class == OUT_NORMAL && e->frame->collapse == 0;
    case PASS_ANY_NORMAL:
        return e->class == OUT_NORMAL;
    }
    return false;
}

static void count_drop(struct outq_drops *d, enum pass pass, const struct frame *f)
{
    const char *why = "slow";
    switch (pass) {
    case PASS_LOW:
        d->low += f->messages;
        break;
    case PASS_SUPERSEDED:
        d->collapsed += f->messages;
        why = "collapsed";
        break;
    case PASS_UNKEYED:
    case PASS_ANY_NORMAL:
        d->normal += f->messages;
        break;
    }
    if (f->tracked && d->tell)
        d->tell(d->arg, f, why);
}

/* Lets entries of one kind go, oldest first, until both goals are met; closes the holes. */
static void make_room(struct outq *q, enum pass pass, uint64_t coming, uint32_t goal_bytes, unsigned goal_count,
                      struct outq_drops *drops)
{
    unsigned kept = q->pinned;
    unsigned total = q->count;
    unsigned live = total;
    for (unsigned i = q->pinned; i < total; i++) {
        struct out_entry e = *entry_at(q, i);
        if ((q->bytes > goal_bytes || live > goal_count) && goes(q, i, pass, coming)) {
            q->bytes -= e.frame->len;
            live--;
            count_drop(drops, pass, e.frame);
            frame_unref(e.frame);
            continue;
        }
        *entry_at(q, kept++) = e;
    }
    q->count = (uint16_t)kept;
}

static bool fits(const struct outq *q, const struct frame *f, const struct outq_limits *lim)
{
    return q->bytes + f->len <= lim->soft_bytes && q->count < lim->soft_count;
}

/* Live messages over the soft limit: low ones make room for everything, normal ones for normal and high ones. A message
 * that is longer than the limit has room in a queue that is empty now, as in one that was. */
static bool relieve(struct outq *q, const struct frame *f, enum out_class cls, const struct outq_limits *lim,
                    struct outq_drops *drops)
{
    uint32_t want = f->len + lim->soft_bytes / 8;
    uint32_t goal_bytes = lim->soft_bytes > want ? lim->soft_bytes - want : 0;
    unsigned goal_count = lim->soft_count - lim->soft_count / 8 - 1;
    enum pass last = cls == OUT_LOW ? PASS_SUPERSEDED : PASS_ANY_NORMAL;
    for (unsigned pass = PASS_LOW; pass <= (unsigned)last && !fits(q, f, lim); pass++)
        make_room(q, (enum pass)pass, f->collapse, goal_bytes, goal_count, drops);
    return fits(q, f, lim) || q->count == 0;
}

enum out_result outq_push(struct outq *q, struct frame *f, enum out_class cls, const struct outq_limits *lim,
                          struct outq_drops *drops)
{
    bool room = fits(q, f, lim);
    switch (cls) {
    case OUT_CONTROL:
        if (q->bytes > lim->hard_bytes)
            return OUT_OVER;
        break;
    case OUT_STORED:
        if (!room && q->count)
            return OUT_LEFT;
        break;
    case OUT_LOW:
    case OUT_NORMAL:
        if (!room && q->count && !relieve(q, f, cls, lim, drops)) {
            count_drop(drops, cls == OUT_LOW ? PASS_LOW : PASS_ANY_NORMAL, f);
            return OUT_DROPPED_SELF;
        }
        break;
    case OUT_HIGH:
        if (!room && q->count)
            (void)relieve(q, f, cls, lim, drops);
        if (q->count && q->bytes + f->len > lim->hard_bytes)
            return OUT_OVER;
        break;
    }
    if (append(q, f, cls))
        return OUT_OK;
    return q->cap >= RING_MOST ? OUT_OVER : OUT_NO_MEMORY;
}

struct frame *outq_only(const struct outq *q, enum out_class cls)
{
    const struct out_entry *e = q->count == 1 && !q->pinned ? entry_at(q, 0) : NULL;
    return e && e->class == cls && !e->frame->collapse && !e->frame->tracked ? e->frame : NULL;
}

bool outq_extend(struct outq *q, struct frame *both, const struct outq_limits *lim)
{
    if (both->len > lim->soft_bytes)
        return false;
    struct out_entry *e = entry_at(q, 0);
    frame_unref(e->frame);
    both->refs++;
    e->frame = both;
    q->bytes = both->len;
    return true;
}

unsigned outq_peek(const struct outq *q, struct iovec *iov, unsigned max, unsigned *entries)
{
    unsigned n = 0;
    for (; n < q->count && n < max; n++) {
        const struct frame *f = entry_at(q, n)->frame;
        size_t skip = n == 0 ? q->offset : 0;
        iov[n].iov_base = (void *)(uintptr_t)(f->data + skip);
        iov[n].iov_len = f->len - skip;
    }
    *entries = n;
    return n;
}

void outq_pin(struct outq *q, unsigned entries)
{
    if (entries > q->pinned)
        q->pinned = (uint16_t)entries;
}

void outq_unpin(struct outq *q)
{
    q->pinned = q->offset ? 1 : 0;
}

void outq_written(struct outq *q, size_t n, void (*done)(void *arg, const struct frame *f), void *arg)
{
    q->bytes -= (uint32_t)n;
    n += q->offset;
    q->offset = 0;
    while (q->count) {
        struct frame *f = entry_at(q, 0)->frame;
        if (f->len > n)
            break;
        n -= f->len;
        if (done && f->born_us)
            done(arg, f);
        frame_unref(f);
        q->head = (uint16_t)((q->head + 1u) & (q->cap - 1u));
        q->count--;
        if (q->pinned)
            q->pinned--;
    }
    q->offset = (uint32_t)n;
    if (n && q->pinned == 0)
        q->pinned = 1;
}
