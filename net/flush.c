/*
 * flush.c - the end of a turn: the output of all connections that have some.
 *
 * Idea: one send() a connection costs a system call each, which is most of what a message to a single user costs. So
 * the sends of all plain connections of a turn go into one submission (net/submit.h; --batch-sends says which). They do
 * not wait, so all results are there when the submission returns, and nothing outlives the turn: what a send borrows,
 * an entry at the head of its queue or a copy in the arena, has to last only that long. Entries on offer are pinned
 * until then.
 *
 * TLS, and queues of many or large entries, are written one by one as without; so is everything once the kernel takes
 * no more submissions. A connection has at most one send in a run, hence no gap in its stream: a short send is
 * continued by conn_flush, and a socket without room waits for EV_WRITE, as ever.
 *
 * Shard thread. The flusher is made and freed by main, before the thread starts and after it has ended.
 */
#include "net/flush.h"

#include <errno.h>
#include <stdlib.h>

#include "core/log.h"
#include "net/conn.h"
#include "net/session.h"
#include "net/shard.h"
#include "net/submit.h"
#include "net/tls.h"

enum {
    RING = 512,            /* sends of one submission */
    ARENA = 256 * 1024,    /* copies of one submission */
    PIECE_MOST = 64 * 1024 /* bytes that are copied for one send */
};

struct flusher {
    struct submit *sends;
    unsigned queued;
    size_t used;
    uint8_t arena[ARENA];
};

/* What the option asks for, or, where it leaves the choice and there is no io_uring, the next best. */
static struct submit *submission(enum batch_sends how)
{
    struct submit *s = how == BATCH_AUTO || how == BATCH_URING ? uring_new(RING) : NULL;
    if (!s && how != BATCH_AIO)
        log_line(LOG_INFO, "flush", "io_uring is not to be had (%s)", strerror(errno));
    if (!s && how != BATCH_URING && !(s = aio_new(RING)))
        log_line(LOG_INFO, "flush", "aio is not to be had (%s)", strerror(errno));
    return s;
}

struct flusher *flusher_new(enum batch_sends how)
{
    struct flusher *f = how != BATCH_OFF ? malloc(sizeof *f) : NULL;
    if (!f)
        return NULL;
    f->queued = 0;
    f->used = 0;
    f->sends = submission(how);
    if (f->sends)
        return f;
    flusher_free(f);
    return NULL;
}

const char *flusher_name(const struct flusher *f)
{
    return f ? f->sends->ops->name : "one send each";
}

void flusher_free(struct flusher *f)
{
    if (!f)
        return;
    submit_free(f->sends);
    free(f);
}

/* The kernel has sent hundreds of others since this connection was looked at. */
static void soon(void *arg, const void *tag)
{
    (void)arg;
    const struct conn *c = tag;
    prefetch(c->ext, SESSION_HOT);
    outq_expect(&c->out);
}

static void sent(void *arg, void *tag, int32_t result)
{
    (void)arg;
    conn_batch_sent(tag, result);
}

static void submit(struct shard *s)
{
    struct flusher *f = s->flusher;
    if (f->queued == 0)
        return;
    f->queued = 0;
    f->used = 0;
    s->written_us = 0; /* all of them are written at once */
    if (submit_run(f->sends, soon, sent, s))
        return;
    log_line(LOG_ERROR, "flush", "the kernel no longer takes submissions by %s: going on without", f->sends->ops->name);
    s->flusher = NULL;
    flusher_free(f);
}

/* False: it is for conn_flush. */
static bool queue(struct shard *s, struct conn *c)
{
    if (s->flusher && (ARENA - s->flusher->used < PIECE_MOST || s->flusher->queued == RING))
        submit(s);
    struct flusher *f = s->flusher;
    if (!f || !conn_may_batch(c))
        return false;
    unsigned entries;
    uint8_t *to = f->arena + f->used;
    struct span piece = transport_piece(c, to, PIECE_MOST, &entries);
    if (piece.n == 0 || !submit_send(f->sends, c->fd, piece.p, piece.n, c))
        return false;
    if (piece.p == to)
        f->used += piece.n;
    f->queued++;
    outq_pin(&c->out, entries);
    c->dirty = false;
    return true;
}

void flush_dirty(struct shard *s)
{
    while (s->dirty) {
        struct conn *c = s->dirty;
        bool alone = !c->next_dirty && !(s->flusher && s->flusher->queued); /* a submission of one is no gain */
        s->dirty = c->next_dirty;
        conn_before_flush(c);
        if (alone || !queue(s, c))
            conn_flush(c);
        if (!s->dirty && s->flusher)
            submit(s); /* whoever is told may make others dirty */
    }
}
