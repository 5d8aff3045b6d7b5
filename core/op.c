/*
 * op.c - making and freeing ops.
 *
 * Any thread, each op held by one at a time. Every pointer in an op is the op's own; op_free frees whatever is there,
 * in the request half and in the reply half, so an op may be given up in any state.
 */
#include "core/op.h"
#include "core/call.h"

#include <stdlib.h>

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
    free(push->escalate.to);
    free(push->escalate.text);
}

static void query_free(struct op_query *q)
{
    for (unsigned i = 0; i < QUERY_ARGS; i++)
        free(q->args[i]);
    free(q->body);
    free(q->reply);
}

void track_free(struct op_track *t)
{
    for (unsigned i = 0; t->v && i < t->n; i++) {
        job_unref(t->v[i].job);
        free(t->v[i].device);
    }
    free(t->v);
    *t = (struct op_track){0};
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
    case OP_PRESENCE:
        free(op->presence.room);
        free(op->presence.user);
        break;
    case OP_WATCH:
        free(op->watch.room);
        break;
    case OP_QUERY:
        query_free(&op->query);
        break;
    case OP_CONTROL:
        free(op->control.user);
        free(op->control.device);
        free(op->control.text);
        call_free(op->control.call);
        break;
    case OP_TRACK:
        track_free(&op->track);
        break;
    case OP_FORWARD:
    case OP_ANSWER:
        call_free(op->forward.call);
        break;
    }
    free(op);
}
