/*
 * uring.h - many sends in one system call (io_uring), for the floor that shows what batched submission can save.
 */
#ifndef BENCH_URING_H
#define BENCH_URING_H

#include "core/base.h"

struct uring;

/* New, for up to `entries` sends at a time; NULL (errno) where the kernel has or allows no io_uring. */
struct uring *uring_new(unsigned entries) MUST_CHECK;
void uring_free(struct uring *u);
/* Queues a send that does not wait; borrows p until uring_run. false: full, run first. */
bool uring_send(struct uring *u, int fd, const void *p, size_t n) MUST_CHECK;
/* Submits all, in order, and reads their results. -1: a send failed or was short. */
int uring_run(struct uring *u) MUST_CHECK;

#endif
