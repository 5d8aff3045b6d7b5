/*
 * memory_query.c - questions to the embedded store, answered from its tables. Dispatcher thread.
 */
#include <stdlib.h>

#include "core/clock.h"
#include "store/members.h"
#include "store/memory_inbox.h"
#include "store/memory_state.h"
#include "store/memory_users.h"
#include "store/room_query.h"

/* A cluster of one. */
static enum op_status ask_members(struct memory_store *s, struct op *op)
{
    struct members m;
    struct store_about about = {.address = "-"};
    struct buf info;
    enum op_status status = OP_FULL;
    members_init(&m);
    buf_init(&info, 1024);
    if (s->up.about)
        s->up.about(s->up.arg, &about);
    struct member *me = members_add(&m, span_str(s->node));
    if (me && member_write_info(&about, &info)) {
        me->since_ms = about.since_ms;
        member_read_info(me, buf_span(&info));
        status = members_answer(&m, s->node, op);
    }
    buf_fini(&info);
    members_fini(&m);
    return status;
}

static void add_names(const struct memory_store *s, struct room_names *names)
{
    size_t it = 0;
    const struct wanted_room *r;
    while ((r = map_next(&s->rooms, &it)) != NULL)
        room_names_add(names, span_of(r->name, r->len));
    const struct user_inbox *b;
    it = 0;
    while ((b = map_next(&s->histories, &it)) != NULL) {
        if (b->registered || b->count)
            room_names_add(names, span_of(b->name, b->len));
    }
}

static enum op_status ask_names(struct memory_store *s, struct op *op, const struct room_ask *a)
{
    struct room_names names = {0};
    add_names(s, &names);
    enum op_status status = room_answer_names(op, a, &names);
    room_names_fini(&names);
    return status;
}

static enum op_status ask_room(struct memory_store *s, struct op *op, const struct room_ask *a)
{
    const struct user_inbox *b = map_get(&s->histories, a->room);
    struct room_facts f = {.users = memory_presence_count(&s->presence, a->room)};
    f.nodes = map_get(&s->rooms, a->room) != NULL || (b && b->registered);
    if (b) {
        f.top = b->top;
        f.entries = b->count;
        f.oldest = b->count ? b->ring[b->first]->head.seq : 0;
    }
    return room_answer_facts(op, a, &f);
}

static enum op_status ask_history(struct memory_store *s, struct op *op, const struct room_ask *a)
{
    const struct user_inbox *b = map_get(&s->histories, a->room);
    struct op_page page = {0};
    uint64_t pending;
    bool good = true;
    if (b && a->has_since)
        good = user_inbox_page(b, a->since, a->limit, MEMORY_PAGE_BYTES, clock_real_us() / 1000000, &page, &pending);
    else if (b)
        good = user_inbox_tail(b, a->before, a->limit, MEMORY_PAGE_BYTES, clock_real_us() / 1000000, &page);
    enum op_status status = good ? room_answer_history(op, a, &page) : OP_FULL;
    for (unsigned i = 0; i < page.njobs; i++)
        job_unref(page.jobs[i]);
    free(page.jobs);
    return status;
}

static enum op_status ask_presence(struct memory_store *s, struct op *op, const struct room_ask *a)
{
    size_t n;
    uint64_t seq;
    struct span *names = memory_presence_list(&s->presence, a->room, a->after, a->limit, &n, &seq);
    if (!names)
        return OP_FULL;
    bool more = n > a->limit;
    enum op_status status = room_answer_presence(op, a, seq, memory_presence_count(&s->presence, a->room), names,
                                                 more ? a->limit : n, more);
    free(names);
    return status;
}

static enum op_status ask_rooms(struct memory_store *s, struct op *op)
{
    struct room_ask a;
    if (!room_ask_read(s->cfg, op, &a))
        return OP_REFUSED;
    if (op->query.kind == QUERY_ROOMS)
        return ask_names(s, op, &a);
    if (op->query.kind == QUERY_ROOM)
        return ask_room(s, op, &a);
    return op->query.kind == QUERY_ROOM_HISTORY ? ask_history(s, op, &a) : ask_presence(s, op, &a);
}

/* What is wanted of connections goes out before the answer. */
static enum op_status ask_user(struct memory_store *s, struct op *op, unsigned user)
{
    struct user_inbox *b = map_get(&s->users, span_str(op->query.args[user]));
    size_t before = b ? b->bytes : 0;
    struct op *control;
    enum op_status status = memory_user_query(b, s->node, clock_real_us() / 1000000, op, &control);
    if (b)
        s->bytes = s->bytes - before + b->bytes;
    if (control)
        memory_control(s, control);
    return status;
}

enum op_status memory_query(struct memory_store *s, struct op *op)
{
    switch (op->query.kind) {
    case QUERY_NODES:
    case QUERY_STATS:
        return ask_members(s, op);
    case QUERY_ROOMS:
    case QUERY_ROOM:
    case QUERY_ROOM_HISTORY:
    case QUERY_ROOM_PRESENCE:
        return ask_rooms(s, op);
    case QUERY_MESSAGE:
    case QUERY_UNDELIVERED:
    case QUERY_RETRY:
        return memory_ledger_query(s, op);
    case QUERY_USER:
    case QUERY_INBOX:
    case QUERY_INBOX_CLEAR:
    case QUERY_DISCONNECT:
        return ask_user(s, op, 0);
    case QUERY_ROOM_ADD:
    case QUERY_ROOM_REMOVE:
        return ask_user(s, op, 1);
    case QUERY_ADDRESSES:
    case QUERY_ADDRESSES_SET: /* net has refused them */
        break;
    }
    return OP_REFUSED;
}
