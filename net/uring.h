/*
 * uring.h - many sends in one system call (io_uring). One thread uses a ring at a time.
 */
#ifndef NET_URING_H
#define NET_URING_H

#include "core/base.h"

struct uring;

/* New, for up to `entries` sends at a time (a power of two); NULL (errno) where the kernel has or allows no io_uring.
 */
struct uring *uring_new(unsigned entries) MUST_CHECK;
void uring_free(struct uring *u);
/* Queues a send that does not wait; p is borrowed until uring_run has returned. At most one a socket and run where
 * short sends matter: a later one would go out behind the gap. False: full, run first. */
bool uring_send(struct uring *u, int fd, const void *p, size_t n, void *tag) MUST_CHECK;
/* Submits all, in order, waits until each has its result, then tells them: bytes sent, or -errno (-EAGAIN: no room).
 * `soon` is told of a tag some others before `done` is, to ask for its memory. `done` must not queue others. False: the
 * kernel no longer takes the ring; sends that it did not take are told -EAGAIN, and the ring is only good for
 * uring_free. */
bool uring_run(struct uring *u, void (*soon)(void *arg, const void *tag),
               void (*done)(void *arg, void *tag, int32_t result), void *arg) MUST_CHECK;

#endif
