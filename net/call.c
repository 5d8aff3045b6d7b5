/*
 * call.c - calls between shards. See core/call.h for what travels.
 *
 * Runs on the thread of the shard it is given. A call is always on exactly one list or in one hand: in a lane, among
 * shard.unsent_calls, with its poll or room (waiting), or in the function that was given it. Calls are few (one a
 * connection), so those that find a lane full simply wait for the end of a turn.
 */
#include "net/call.h"

#include <stdlib.h>

#include "core/buf.h"
#include "core/inbox.h"
#include "core/msg.h"
#include "core/op.h"
#include "net/conn.h"
#include "net/poll.h"
#include "net/session.h"
#include "net/shard.h"
#include "net/user.h"
#include "proto/codec.h"

#define OBJECT_MAX 4096

static bool give(struct shard *s, struct call *call)
{
    unsigned to = call->back ? call->shard : shard_owner(s, span_str(call->user));
    return inbox_push(s->env->shards[to], s->index, (struct item){.kind = MSG_CALL, .ptr = call});
}

static void send_or_keep(struct shard *s, struct call *call)
{
    if (give(s, call))
        return;
    metric_add(s->m, M_LANE_FULL, 1);
    list_push(&s->unsent_calls, &call->link);
}

void calls_retry(struct shard *s)
{
    struct list *next;
    for (struct list *l = s->unsent_calls.next; l != &s->unsent_calls; l = next) {
        struct call *call = CONTAINER_OF(l, struct call, link);
        next = l->next;
        list_unlink(l);
        if (give(s, call))
            continue;
        l->prev = next->prev; /* back to where it was */
        l->next = next;
        next->prev->next = l;
        next->prev = l;
    }
}

void calls_free(struct shard *s)
{
    struct list *l;
    while ((l = list_pop(&s->unsent_calls)) != NULL)
        call_free(CONTAINER_OF(l, struct call, link));
}

void call_send(struct shard *s, struct call *call)
{
    call->shard = s->index;
    call->back = false;
    send_or_keep(s, call);
}

/* To the store. Without memory it is not known what became of it. */
static void submit(struct shard *s, enum op_kind kind, struct call *call)
{
    struct op *op = op_new(kind);
    if (op) {
        op->forward.call = call;
        shard_submit(s, op);
    } else if (call->origin) {
        call_free(call);
    } else {
        call->away = call->back = true;
        send_or_keep(s, call);
    }
}

/* ---- answers ---- */

void call_answer(struct shard *s, struct call *call, unsigned status, struct span body)
{
    free(call->body);
    call->body_len = body.n;
    call->body = (uint8_t *)span_dup(body);
    call->status = call->body ? status : 503;
    call->back = true;
    if (call->origin)
        submit(s, OP_ANSWER, call);
    else
        send_or_keep(s, call);
}

void call_fail(struct shard *s, struct call *call, struct span ref, const char *code, const char *message,
               unsigned retry_after_s)
{
    struct buf b;
    buf_init(&b, OBJECT_MAX);
    call->retry_after_s = retry_after_s;
    if (!encode_error((enum codec)call->codec, ref, code, message, retry_after_s, &b))
        b.len = 0;
    call_answer(s, call, call_status(code), buf_span(&b));
    buf_fini(&b);
}

unsigned call_status(const char *code)
{
    static const struct {
        const char *code;
        unsigned status;
    } known[] = {{"unauthorized", 401}, {"forbidden", 403},    {"not_subscribed", 409}, {"too_many_rooms", 409},
                 {"no_session", 409},   {"too_big", 413},      {"rate_limited", 429},   {"unavailable", 503},
                 {"overloaded", 503},   {"not_available", 501}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(known[i].code, code) == 0)
            return known[i].status;
    }
    return 400;
}

/* ---- what came ---- */

static void carry_out(struct shard *s, struct call *call)
{
    struct session *ses = user_session(s, span_str(call->user), span_str(call->device));
    if (ses) {
        session_call(ses, call);
        return;
    }
    call->no_session = call->origin || call->here_only; /* else the other nodes are asked */
    if (call->no_session)
        call_fail(s, call, (struct span){NULL, 0}, "no_session", "this device has no connection to this node", 0);
    else
        submit(s, OP_FORWARD, call);
}

void call_from_elsewhere(struct shard *s, struct op *op)
{
    struct call *call = op->control.call;
    op->control.call = NULL;
    op_free(op);
    call_arrived(s, call);
}

void call_back_from_elsewhere(struct shard *s, struct op *op)
{
    struct call *call = op->forward.call;
    op->forward.call = NULL;
    call->away = op->status != OP_OK;
    call->back = true;
    op_free(op);
    send_or_keep(s, call);
}

static void came_back(struct shard *s, struct call *call)
{
    struct conn *c = idmap_get(&s->conns, call->conn);
    if (c && c->state == CONN_OPEN && c->proto->call_done)
        c->proto->call_done(c, call);
    else
        call_free(call);
}

void call_arrived(struct shard *s, struct call *call)
{
    if (call->back) {
        came_back(s, call);
        return;
    }
    switch (call->kind) {
    case CALL_COMMAND:
        carry_out(s, call);
        break;
    case CALL_POLL:
        poll_ask(s, call);
        break;
    case CALL_HURRY:
        poll_hurry(s, call);
        break;
    case CALL_FORGET:
        poll_forget(s, call);
        break;
    }
}
