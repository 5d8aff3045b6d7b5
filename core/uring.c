/*
 * uring.c - the smallest use of io_uring: fill the submission ring, one io_uring_enter that submits and collects. Sends
 * carry MSG_DONTWAIT, so each completes while it is submitted, in the order queued.
 *
 * All results are there before the first is told. user_data is the index of the send's tag. Nothing is in flight
 * outside uring_run, hence what sends borrow and the ring itself may go at any other time. One thread; the ring is
 * mapped once and unmapped in uring_free.
 */
#include "core/uring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sent {
    void *tag;
    int32_t result;
};

struct uring {
    int fd;
    struct io_uring_params p;
    uint8_t *rings;
    size_t rings_size;
    struct io_uring_sqe *sqes;
    unsigned queued; /* in the submission ring, not submitted */
    struct sent *sent;
};

static _Atomic unsigned *word(struct uring *u, unsigned offset)
{
    return (_Atomic unsigned *)(void *)(u->rings + offset);
}

static int map(struct uring *u)
{
    size_t sq = u->p.sq_off.array + u->p.sq_entries * sizeof(unsigned);
    size_t cq = u->p.cq_off.cqes + u->p.cq_entries * sizeof(struct io_uring_cqe);
    if (!(u->p.features & IORING_FEAT_SINGLE_MMAP)) {
        errno = ENOSYS;
        return -1;
    }
    u->rings_size = sq > cq ? sq : cq;
    void *rings = mmap(NULL, u->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, IORING_OFF_SQ_RING);
    void *sqes =
        mmap(NULL, u->p.sq_entries * sizeof *u->sqes, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, IORING_OFF_SQES);
    u->rings = rings == MAP_FAILED ? NULL : rings;
    u->sqes = sqes == MAP_FAILED ? NULL : sqes;
    return u->rings && u->sqes ? 0 : -1;
}

struct uring *uring_new(unsigned entries)
{
    struct uring *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->fd = (int)syscall(SYS_io_uring_setup, entries, &u->p);
    if (u->fd >= 0)
        u->sent = calloc(u->p.sq_entries, sizeof *u->sent);
    if (!u->sent || map(u) < 0) {
        int saved = errno;
        uring_free(u);
        errno = saved;
        return NULL;
    }
    return u;
}

void uring_free(struct uring *u)
{
    if (!u)
        return;
    if (u->sqes)
        munmap(u->sqes, u->p.sq_entries * sizeof *u->sqes);
    if (u->rings)
        munmap(u->rings, u->rings_size);
    if (u->fd >= 0)
        close(u->fd);
    free(u->sent);
    free(u);
}

bool uring_send(struct uring *u, int fd, const void *p, size_t n, void *tag)
{
    if (u->queued == u->p.sq_entries)
        return false;
    unsigned tail = atomic_load_explicit(word(u, u->p.sq_off.tail), memory_order_relaxed);
    unsigned at = tail & (u->p.sq_entries - 1);
    struct io_uring_sqe *e = &u->sqes[at];
    memset(e, 0, sizeof *e);
    e->opcode = IORING_OP_SEND;
    e->fd = fd;
    e->addr = (uint64_t)(uintptr_t)p;
    e->len = n < INT32_MAX ? (uint32_t)n : INT32_MAX;
    e->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    e->user_data = u->queued;
    u->sent[u->queued++] = (struct sent){tag, -EAGAIN};
    atomic_store_explicit(word(u, u->p.sq_off.array + at * (unsigned)sizeof(unsigned)), at, memory_order_relaxed);
    atomic_store_explicit(word(u, u->p.sq_off.tail), tail + 1, memory_order_release);
    return true;
}

/* Takes the results that are there; returns how many. */
static unsigned collect(struct uring *u)
{
    unsigned head = atomic_load_explicit(word(u, u->p.cq_off.head), memory_order_relaxed);
    unsigned tail = atomic_load_explicit(word(u, u->p.cq_off.tail), memory_order_acquire);
    const struct io_uring_cqe *cqes = (const void *)(u->rings + u->p.cq_off.cqes);
    unsigned n = tail - head;
    for (; head != tail; head++) {
        const struct io_uring_cqe *c = &cqes[head & (u->p.cq_entries - 1)];
        u->sent[c->user_data].result = c->res;
    }
    atomic_store_explicit(word(u, u->p.cq_off.head), head, memory_order_release);
    return n;
}

/* True: every send has its result. */
static bool submit_all(struct uring *u)
{
    unsigned submit = u->queued, left = u->queued;
    while (left > 0) {
        long r = syscall(SYS_io_uring_enter, u->fd, submit, left, IORING_ENTER_GETEVENTS, NULL, 0);
        if (r < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY)
            return false;
        if (r > 0)
            submit -= (unsigned)r;
        left -= collect(u);
    }
    return true;
}

bool uring_run(struct uring *u, void (*done)(void *arg, void *tag, int32_t result), void *arg)
{
    unsigned n = u->queued;
    bool good = n == 0 || submit_all(u);
    u->queued = 0;
    for (unsigned i = 0; i < n; i++)
        done(arg, u->sent[i].tag, u->sent[i].result);
    return good;
}
