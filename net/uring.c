/*
 * uring.c - sends submitted by io_uring, on liburing. They carry MSG_DONTWAIT, so each completes while it is submitted,
 * in the order queued, and one system call submits and collects. user_data is the index of the send.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net/submit.h"

struct uring {
    struct submit submit; /* first */
    struct io_uring ring;
};

static struct uring *self(struct submit *s)
{
    return (struct uring *)s;
}

static void put(struct submit *s, unsigned index, int fd, const void *p, size_t n)
{
    struct io_uring_sqe *e = io_uring_get_sqe(&self(s)->ring); /* there is one: as many as the submission's entries */
    io_uring_prep_send(e, fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    io_uring_sqe_set_data64(e, index);
}

/* Takes the results that are there; returns how many. */
static unsigned collect(struct uring *u)
{
    const struct io_uring_cqe *c;
    unsigned head, n = 0;
    io_uring_for_each_cqe(&u->ring, head, c)
    {
        u->submit.sent[c->user_data].result = c->res;
        n++;
    }
    io_uring_cq_advance(&u->ring, n);
    return n;
}

static bool go(struct submit *s)
{
    struct uring *u = self(s);
    for (unsigned left = s->queued; left > 0; left -= collect(u)) {
        int r = io_uring_submit_and_wait(&u->ring, left);
        if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
            return false;
    }
    return true;
}

static void free_uring(struct submit *s)
{
    io_uring_queue_exit(&self(s)->ring);
    submit_fini(s);
    free(s);
}

static const struct submit_ops ops = {"io_uring", put, go, free_uring};

struct submit *uring_new(unsigned entries)
{
    struct uring *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    int r = submit_init(&u->submit, &ops, entries) ? io_uring_queue_init(entries, &u->ring, 0) : -ENOMEM;
    if (r == 0)
        return &u->submit;
    submit_fini(&u->submit);
    free(u);
    errno = -r;
    return NULL;
}
