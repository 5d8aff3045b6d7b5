/*
 * redis_user_query.c - what the server API asks of a user, asked of Redis.
 *
 * Idea: each question is one function call whose argument is the op. What is wanted of present connections goes out as
 * a frame on the channels of the nodes where the user is registered, this one perhaps among them: so there is one way,
 * and what comes from here is treated like what comes from elsewhere.
 *
 * Dispatcher thread.
 */
#include "store/redis_user_query.h"

#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/config.h"
#include "proto/names.h"
#include "store/query.h"
#include "store/redis_keys.h"
#include "store/redis_page.h"
#include "store/redis_store.h"
#include "store/user_view.h"

enum { DEFAULT_LIMIT = 100, PAGE_BYTES = 1024 * 1024, DEVICE_FIELDS = 3, CONTROL_HEAD = 5 };

static const char strange[] = "Redis gave a strange answer.";

static void unsent(struct redis_store *s, struct op *op, enum redis_sent sent)
{
    if (sent != REDIS_SENT)
        redis_finish(s, op, sent == REDIS_TOO_MUCH ? OP_FULL : OP_AWAY, "Redis does not take more now.");
}

static struct span text(const struct redisReply *r)
{
    return r->type == REDIS_REPLY_STRING ? span_of(r->str, (size_t)r->len) : span_of(NULL, 0);
}

/* ---- the user ---- */

/* "seq seen kind at" */
static bool read_device(struct span value, struct device_view *d)
{
    char line[64], kind, at;
    unsigned long long seq, seen;
    if (value.n >= sizeof(line))
        return false;
    memcpy(line, value.p, value.n);
    line[value.n] = '\0';
    if (sscanf(line, "%20llu %20llu %c %c", &seq, &seen, &kind, &at) != 4)
        return false;
    d->cursor = seq;
    d->seen_s = seen;
    d->named = kind == 'n';
    d->attached = at == '*';
    return true;
}

static enum op_status show_user(struct op *op, const struct redisReply *r)
{
    struct user_view v = {.name = span_str(op->query.args[0])};
    if (!redis_integers(r, 5) || r->elements < 6)
        return OP_AWAY;
    if (redis_integer(r, 0) == 0)
        return query_absent(op, "This user has never been here.");
    v.top = redis_integer(r, 1);
    v.acked = redis_integer(r, 2);
    v.gap = redis_integer(r, 3);
    v.pending = redis_integer(r, 4);
    v.nodes = text(r->element[5]);
    for (size_t i = 6; i + DEVICE_FIELDS <= r->elements && v.ndevices < USER_VIEW_DEVICES; i += DEVICE_FIELDS) {
        struct device_view *d = &v.devices[v.ndevices];
        *d = (struct device_view){.name = text(r->element[i])};
        if (r->element[i + 2]->type == REDIS_REPLY_INTEGER)
            d->pending = (uint64_t)r->element[i + 2]->integer;
        v.ndevices += read_device(text(r->element[i + 1]), d);
    }
    return user_view_answer(&v, op);
}

static enum op_status show_inbox(struct redis_store *s, struct op *op, const struct redisReply *r)
{
    struct op_page page = {0};
    uint64_t after = query_number(op, 2, 0);
    enum op_status status = OP_FULL;
    if (!redis_integers(r, 3))
        return OP_AWAY;
    page.top = redis_integer(r, 0);
    page.gap = redis_integer(r, 1);
    page.more = redis_integer(r, 2) != 0;
    if (redis_page_read(s, TARGET_USER, op->query.args[0], r, 3, &page, &after))
        status = inbox_view_answer(op->query.args[0], &page, after, op);
    redis_page_drop(&page);
    return status;
}

static enum op_status show_count(struct op *op, const struct redisReply *r, struct span key)
{
    if (r->type != REDIS_REPLY_INTEGER || r->integer < 0)
        return OP_AWAY;
    bool room = op->query.kind == QUERY_ROOM_ADD || op->query.kind == QUERY_ROOM_REMOVE;
    return user_count_answer(op->query.args[room], key, (uint64_t)r->integer, op);
}

/* channel, address, ... */
static enum op_status show_addresses(struct op *op, const struct redisReply *r)
{
    struct span address[RELAY_CHANNELS] = {{NULL, 0}};
    if (r->type != REDIS_REPLY_ARRAY)
        return OP_AWAY;
    for (size_t i = 0; i + 1 < r->elements; i += 2) {
        unsigned channel = relay_channel(text(r->element[i]));
        if (channel < RELAY_CHANNELS)
            address[channel] = text(r->element[i + 1]);
    }
    return user_addresses_answer(op->query.args[0], address, op);
}

static enum op_status show_set(struct op *op, const struct redisReply *r)
{
    struct span address[RELAY_CHANNELS];
    if (r->type != REDIS_REPLY_INTEGER)
        return OP_AWAY;
    for (unsigned i = 0; i < RELAY_CHANNELS; i++)
        address[i] = span_str(op->query.args[1 + i]);
    return user_addresses_answer(op->query.args[0], address, op);
}

static enum op_status show(struct redis_store *s, struct op *op, const struct redisReply *r)
{
    if (op->query.kind == QUERY_USER)
        return show_user(op, r);
    if (op->query.kind == QUERY_INBOX)
        return show_inbox(s, op, r);
    if (op->query.kind == QUERY_ADDRESSES)
        return show_addresses(op, r);
    if (op->query.kind == QUERY_ADDRESSES_SET)
        return show_set(op, r);
    return show_count(op, r, op->query.kind == QUERY_INBOX_CLEAR ? SPAN_LIT("removed") : SPAN_LIT("nodes"));
}

static void on_answer(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct op *op = arg;
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (status == OP_OK) {
        status = show(s, op, r);
        snprintf(why, sizeof(why), "%s", strange);
    }
    redis_finish_now(s, op, status, why);
}

/* ---- asking ---- */

static void ask(struct redis_store *s, const char *function, unsigned nkeys, struct span user)
{
    uint8_t part = redis_part(user);
    redis_fcall(s, function, nkeys);
    redis_key(s, &s->args, part, "m", user);
    if (nkeys > 1)
        redis_key(s, &s->args, part, "q", user);
}

static void ask_control(struct redis_store *s, const struct op_query *q, const char *act, unsigned user,
                        const char *device, const char *what)
{
    ask(s, "crier_control", 1, span_str(q->args[user]));
    redis_channel(s, &s->args, "n:", span_of(NULL, 0));
    resp_str(&s->args, "PUBLISH");
    resp_str(&s->args, act);
    resp_arg(&s->args, span_str(q->args[user]));
    resp_str(&s->args, device ? device : "");
    resp_str(&s->args, what);
}

static void ask_addresses(struct redis_store *s, struct span user)
{
    resp_reset(&s->args);
    resp_str(&s->args, "HGETALL");
    redis_key(s, &s->args, redis_part(user), "addr", user);
}

static void set_addresses(struct redis_store *s, const struct op_query *q)
{
    struct span user = span_str(q->args[0]);
    redis_fcall(s, "crier_addresses_set", 1);
    redis_key(s, &s->args, redis_part(user), "addr", user);
    for (unsigned i = 0; i < RELAY_CHANNELS; i++) {
        if (!q->args[1 + i])
            continue;
        resp_str(&s->args, relay_channels[i]);
        resp_str(&s->args, q->args[1 + i]);
    }
}

void redis_user_query(struct redis_store *s, struct op *op)
{
    const struct op_query *q = &op->query;
    if (q->kind == QUERY_USER) {
        ask(s, "crier_user_info", 2, span_str(q->args[0]));
    } else if (q->kind == QUERY_INBOX) {
        ask(s, "crier_fetch", 2, span_str(q->args[0]));
        resp_u64(&s->args, query_number(op, 2, 0));
        resp_u64(&s->args, query_number(op, 1, DEFAULT_LIMIT));
        resp_u64(&s->args, PAGE_BYTES);
    } else if (q->kind == QUERY_INBOX_CLEAR) {
        ask(s, "crier_inbox_clear", 2, span_str(q->args[0]));
    } else if (q->kind == QUERY_ADDRESSES) {
        ask_addresses(s, span_str(q->args[0]));
    } else if (q->kind == QUERY_ADDRESSES_SET) {
        set_addresses(s, q);
    } else if (q->kind == QUERY_DISCONNECT) {
        ask_control(s, q, "D", 0, q->args[1], q->args[2] ? q->args[2] : "disconnected by the server");
    } else {
        ask_control(s, q, q->kind == QUERY_ROOM_ADD ? "S" : "U", 1, q->args[2], q->args[0]);
    }
    unsent(s, op, redis_send(s, on_answer, op, false));
}

/* ---- what comes ---- */

static bool act_of(uint8_t letter, enum control_act *act)
{
    switch (letter) {
    case 'D':
        *act = CONTROL_DISCONNECT;
        return true;
    case 'S':
        *act = CONTROL_JOIN;
        return true;
    case 'U':
        *act = CONTROL_LEAVE;
        return true;
    default:
        return false;
    }
}

bool redis_take_control(struct redis_store *s, struct span f)
{
    enum control_act act;
    if (f.n < CONTROL_HEAD || f.p[0] != 'X' || !act_of(f.p[1], &act))
        return false;
    size_t device = f.p[2], user = redis_big_endian(f.p + 3, 2);
    if (user == 0 || f.n < CONTROL_HEAD + device + user)
        return false;
    const uint8_t *p = f.p + CONTROL_HEAD;
    struct span room = span_of(p + device + user, f.n - CONTROL_HEAD - device - user);
    if (act != CONTROL_DISCONNECT && !name_room_ok(room))
        return false;
    struct op *op = op_new(OP_CONTROL);
    if (!op)
        return true;
    op->control.act = act;
    op->control.device = device ? span_dup(span_of(p, device)) : NULL;
    op->control.user = span_dup(span_of(p + device, user));
    op->control.text = span_dup(room);
    if (op->control.user && op->control.text && (!device || op->control.device))
        s->up.done(s->up.arg, op);
    else
        op_free(op);
    return true;
}
