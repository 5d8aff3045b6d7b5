/*
 * push.c - builds OP_PUSH ops for the server API and for clients' sends.
 *
 * The payload is a P of the Redis contract (an envelope), built once here and stored as it is: JSON data stays the same
 * bytes all the way to a JSON client. An op owns all it points to; op_free takes it apart, half-built ones too.
 */
#include "net/push.h"

#include <stdlib.h>

#include "core/buf.h"
#include "core/hash.h"
#include "core/metrics.h"

struct span push_id_new(char out[PUSH_ID_BYTES])
{
    random_word(out, PUSH_ID_BYTES - 1);
    return span_of(out, PUSH_ID_BYTES - 1);
}

/* True when the op has its own copy of every target's name. */
static bool copy_targets(struct op_push *p, const struct push_target *t, unsigned n)
{
    p->targets = calloc(n, sizeof(p->targets[0]));
    if (!p->targets)
        return false;
    p->ntargets = n;
    for (unsigned i = 0; i < n; i++) {
        p->targets[i].kind = t[i].kind;
        if (t[i].kind != TARGET_ALL && !(p->targets[i].name = span_dup(t[i].name)))
            return false;
    }
    return true;
}

static bool write_payload(struct op_push *p, const struct envelope *e, enum codec format)
{
    struct buf out;
    bool ok;

    /* Data of another format grows when it is written in this one: a byte to "\u00XX" at worst. */
    buf_init(&out, e->data.n * 6 + PUSH_HEAD_BYTES);
    ok = format == CODEC_JSON ? envelope_write_json(e, &out) : envelope_write_msgpack(e, &out);
    if (ok)
        p->payload = buf_steal(&out, &p->payload_len);
    buf_fini(&out);
    return ok && p->payload;
}

struct op *push_op_new(const struct envelope *e, enum codec format, const struct push_target *t, unsigned n,
                       struct span idempotency_id)
{
    struct op *op;

    if (n == 0 || n > PUSH_TARGETS || !(op = op_new(OP_PUSH)))
        return NULL;
    op->push.ttl_s = e->ttl_s;
    op->push.priority = e->priority;
    if (!copy_targets(&op->push, t, n) || !write_payload(&op->push, e, format) ||
        (idempotency_id.n && !(op->push.id = span_dup(idempotency_id)))) {
        op_free(op);
        return NULL;
    }
    return op;
}

void push_count(struct metrics *m, const struct op *op)
{
    for (unsigned i = 0; i < op->push.ntargets; i++) {
        const struct op_target *t = &op->push.targets[i];
        if (op->status != OP_OK || t->status != OP_OK)
            continue;
        switch (t->kind) {
        case TARGET_USER:
            metric_add(m, M_PUSH_USER, 1);
            break;
        case TARGET_ROOM:
            metric_add(m, M_PUSH_ROOM, 1);
            break;
        case TARGET_ALL:
            metric_add(m, M_PUSH_ALL, 1);
            break;
        }
    }
}
