/*
 * api_push.c - POST /api/push.
 *
 * Runs on the shard that took the request; touches no other connection. The body becomes an op, the op goes to the
 * store, and its reply becomes the answer: 200 when at least one target was kept. What the answer needs beyond the op
 * waits with the connection (struct asked); when the client is gone meanwhile, http frees that and the shard the op.
 */
#include "net/api_push.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/config.h"
#include "net/api_query.h"
#include "net/http.h"
#include "net/push_answer.h"
#include "net/shard.h"
#include "proto/members.h"
#include "proto/names.h"

#define RETRY_AFTER_S 1

struct asked {
    enum codec format;
    size_t id_len;
    char id[]; /* the message's */
};

static void answer_kept(struct conn *c, const struct op *op, const struct asked *q)
{
    struct buf out;

    buf_init(&out, PUSH_ANSWER_MAX(op->push.ntargets));
    if (push_write_results(op, span_of(q->id, q->id_len), q->format, &out))
        http_answer(c, 200, q->format == CODEC_JSON ? "application/json" : "application/msgpack", buf_span(&out),
                    "Cache-Control: no-store\r\n");
    else
        http_fail(c, 503, "no_memory", "kept, but the broker is out of memory for the answer", 0);
    buf_fini(&out);
}

static void push_done(struct conn *c, void *arg, struct op *op)
{
    struct asked *q = arg;

    push_count(c->shard->m, op);
    if (push_kept(op)) {
        answer_kept(c, op, q);
    } else {
        struct push_refusal why = push_refusal(op);
        http_fail(c, why.status, why.code, why.message, why.status == 503 ? RETRY_AFTER_S : 0);
    }
    op_free(op);
    free(q);
}

static bool no_memory(struct push_fault *fault)
{
    fault->status = 503;
    fault->code = "no_memory";
    snprintf(fault->message, sizeof(fault->message), "the broker is out of memory");
    return false;
}

bool api_idempotency_key(const struct http_head *h, struct span *key, struct push_fault *fault)
{
    *key = http_field(h, "Idempotency-Key");
    if (!key->p)
        return true;
    if (key->n >= 2 && key->p[0] == '"' && key->p[key->n - 1] == '"')
        *key = span_of(key->p + 1, key->n - 2);
    if (name_id_ok(*key))
        return true;
    fault->status = 400;
    fault->code = "bad_request";
    snprintf(fault->message, sizeof(fault->message), "Idempotency-Key " MUST_BE_NAME);
    return false;
}

/* The body's id, and the header's, are one. */
static bool choose_id(struct envelope *e, struct span key, struct push_fault *fault)
{
    if (key.n == 0 || span_eq(key, e->id))
        return true;
    if (e->id.n) {
        fault->status = 400;
        fault->code = "bad_request";
        snprintf(fault->message, sizeof(fault->message), "Idempotency-Key and id say two different things");
        return false;
    }
    e->id = key;
    return true;
}

static bool add_escalate(struct op *op, const struct push_escalate *x)
{
    if (x->after_s == 0)
        return true;
    op->push.escalate.after_s = x->after_s;
    op->push.escalate.to = span_dup(span_str(x->to));
    op->push.escalate.text = span_dup(x->text);
    return op->push.escalate.to && op->push.escalate.text;
}

static bool make(const struct push_body *b, enum codec format, struct push_made *made)
{
    struct envelope e = b->envelope;
    char fresh[PUSH_ID_BYTES];

    if (e.id.n == 0)
        e.id = push_id_new(fresh);
    made->id_len = e.id.n;
    memcpy(made->id, e.id.p, e.id.n);
    made->op = push_op_new(&e, format, b->targets, b->ntargets, b->envelope.id);
    if (made->op && add_escalate(made->op, &b->escalate))
        return true;
    op_free(made->op);
    return false;
}

/* Can this broker do what `escalate` asks for? */
static bool may_escalate(const struct config *cfg, const struct push_escalate *x, struct push_fault *fault)
{
    if (x->after_s == 0 || cfg->redis)
        return true;
    fault->status = 501;
    fault->code = "not_supported";
    snprintf(fault->message, sizeof(fault->message), "%s", API_NO_RELAY);
    return false;
}

bool api_push_make(const struct config *cfg, enum codec format, struct span body, struct span key,
                   struct push_made *made, struct push_fault *fault)
{
    struct push_body b;
    bool ok = push_body_read(&b, format, body, cfg->max_payload, fault) && choose_id(&b.envelope, key, fault) &&
              may_escalate(cfg, &b.escalate, fault) && (make(&b, format, made) || no_memory(fault));

    push_body_fini(&b);
    return ok;
}

void api_push(struct conn *c, const struct http_request *r)
{
    enum codec format = http_format(&r->head);
    struct push_fault fault;
    struct push_made made;
    struct asked *q = NULL;
    struct span key;

    if (shard_congested(c->shard)) {
        http_fail(c, 503, "overloaded", "too much is waiting for the store; send it again later", RETRY_AFTER_S);
        return;
    }
    if (!api_idempotency_key(&r->head, &key, &fault) ||
        !api_push_make(c->shard->cfg, format, r->body, key, &made, &fault)) {
        http_fail(c, fault.status, fault.code, fault.message, fault.status == 503 ? RETRY_AFTER_S : 0);
    } else if (!(q = malloc(sizeof(*q) + made.id_len))) {
        op_free(made.op);
        http_fail(c, 503, "no_memory", "the broker is out of memory", RETRY_AFTER_S);
    } else {
        q->format = format;
        q->id_len = made.id_len;
        memcpy(q->id, made.id, made.id_len);
        made.op->conn = c->id;
        http_wait(c, push_done, q);
        shard_submit(c->shard, made.op);
    }
}
