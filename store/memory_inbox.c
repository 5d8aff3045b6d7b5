/*
 * memory_inbox.c - one user's inbox in memory.
 *
 * Idea: entries are finished jobs in a ring, in seq order; a page is a run of references to them. The rules for
 * cursors, gaps and trimming are those of crier.lua, and test/unit/store runs the same behaviour suite over both.
 *
 * Dispatcher thread. An inbox owns a reference of each entry and its devices' names; it is freed by the store when it
 * is idle. Invariant: bytes is the sum of the entries' costs, first < cap whenever cap > 0.
 */
#include "store/memory_inbox.h"

#include <stdlib.h>

#include "core/job.h"
#include "core/msg.h"

enum { FIRST_RING = 4 };

struct user_inbox *user_inbox_new(struct span name)
{
    if (name.n == 0 || name.n > UINT8_MAX)
        return NULL;
    struct user_inbox *b = calloc(1, sizeof(*b) + name.n + 1);
    if (!b)
        return NULL;
    b->len = (uint8_t)name.n;
    memcpy(b->name, name.p, name.n);
    return b;
}

static struct job *at(const struct user_inbox *b, unsigned i)
{
    return b->ring[(b->first + i) % b->cap];
}

static struct job *drop_first(struct user_inbox *b)
{
    struct job *j = at(b, 0);
    b->first = (b->first + 1) % b->cap;
    b->count--;
    b->bytes -= user_inbox_cost(j);
    return j;
}

static void drop_ring(struct user_inbox *b)
{
    if (b->count)
        return;
    free(b->ring);
    b->ring = NULL;
    b->cap = b->first = 0;
}

void user_inbox_free(struct user_inbox *b)
{
    while (b->count)
        job_unref(drop_first(b));
    free(b->ring);
    for (unsigned i = 0; i < b->ndev; i++)
        free(b->dev[i].name);
    free(b);
}

size_t user_inbox_cost(const struct job *j)
{
    return sizeof(*j) + j->len + sizeof(struct job *) * 2;
}

/* ---- entries ---- */

bool user_inbox_reserve(struct user_inbox *b)
{
    if (b->count < b->cap)
        return true;
    unsigned cap = b->cap ? b->cap * 2 : FIRST_RING;
    struct job **ring = malloc(cap * sizeof(struct job *));
    if (!ring)
        return false;
    for (unsigned i = 0; i < b->count; i++)
        ring[i] = at(b, i);
    free(b->ring);
    b->ring = ring;
    b->cap = cap;
    b->first = 0;
    return true;
}

static bool expired(const struct job *j, uint64_t now_s)
{
    return j->head.expires_s <= now_s;
}

/* An entry goes. Is that a loss? Not if it had come to its own end; in a room only what lived as long as the room keeps
 * anything is missed afterwards. */
static void let_go(struct user_inbox *b, const struct job *j, uint64_t now_s)
{
    bool whole = b->keep_s && j->head.expires_s - j->head.seq / 1000000 >= b->keep_s;
    if ((whole || !expired(j, now_s)) && j->head.seq > b->gap)
        b->gap = j->head.seq;
}

void user_inbox_append(struct user_inbox *b, struct job *j, unsigned most, uint64_t now_s)
{
    assert(b->count < b->cap);
    b->count++;
    b->ring[(b->first + b->count - 1) % b->cap] = j;
    b->bytes += user_inbox_cost(j);
    b->top = j->head.seq;
    while (b->count > most) {
        struct job *old = drop_first(b);
        let_go(b, old, now_s);
        job_unref(old);
    }
    drop_ring(b);
}

/* How many entries have seq <= cur. */
static unsigned count_upto(const struct user_inbox *b, uint64_t cur)
{
    unsigned lo = 0, hi = b->count;
    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        if (at(b, mid)->head.seq <= cur)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool user_inbox_page(const struct user_inbox *b, uint64_t from, unsigned limit, size_t max_bytes, uint64_t now_s,
                     struct op_page *page, uint64_t *pending)
{
    unsigned first = count_upto(b, from), n = b->count - first;
    size_t bytes = 0;
    page->top = b->top;
    *pending = n;
    if (n == 0)
        return true;
    page->jobs = malloc((n < limit ? n : limit) * sizeof(struct job *));
    if (!page->jobs)
        return false;
    for (unsigned i = first; i < b->count; i++) {
        struct job *j = at(b, i);
        if (expired(j, now_s))
            continue;
        if (page->njobs == limit || (bytes > 0 && bytes + j->len > max_bytes)) {
            page->more = true;
            break;
        }
        bytes += j->len;
        page->jobs[page->njobs++] = job_ref(j);
    }
    return true;
}

bool user_inbox_tail(const struct user_inbox *b, uint64_t before, unsigned limit, size_t max_bytes, uint64_t now_s,
                     struct op_page *page)
{
    unsigned end = before ? count_upto(b, before - 1) : b->count, from = end;
    size_t bytes = 0;
    page->top = b->top;
    for (unsigned n = 0; from > 0; from--) {
        const struct job *j = at(b, from - 1);
        if (expired(j, now_s))
            continue;
        if (n == limit || (bytes > 0 && bytes + j->len > max_bytes)) {
            page->more = true;
            break;
        }
        bytes += j->len;
        n++;
    }
    page->jobs = from < end ? malloc((end - from) * sizeof(struct job *)) : NULL;
    for (unsigned i = from; page->jobs && i < end; i++) {
        if (!expired(at(b, i), now_s))
            page->jobs[page->njobs++] = job_ref(at(b, i));
    }
    return page->jobs || from == end;
}

struct job *user_inbox_find(const struct user_inbox *b, uint64_t seq, uint64_t now_s)
{
    unsigned i = count_upto(b, seq - 1);
    struct job *j = i < b->count ? at(b, i) : NULL;
    return j && j->head.seq == seq && !expired(j, now_s) ? j : NULL;
}

unsigned user_inbox_pending(const struct user_inbox *b, uint64_t from, uint64_t now_s)
{
    unsigned n = 0;
    for (unsigned i = count_upto(b, from); i < b->count; i++)
        n += !expired(at(b, i), now_s);
    return n;
}

unsigned user_inbox_clear(struct user_inbox *b)
{
    unsigned n = b->count;
    if (n)
        b->gap = b->top;
    while (b->count)
        job_unref(drop_first(b));
    drop_ring(b);
    return n;
}

/* ---- devices ---- */

static struct inbox_device *find(struct user_inbox *b, const char *name)
{
    for (unsigned i = 0; i < b->ndev; i++) {
        if (strcmp(b->dev[i].name, name) == 0)
            return &b->dev[i];
    }
    return NULL;
}

static void forget(struct user_inbox *b, unsigned i)
{
    free(b->dev[i].name);
    b->dev[i] = b->dev[--b->ndev];
}

/* Those gone before those attached, those the server named before those a client named, the longest unseen first. */
static bool goes_before(const struct inbox_device *x, const struct inbox_device *y)
{
    if (x->attached != y->attached)
        return y->attached;
    if (x->named != y->named)
        return y->named;
    return x->seen_s < y->seen_s;
}

static struct inbox_device *add(struct user_inbox *b, const char *name)
{
    char *copy = span_dup(span_str(name));
    if (!copy)
        return NULL;
    if (b->ndev == INBOX_MAX_DEVICES) {
        unsigned worst = 0;
        for (unsigned i = 1; i < b->ndev; i++)
            worst = goes_before(&b->dev[i], &b->dev[worst]) ? i : worst;
        forget(b, worst);
    }
    struct inbox_device *d = &b->dev[b->ndev++];
    *d = (struct inbox_device){.name = copy};
    return d;
}

bool user_inbox_attach(struct user_inbox *b, struct op_attach *a, uint64_t now_s)
{
    struct inbox_device *d = find(b, a->device);
    uint64_t stored = d ? d->seq : b->best;
    if (!d)
        d = add(b, a->device);
    if (!d)
        return false;
    a->cursor = stored;
    if (a->has_since)
        a->cursor = a->since < b->top ? a->since : b->top;
    a->page.gap = b->gap;
    if (a->cursor < stored) { /* a client that went back: what was trimmed since is a gap */
        uint64_t before = b->count ? at(b, 0)->head.prev : b->top;
        if (before > a->cursor && before > b->gap)
            a->page.gap = before;
    }
    *d = (struct inbox_device){d->name, a->cursor, now_s, a->named, true};
    if (a->cursor > b->best) /* what it brings is as good as an ack */
        b->best = a->cursor;
    b->registered = true;
    return true;
}

void user_inbox_move(struct user_inbox *b, const char *device, bool named, uint64_t seq, uint64_t now_s, bool attached)
{
    struct inbox_device *d = find(b, device);
    if (seq > b->top)
        seq = b->top;
    if (!d) {
        d = add(b, device);
        if (!d)
            return;
        if (seq == 0)
            seq = b->best;
    }
    if (seq < d->seq)
        seq = d->seq;
    *d = (struct inbox_device){d->name, seq, now_s, named, attached};
    if (seq > b->best)
        b->best = seq;
}

static uint64_t device_ends(const struct user_inbox *b, const struct inbox_device *d, struct session_terms t)
{
    if (d->attached && b->registered)
        return UINT64_MAX;
    return d->seen_s + (d->named ? t.named_s : t.guest_s) + 1;
}

void user_inbox_trim(struct user_inbox *b, uint64_t now_s, struct session_terms t)
{
    uint64_t floor = b->best;
    for (unsigned i = 0; i < b->ndev;) {
        if (device_ends(b, &b->dev[i], t) <= now_s) {
            forget(b, i);
            continue;
        }
        if (b->dev[i].seq < floor)
            floor = b->dev[i].seq;
        i++;
    }
    while (b->count && at(b, 0)->head.seq <= floor)
        job_unref(drop_first(b));
    drop_ring(b);
}

/* ---- time ---- */

uint64_t user_inbox_expire(struct user_inbox *b, uint64_t now_s, struct session_terms t)
{
    uint64_t next = UINT64_MAX;
    unsigned kept = 0;
    for (unsigned i = 0; i < b->count; i++) {
        struct job *j = at(b, i);
        if (expired(j, now_s)) {
            b->bytes -= user_inbox_cost(j);
            if (b->keep_s)
                let_go(b, j, now_s);
            job_unref(j);
            continue;
        }
        if (j->head.expires_s < next)
            next = j->head.expires_s;
        b->ring[(b->first + kept++) % b->cap] = j;
    }
    b->count = kept;
    drop_ring(b);
    user_inbox_trim(b, now_s, t);
    for (unsigned i = 0; i < b->ndev; i++) {
        uint64_t ends = device_ends(b, &b->dev[i], t);
        if (ends < next)
            next = ends;
    }
    return next;
}

bool user_inbox_idle(const struct user_inbox *b)
{
    return b->count == 0 && !b->registered && b->ndev == 0;
}
