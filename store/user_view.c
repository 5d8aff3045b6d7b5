/*
 * user_view.c - users and inboxes as the server API shows them. Pure but for memory; dispatcher thread.
 */
#include "store/user_view.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/emit.h"
#include "proto/members.h"
#include "store/query.h"

enum { DEVICE_BYTES = 1024, HEAD_BYTES = 4096, NODE_GROWTH = 4, MESSAGE_BYTES = 4096, DATA_GROWTH = 6 };

uint64_t query_number(const struct op *op, unsigned arg, uint64_t otherwise)
{
    const char *text = op->query.args[arg];
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void emit_nodes(struct emit *e, struct span nodes)
{
    emit_list(e, SPAN_LIT("nodes"));
    while (nodes.n) {
        struct span node = span_cut(&nodes, ' ');
        if (node.n)
            emit_item_str(e, node);
    }
    emit_close(e);
}

static void emit_devices(struct emit *e, const struct user_view *v)
{
    emit_list(e, SPAN_LIT("devices"));
    for (unsigned i = 0; i < v->ndevices; i++) {
        const struct device_view *d = &v->devices[i];
        emit_item(e);
        emit_str(e, SPAN_LIT("device"), d->name);
        emit_bool(e, SPAN_LIT("named"), d->named);
        emit_bool(e, SPAN_LIT("attached"), d->attached && v->nodes.n);
        emit_uint(e, SPAN_LIT("cursor"), d->cursor);
        emit_uint(e, SPAN_LIT("pending"), d->pending);
        emit_uint(e, SPAN_LIT("seen"), d->seen_s * 1000);
        emit_close(e);
    }
    emit_close(e);
}

enum op_status user_view_answer(const struct user_view *v, struct op *op)
{
    struct buf out;
    struct emit e;
    buf_init(&out, HEAD_BYTES + v->nodes.n * NODE_GROWTH + (size_t)v->ndevices * DEVICE_BYTES);
    emit_begin(&e, query_codec(op), &out);
    emit_str(&e, SPAN_LIT("user"), v->name);
    emit_bool(&e, SPAN_LIT("online"), v->nodes.n > 0);
    emit_nodes(&e, v->nodes);
    emit_uint(&e, SPAN_LIT("seq"), v->top);
    emit_uint(&e, SPAN_LIT("acked"), v->acked);
    if (v->gap)
        emit_uint(&e, SPAN_LIT("gap"), v->gap);
    emit_uint(&e, SPAN_LIT("pending"), v->pending);
    emit_devices(&e, v);
    return query_reply(op, &out, emit_end(&e));
}

static void emit_message(struct emit *e, const struct job_head *h)
{
    emit_item(e);
    emit_str(e, SPAN_LIT("id"), h->id);
    emit_uint(e, SPAN_LIT("seq"), h->seq);
    emit_uint(e, SPAN_LIT("ts"), h->ts_ms);
    emit_uint(e, SPAN_LIT("expires"), h->expires_s * 1000);
    if (h->event.n)
        emit_str(e, SPAN_LIT("event"), h->event);
    if (h->from.n)
        emit_str(e, SPAN_LIT("from"), h->from);
    if (h->priority != PRIO_NORMAL)
        emit_str(e, SPAN_LIT("priority"), members_priority_name(h->priority));
    if (h->track)
        emit_bool(e, SPAN_LIT("track"), true);
    emit_data(e, SPAN_LIT("data"), h->format, h->data);
    emit_close(e);
}

enum op_status inbox_view_answer(const char *user, const struct op_page *page, uint64_t after, struct op *op)
{
    struct buf out;
    struct emit e;
    char cursor[24];
    size_t most = HEAD_BYTES;
    for (unsigned i = 0; i < page->njobs; i++) {
        most += page->jobs[i]->head.data.n * DATA_GROWTH + MESSAGE_BYTES;
        after = page->jobs[i]->head.seq;
    }
    buf_init(&out, most);
    emit_begin(&e, query_codec(op), &out);
    emit_str(&e, SPAN_LIT("user"), span_str(user));
    emit_list(&e, SPAN_LIT("messages"));
    for (unsigned i = 0; i < page->njobs; i++)
        emit_message(&e, &page->jobs[i]->head);
    emit_close(&e);
    emit_uint(&e, SPAN_LIT("seq"), page->top);
    if (page->gap)
        emit_uint(&e, SPAN_LIT("gap"), page->gap);
    snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long)after);
    emit_str(&e, SPAN_LIT("cursor"), span_str(cursor));
    emit_bool(&e, SPAN_LIT("more"), page->more);
    return query_reply(op, &out, emit_end(&e));
}

enum op_status user_count_answer(const char *user, struct span key, uint64_t n, struct op *op)
{
    struct buf out;
    struct emit e;
    buf_init(&out, HEAD_BYTES);
    emit_begin(&e, query_codec(op), &out);
    emit_str(&e, SPAN_LIT("user"), span_str(user));
    emit_uint(&e, key, n);
    return query_reply(op, &out, emit_end(&e));
}

enum op_status user_addresses_answer(const char *user, const struct span address[RELAY_CHANNELS], struct op *op)
{
    struct buf out;
    struct emit e;
    buf_init(&out, HEAD_BYTES + RELAY_CHANNELS * MESSAGE_BYTES);
    emit_begin(&e, query_codec(op), &out);
    emit_str(&e, SPAN_LIT("user"), span_str(user));
    emit_open(&e, SPAN_LIT("addresses"));
    for (unsigned i = 0; i < RELAY_CHANNELS; i++) {
        if (address[i].n)
            emit_str(&e, span_str(relay_channels[i]), address[i]);
    }
    emit_close(&e);
    return query_reply(op, &out, emit_end(&e));
}
