/*
 * uring.c - a batch of sends on liburing. Sends carry MSG_DONTWAIT, so each completes while it is submitted, in the
 * order queued, and one system call submits and collects.
 *
 * All results are there before the first is told. user_data is the index of the send's tag. Nothing is in flight
 * outside uring_run, hence what sends borrow and the ring itself may go at any other time. One thread.
 */
#include "net/uring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { AHEAD = 6 };

struct sent {
    void *tag;
    int32_t result;
};

struct uring {
    struct io_uring ring;
    unsigned queued; /* in the submission ring, not submitted */
    struct sent sent[];
};

struct uring *uring_new(unsigned entries)
{
    struct uring *u = calloc(1, sizeof *u + entries * sizeof *u->sent);
    if (!u)
        return NULL;
    int r = io_uring_queue_init(entries, &u->ring, 0);
    if (r == 0)
        return u;
    free(u);
    errno = -r;
    return NULL;
}

void uring_free(struct uring *u)
{
    if (!u)
        return;
    io_uring_queue_exit(&u->ring);
    free(u);
}

bool uring_send(struct uring *u, int fd, const void *p, size_t n, void *tag)
{
    struct io_uring_sqe *e = io_uring_get_sqe(&u->ring);
    if (!e)
        return false;
    io_uring_prep_send(e, fd, p, n < INT32_MAX ? n : INT32_MAX, MSG_DONTWAIT | MSG_NOSIGNAL);
    io_uring_sqe_set_data64(e, u->queued);
    u->sent[u->queued++] = (struct sent){tag, -EAGAIN};
    return true;
}

/* Takes the results that are there; returns how many. */
static unsigned collect(struct uring *u)
{
    const struct io_uring_cqe *c;
    unsigned head, n = 0;
    io_uring_for_each_cqe(&u->ring, head, c)
    {
        u->sent[c->user_data].result = c->res;
        n++;
    }
    io_uring_cq_advance(&u->ring, n);
    return n;
}

/* True: every send has its result. */
static bool submit_all(struct uring *u)
{
    for (unsigned left = u->queued; left > 0; left -= collect(u)) {
        int r = io_uring_submit_and_wait(&u->ring, left);
        if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
            return false;
    }
    return true;
}

bool uring_run(struct uring *u, void (*soon)(void *arg, const void *tag),
               void (*done)(void *arg, void *tag, int32_t result), void *arg)
{
    unsigned n = u->queued;
    bool good = n == 0 || submit_all(u);
    u->queued = 0;
    for (unsigned i = 0; i < n && i < AHEAD; i++)
        soon(arg, u->sent[i].tag);
    for (unsigned i = 0; i < n; i++) {
        if (i + AHEAD < n)
            soon(arg, u->sent[i + AHEAD].tag);
        done(arg, u->sent[i].tag, u->sent[i].result);
    }
    return good;
}
