/*
 * memory_ledger_query.c - questions to the ledger of the embedded store, and sending again. Dispatcher thread. The
 * answers are those of redis_ledger_query.c.
 */
#include <stdlib.h>

#include "core/clock.h"
#include "proto/job_codec.h"
#include "store/memory_inbox.h"
#include "store/memory_state.h"
#include "store/query.h"
#include "store/user_view.h"

enum { DEFAULT_LIMIT = 100, ANSWER_HEAD = 4096, TARGETS_A_CALL = 5000 };

struct asked {
    struct op *op;
    struct span id;
    unsigned limit, shown;
    struct emit e;
};

static const struct user_inbox *box_of(const struct memory_store *s, const struct tracked_target *t)
{
    const struct job_head *h = &tracked_job(t)->head;
    return h->kind == TARGET_USER ? map_get(&s->users, h->target) : NULL;
}

static void show(struct memory_store *s, struct asked *a, const struct tracked_target *t)
{
    struct ledger_target view;
    memory_ledger_view(&s->ledger, t, box_of(s, t), clock_real_us() / 1000000, &view);
    if (a->op->query.kind == QUERY_UNDELIVERED && ledger_delivered(&view))
        return;
    a->shown++;
    ledger_emit(&view, &a->e);
}

/* The entry as it is in the inbox, as a job of its own that says so. */
static struct job *again(const struct job *j)
{
    struct job *copy = job_from_bytes(span_of(j->bytes, j->len));
    if (!copy)
        return NULL;
    copy->again = true;
    copy->born_us = clock_mono_us();
    return copy;
}

static bool show_again(struct memory_store *s, const struct tracked_target *t, const struct user_inbox *box)
{
    struct job *j = box->registered ? again(tracked_job(t)) : NULL;
    if (box->registered && !j)
        return false;
    if (!memory_ledger_attempt(&s->ledger, tracked_job(t), tracked_ttl(t), box->registered, clock_real_us())) {
        job_unref(j);
        return false;
    }
    if (j)
        memory_deliver(s, j);
    return true;
}

/* False: there is no room. */
static bool retry(struct memory_store *s, struct asked *a, const struct tracked_target *t)
{
    const struct user_inbox *box = box_of(s, t);
    struct ledger_target view;
    enum ledger_retry result = RETRY_HAS_IT;
    memory_ledger_view(&s->ledger, t, box, clock_real_us() / 1000000, &view);
    uint64_t seq = view.seq;
    unsigned nodes = 0;
    if (view.kind != TARGET_USER)
        return true; /* counted, not named */
    if (!ledger_delivered(&view) && view.waiting) {
        result = RETRY_SHOWN;
        nodes = box->registered;
        if (!show_again(s, t, box))
            return false;
    } else if (!ledger_delivered(&view)) {
        result = tracked_ttl(t) ? RETRY_STORED : RETRY_LIVE;
        if (!memory_resend(s, tracked_job(t), tracked_ttl(t), &seq, &nodes))
            return false;
    }
    a->shown++;
    ledger_emit_retry(tracked_job(t)->head.target, result, seq, nodes, &a->e);
    return true;
}

/* Targets in order as far as the limit goes; *looked: how many were looked at. */
static bool walk(struct memory_store *s, struct asked *a, struct tracked_target *const *v, unsigned n, unsigned *looked)
{
    bool good = true;
    for (*looked = 0; good && *looked < n && a->shown < a->limit; (*looked)++) {
        if (a->op->query.kind == QUERY_RETRY)
            good = retry(s, a, v[*looked]);
        else
            show(s, a, v[*looked]);
    }
    return good;
}

static enum op_status answer(struct memory_store *s, struct asked *a, struct tracked_target *const *v, unsigned n,
                             bool more)
{
    struct buf out;
    unsigned looked;
    char *cursor = NULL;
    bool retrying = a->op->query.kind == QUERY_RETRY;
    buf_init(&out, ANSWER_HEAD + (size_t)a->limit * LEDGER_TARGET_BYTES);
    emit_begin(&a->e, query_codec(a->op), &out);
    emit_str(&a->e, SPAN_LIT("id"), a->id);
    emit_list(&a->e, retrying ? SPAN_LIT("results") : SPAN_LIT("recipients"));
    bool good = walk(s, a, v, n, &looked);
    emit_close(&a->e);
    if (looked && (cursor = span_dup(tracked_field(v[looked - 1]))))
        emit_str(&a->e, SPAN_LIT("cursor"), span_str(cursor));
    emit_bool(&a->e, SPAN_LIT("more"), more || looked < n);
    free(cursor);
    return query_reply(a->op, &out, emit_end(&a->e) && good);
}

static enum op_status not_known(struct op *op)
{
    return query_absent(op, "The ledger knows nothing of this message: it was not tracked, or so long ago that it is "
                            "forgotten.");
}

enum op_status memory_ledger_query(struct memory_store *s, struct op *op)
{
    const struct op_query *q = &op->query;
    struct asked a = {op, span_str(q->args[0]), (unsigned)query_number(op, 2, DEFAULT_LIMIT), 0, {0}};
    unsigned n = 0;
    bool more = false, known = false;
    enum op_status status;
    if (q->args[1]) {
        struct tracked_target *t = memory_ledger_find(&s->ledger, TARGET_USER, span_str(q->args[1]), a.id);
        return t ? answer(s, &a, &t, 1, false) : not_known(op);
    }
    struct tracked_target **v =
        memory_ledger_targets(&s->ledger, a.id, span_str(q->args[3]), TARGETS_A_CALL, &n, &more, &known);
    if (!v)
        return OP_FULL;
    status = known ? answer(s, &a, v, n, more) : not_known(op);
    free(v);
    return status;
}
