/*
 * api_push.c - POST /api/push.
 *
 * Runs on the shard that took the request; touches no other connection. The body becomes an op, the op goes to the
 * store, and its reply becomes the answer: 200 when at least one target was kept. What the answer needs beyond the op
 * waits with the connection (struct asked); when the client is gone meanwhile, http frees that and the shard the op.
 */
#include "net/api_push.h"

#include <stdlib.h>

#include "core/buf.h"
#include "core/config.h"
#include "core/msg.h"
#include "net/http.h"
#include "net/push.h"
#include "net/push_body.h"
#include "net/shard.h"
#include "proto/emit.h"
#include "proto/json.h"
#include "proto/mp.h"

#define RETRY_AFTER_S    1
#define RESULT_MAX_BYTES 2048 /* names and ids of 128 bytes, six each when escaped, twice, and numbers */

struct asked {
    enum codec format;
    size_t id_len;
    char id[]; /* the message's */
};

/* How a target fared; an op that failed as a whole says nothing about its targets. */
static enum op_status fate(const struct op *op, const struct op_target *t)
{
    return op->status == OP_OK ? t->status : op->status;
}

static const char *fate_code(enum op_status s)
{
    switch (s) {
    case OP_OK:
        break;
    case OP_AWAY:
        return "store_away";
    case OP_FULL:
        return "overloaded";
    case OP_REFUSED:
        return "refused";
    }
    return "ok";
}

static const char *fate_text(enum op_status s, const struct op *op)
{
    if (op->error[0])
        return op->error;
    switch (s) {
    case OP_OK:
        break;
    case OP_AWAY:
        return "the store does not answer; send it again";
    case OP_FULL:
        return "too much is waiting for the store; send it again later";
    case OP_REFUSED:
        return "the store refused it";
    }
    return "kept";
}

static bool write_result(const struct op *op, const struct op_target *t, const struct asked *q, struct buf *out)
{
    enum op_status s = fate(op, t);
    struct emit e;

    emit_begin(&e, q->format, out);
    switch (t->kind) {
    case TARGET_USER:
        emit_str(&e, SPAN_LIT("user"), span_str(t->name));
        break;
    case TARGET_ROOM:
        emit_str(&e, SPAN_LIT("room"), span_str(t->name));
        break;
    case TARGET_ALL:
        emit_bool(&e, SPAN_LIT("all"), true);
        break;
    }
    if (s == OP_OK) {
        emit_str(&e, SPAN_LIT("id"), span_of(q->id, q->id_len));
        if (t->seq)
            emit_uint(&e, SPAN_LIT("seq"), t->seq);
        emit_uint(&e, SPAN_LIT("online"), t->online);
        if (t->duplicate)
            emit_bool(&e, SPAN_LIT("duplicate"), true);
    } else {
        emit_open(&e, SPAN_LIT("error"));
        emit_str(&e, SPAN_LIT("code"), span_str(fate_code(s)));
        emit_str(&e, SPAN_LIT("message"), span_str(fate_text(s, op)));
        emit_close(&e);
    }
    return emit_end(&e);
}

/* {"results":[...]} in the request's format. */
static bool write_results(const struct op *op, const struct asked *q, struct buf *out)
{
    bool json = q->format == CODEC_JSON;
    bool ok =
        json ? buf_append_str(out, "{\"results\":[")
             : mp_write_map(out, 1) && mp_write_str(out, SPAN_LIT("results")) && mp_write_array(out, op->push.ntargets);

    for (unsigned i = 0; ok && i < op->push.ntargets; i++)
        ok = (!json || i == 0 || buf_append_byte(out, ',')) && write_result(op, &op->push.targets[i], q, out);
    return ok && (!json || buf_append_str(out, "]}"));
}

static void answer_none_kept(struct conn *c, const struct op *op)
{
    enum op_status s = fate(op, &op->push.targets[0]);

    if (s == OP_REFUSED)
        http_fail(c, 400, fate_code(s), fate_text(s, op), 0);
    else
        http_fail(c, 503, fate_code(s), fate_text(s, op), RETRY_AFTER_S);
}

static void push_done(struct conn *c, void *arg, struct op *op)
{
    struct asked *q = arg;
    struct buf out;
    unsigned kept = 0;

    push_count(c->shard->m, op);
    for (unsigned i = 0; i < op->push.ntargets; i++)
        kept += fate(op, &op->push.targets[i]) == OP_OK;
    buf_init(&out, (size_t)op->push.ntargets * RESULT_MAX_BYTES + 64);
    if (kept == 0)
        answer_none_kept(c, op);
    else if (write_results(op, q, &out))
        http_answer(c, 200, q->format == CODEC_JSON ? "application/json" : "application/msgpack", buf_span(&out),
                    "Cache-Control: no-store\r\n");
    else
        http_fail(c, 503, "no_memory", "kept, but the broker is out of memory for the answer", 0);
    buf_fini(&out);
    op_free(op);
    free(q);
}

/* The op of a body that is right, and in *q what its answer will need; NULL: no memory. */
static struct op *make_op(const struct push_body *b, enum codec format, struct asked **q)
{
    struct envelope e = b->envelope;
    char made[PUSH_ID_BYTES];
    struct op *op;

    if (e.id.n == 0)
        e.id = push_id_new(made);
    *q = malloc(sizeof(**q) + e.id.n);
    if (!*q)
        return NULL;
    (*q)->format = format;
    (*q)->id_len = e.id.n;
    memcpy((*q)->id, e.id.p, e.id.n);
    op = push_op_new(&e, format, b->targets, b->ntargets, b->envelope.id);
    if (!op)
        free(*q);
    return op;
}

void api_push(struct conn *c, const struct http_request *r)
{
    enum codec format = http_format(&r->head);
    struct push_body body;
    struct push_fault fault;
    struct asked *q = NULL;
    struct op *op;

    if (shard_congested(c->shard)) {
        http_fail(c, 503, "overloaded", "too much is waiting for the store; send it again later", RETRY_AFTER_S);
        return;
    }
    if (!push_body_read(&body, format, r->body, c->shard->cfg->max_payload, &fault)) {
        http_fail(c, fault.status, fault.code, fault.message, fault.status == 503 ? RETRY_AFTER_S : 0);
    } else if (!(op = make_op(&body, format, &q))) {
        http_fail(c, 503, "no_memory", "the broker is out of memory", RETRY_AFTER_S);
    } else {
        op->conn = c->id;
        http_wait(c, push_done, q);
        shard_submit(c->shard, op);
    }
    push_body_fini(&body);
}
