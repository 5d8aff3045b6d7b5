/*
 * submit.c - what both ways of submitting sends have in common: whose they are, and how results are told.
 *
 * All results are there before the first is told. Nothing is in flight outside submit_run, hence what sends borrow, and
 * the submission itself, may go at any other time. One thread.
 */
#include "net/submit.h"

#include <errno.h>
#include <stdlib.h>

enum { AHEAD = 6 };

bool submit_init(struct submit *s, const struct submit_ops *ops, unsigned entries)
{
    *s = (struct submit){.ops = ops, .entries = entries, .sent = calloc(entries, sizeof *s->sent)};
    return s->sent != NULL;
}

void submit_fini(struct submit *s)
{
    free(s->sent);
}

void submit_free(struct submit *s)
{
    if (s)
        s->ops->free(s);
}

bool submit_send(struct submit *s, int fd, const void *p, size_t n, void *tag)
{
    if (s->queued == s->entries)
        return false;
    s->ops->put(s, s->queued, fd, p, n < INT32_MAX ? n : INT32_MAX);
    s->sent[s->queued++] = (struct submit_sent){tag, -EAGAIN};
    return true;
}

bool submit_run(struct submit *s, void (*soon)(void *arg, const void *tag),
                void (*done)(void *arg, void *tag, int32_t result), void *arg)
{
    unsigned n = s->queued;
    bool good = n == 0 || s->ops->go(s);
    s->queued = 0;
    for (unsigned i = 0; i < n && i < AHEAD; i++)
        soon(arg, s->sent[i].tag);
    for (unsigned i = 0; i < n; i++) {
        if (i + AHEAD < n)
            soon(arg, s->sent[i + AHEAD].tag);
        done(arg, s->sent[i].tag, s->sent[i].result);
    }
    return good;
}
