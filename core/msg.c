/*
 * msg.c - making and freeing what travels between threads.
 *
 * Any thread, each op held by one at a time. Every pointer in an op is the op's own; op_free frees whatever is there,
 * in the request half and in the reply half, so an op may be given up in any state.
 */
#include "core/msg.h"

#include <stdlib.h>

#include "core/inbox.h"
#include "core/log.h"

struct behind *behind_new(struct span user, uint64_t seq)
{
    if (user.n > SIZE_MAX - sizeof(struct behind) - 1)
        return NULL;
    struct behind *b = malloc(sizeof(*b) + user.n + 1);
    if (!b)
        return NULL;
    b->seq = seq;
    b->len = user.n;
    if (user.n)
        memcpy(b->user, user.p, user.n);
    b->user[user.n] = '\0';
    return b;
}

struct op *op_new(enum op_kind kind)
{
    struct op *op = calloc(1, sizeof(*op));
    if (op)
        op->kind = kind;
    return op;
}

static void page_free(struct op_page *page)
{
    for (unsigned i = 0; page->jobs && i < page->njobs; i++)
        job_unref(page->jobs[i]);
    free(page->jobs);
}

static void ack_free(struct op_ack *ack)
{
    for (unsigned i = 0; ack->v && i < ack->n; i++) {
        free(ack->v[i].user);
        free(ack->v[i].device);
    }
    free(ack->v);
}

static void push_free(struct op_push *push)
{
    for (unsigned i = 0; push->targets && i < push->ntargets; i++)
        free(push->targets[i].name);
    free(push->targets);
    free(push->payload);
    free(push->id);
}

void op_free(struct op *op)
{
    if (!op)
        return;
    switch (op->kind) {
    case OP_ATTACH:
        free(op->attach.user);
        free(op->attach.device);
        page_free(&op->attach.page);
        break;
    case OP_DETACH:
        free(op->detach.user);
        free(op->detach.device);
        break;
    case OP_FETCH:
        free(op->fetch.user);
        page_free(&op->fetch.page);
        break;
    case OP_ACK:
        ack_free(&op->ack);
        break;
    case OP_PUSH:
        push_free(&op->push);
        break;
    case OP_INTEREST:
        free(op->interest.room);
        break;
    }
    free(op);
}

void msg_drop(void *arg, struct item it)
{
    (void)arg;
    switch ((enum msg_kind)it.kind) {
    case MSG_JOB:
        job_unref(it.ptr);
        break;
    case MSG_BEHIND:
        free(it.ptr);
        break;
    case MSG_OP:
        op_free(it.ptr);
        break;
    case MSG_MOVE:
        log_line(LOG_ERROR, "msg", "a moving connection was left in an inbox: its socket stays open");
        break;
    case MSG_STORE_STATE:
    case MSG_STOP:
    case MSG_STOPPED:
        break;
    }
}
