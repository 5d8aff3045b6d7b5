/*
 * submit.h - many sends in one system call: by io_uring (uring.c), or by Linux' older asynchronous I/O (aio.c), which
 * containers allow that forbid the former. One thread uses a submission at a time.
 */
#ifndef NET_SUBMIT_H
#define NET_SUBMIT_H

#include "core/base.h"

struct submit;

/* What a way of submitting does; the rest is in submit.c. */
struct submit_ops {
    const char *name;
    /* Makes ready the send of that index. */
    void (*put)(struct submit *s, unsigned index, int fd, const void *p, size_t n);
    /* Hands all that were put to the kernel and fills in their results; false: it no longer takes any. */
    bool (*go)(struct submit *s);
    void (*free)(struct submit *s);
};

struct submit_sent {
    void *tag;
    int32_t result; /* -EAGAIN until there is one */
};

/* The beginning of either kind's own. */
struct submit {
    const struct submit_ops *ops;
    struct submit_sent *sent; /* `entries` of them */
    unsigned entries, queued;
};

/* New, for up to `entries` sends at a time (a power of two); NULL (errno) where the kernel has or allows no such thing.
 */
struct submit *uring_new(unsigned entries) MUST_CHECK;
struct submit *aio_new(unsigned entries) MUST_CHECK;
void submit_free(struct submit *s); /* NULL is fine */

/* Queues a send on a socket that does not wait (O_NONBLOCK) in a process that ignores SIGPIPE; p is borrowed until
 * submit_run has returned. At most one a socket and run where short sends matter: a later one would go out behind the
 * gap. False: full, run first. */
bool submit_send(struct submit *s, int fd, const void *p, size_t n, void *tag) MUST_CHECK;
/* Submits all, in order, waits until each has its result, then tells them: bytes sent, or -errno (-EAGAIN: no room).
 * `soon` is told of a tag some others before `done` is, to ask for its memory. `done` must not queue others. False: the
 * kernel no longer takes any; sends that it did not take are told -EAGAIN, and s is only good for submit_free. */
bool submit_run(struct submit *s, void (*soon)(void *arg, const void *tag),
                void (*done)(void *arg, void *tag, int32_t result), void *arg) MUST_CHECK;

/* For uring_new and aio_new: s is the beginning of their own; false: memory is out. */
bool submit_init(struct submit *s, const struct submit_ops *ops, unsigned entries) MUST_CHECK;
void submit_fini(struct submit *s);

#endif
