/*
 * aio.c - sends submitted by Linux' asynchronous I/O, on libaio. On a socket that does not wait, io_submit carries out
 * each write before it returns, in order, so that all results are there and io_getevents never waits: two system calls
 * for a whole submission.
 */
#include <errno.h>
#include <libaio.h>
#include <stdlib.h>

#include "net/submit.h"

struct aio {
    struct submit submit; /* first */
    io_context_t context;
    struct iocb *control; /* one an entry, and a pointer to each */
    struct iocb **list;
    struct io_event *event;
};

static struct aio *self(struct submit *s)
{
    return (struct aio *)s;
}

static void put(struct submit *s, unsigned index, int fd, const void *p, size_t n)
{
    struct iocb *c = self(s)->list[index];
    io_prep_pwrite(c, fd, (void *)(uintptr_t)p, n, 0);
    c->data = (void *)(uintptr_t)index;
}

/* Takes n results. */
static bool collect(struct aio *a, unsigned n)
{
    while (n > 0) {
        int got = io_getevents(a->context, n, n, a->event, NULL);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            return false;
        for (int i = 0; i < got; i++)
            a->submit.sent[(uintptr_t)a->event[i].data].result = (int32_t)(long)a->event[i].res;
        n -= (unsigned)got;
    }
    return true;
}

static bool go(struct submit *s)
{
    struct aio *a = self(s);
    for (unsigned at = 0; at < s->queued;) {
        int taken = io_submit(a->context, s->queued - at, a->list + at);
        if (taken <= 0 || !collect(a, (unsigned)taken))
            return false;
        at += (unsigned)taken;
    }
    return true;
}

static void free_aio(struct submit *s)
{
    struct aio *a = self(s);
    if (a->context)
        io_destroy(a->context);
    free(a->control);
    free(a->list);
    free(a->event);
    submit_fini(s);
    free(a);
}

static const struct submit_ops ops = {"aio", put, go, free_aio};

static int set_up(struct aio *a, unsigned entries)
{
    a->control = calloc(entries, sizeof *a->control);
    a->list = calloc(entries, sizeof *a->list);
    a->event = calloc(entries, sizeof *a->event);
    if (!a->control || !a->list || !a->event)
        return -ENOMEM;
    for (unsigned i = 0; i < entries; i++)
        a->list[i] = &a->control[i];
    return io_setup((int)entries, &a->context);
}

struct submit *aio_new(unsigned entries)
{
    struct aio *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    int r = submit_init(&a->submit, &ops, entries) ? set_up(a, entries) : -ENOMEM;
    if (r == 0)
        return &a->submit;
    free_aio(&a->submit);
    errno = -r;
    return NULL;
}
