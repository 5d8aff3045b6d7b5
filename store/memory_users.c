/*
 * memory_users.c - what the server API asks of a user, asked of the embedded store. Pure but for memory; dispatcher
 * thread. The answers are those of redis_user_query.c; both go through user_view.c.
 */
#include "store/memory_users.h"

#include <stdlib.h>

#include "store/memory_inbox.h"
#include "store/query.h"
#include "store/user_view.h"

enum { DEFAULT_LIMIT = 100, PAGE_BYTES = 1024 * 1024 };

static int by_name(const void *a, const void *b)
{
    const struct device_view *x = a, *y = b;
    return strcmp((const char *)x->name.p, (const char *)y->name.p); /* C strings underneath */
}

static enum op_status show_user(const struct user_inbox *b, const char *node, uint64_t now_s, struct op *op)
{
    struct user_view v = {.name = span_str(op->query.args[0])};
    if (!b)
        return query_absent(op, "This user has never been here.");
    v.top = b->top;
    v.acked = b->best;
    v.gap = b->gap;
    v.pending = user_inbox_pending(b, 0, now_s);
    if (b->registered)
        v.nodes = span_str(node);
    for (; v.ndevices < b->ndev && v.ndevices < USER_VIEW_DEVICES; v.ndevices++) {
        const struct inbox_device *d = &b->dev[v.ndevices];
        v.devices[v.ndevices] = (struct device_view){.name = span_str(d->name),
                                                     .cursor = d->seq,
                                                     .seen_s = d->seen_s,
                                                     .pending = user_inbox_pending(b, d->seq, now_s),
                                                     .named = d->named,
                                                     .attached = d->attached};
    }
    qsort(v.devices, v.ndevices, sizeof(v.devices[0]), by_name);
    return user_view_answer(&v, op);
}

static enum op_status show_inbox(const struct user_inbox *b, uint64_t now_s, struct op *op)
{
    struct op_page page = {0};
    uint64_t after = query_number(op, 2, 0), pending;
    enum op_status status = OP_FULL;
    if (b)
        page.gap = b->gap;
    if (!b ||
        user_inbox_page(b, after, (unsigned)query_number(op, 1, DEFAULT_LIMIT), PAGE_BYTES, now_s, &page, &pending))
        status = inbox_view_answer(op->query.args[0], &page, after, op);
    for (unsigned i = 0; i < page.njobs; i++)
        job_unref(page.jobs[i]);
    free(page.jobs);
    return status;
}

static bool copied(const char *from, char **to)
{
    *to = from ? span_dup(span_str(from)) : NULL;
    return !from || *to;
}

static struct op *control_of(enum control_act act, const char *user, const char *device, const char *text)
{
    struct op *op = op_new(OP_CONTROL);
    if (!op)
        return NULL;
    op->control.act = act;
    if (copied(user, &op->control.user) && copied(device, &op->control.device) && copied(text, &op->control.text))
        return op;
    op_free(op);
    return NULL;
}

static enum op_status tell(const struct user_inbox *b, struct op *op, struct op **control)
{
    char *const *args = op->query.args;
    bool disconnect = op->query.kind == QUERY_DISCONNECT, here = b && b->registered;
    const char *user = disconnect ? args[0] : args[1];
    if (here && disconnect)
        *control = control_of(CONTROL_DISCONNECT, user, args[1], args[2] ? args[2] : "disconnected by the server");
    else if (here)
        *control = control_of(op->query.kind == QUERY_ROOM_ADD ? CONTROL_JOIN : CONTROL_LEAVE, user, args[2], args[0]);
    if (here && !*control)
        return OP_FULL;
    return user_count_answer(user, SPAN_LIT("nodes"), here, op);
}

enum op_status memory_user_query(struct user_inbox *b, const char *node, uint64_t now_s, struct op *op,
                                 struct op **control)
{
    *control = NULL;
    if (op->query.kind == QUERY_USER)
        return show_user(b, node, now_s, op);
    if (op->query.kind == QUERY_INBOX)
        return show_inbox(b, now_s, op);
    if (op->query.kind == QUERY_INBOX_CLEAR)
        return user_count_answer(op->query.args[0], SPAN_LIT("removed"), b ? user_inbox_clear(b) : 0, op);
    return tell(b, op, control);
}
