/*
 * redis_room_query.c - questions about rooms, asked of Redis.
 *
 * Idea: a question is one call whose argument is the op, or several (`asking`) that the last answer ends. The list of
 * all rooms is the channels of rooms that somebody on some node is in, and of each partition the rooms with history
 * that hold something or have a member.
 *
 * Dispatcher thread.
 */
#include "store/redis_room_query.h"

#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/config.h"
#include "store/redis_keys.h"
#include "store/redis_page.h"
#include "store/redis_store.h"
#include "store/room_query.h"

static const char strange[] = "Redis gave a strange answer.";

static void unsent(struct redis_store *s, struct op *op, enum redis_sent sent)
{
    if (sent != REDIS_SENT)
        redis_finish(s, op, sent == REDIS_TOO_MUCH ? OP_FULL : OP_AWAY, "Redis does not take more now.");
}

/* The arguments again, for the answer: they were good when the question was sent. */
static struct room_ask ask_of(const struct redis_store *s, struct op *op)
{
    struct room_ask a;
    if (!room_ask_read(s->cfg, op, &a))
        a = (struct room_ask){0};
    return a;
}

/* ---- history ---- */

static void on_history(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct op *op = arg;
    struct room_ask a = ask_of(s, op);
    struct op_page page = {0};
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    size_t head = a.has_since ? 3 : 2; /* crier_fetch says something of a gap between */
    if (status == OP_OK && !redis_integers(r, head)) {
        status = OP_AWAY;
        snprintf(why, sizeof(why), "%s", strange);
    }
    if (status == OP_OK) {
        uint64_t reached;
        page.top = redis_integer(r, 0);
        page.more = redis_integer(r, head - 1) != 0;
        status = redis_page_read(s, TARGET_ROOM, op->query.args[0], r, head, &page, &reached)
                     ? room_answer_history(op, &a, &page)
                     : OP_FULL;
        redis_page_drop(&page);
    }
    redis_finish_now(s, op, status, why);
}

static void ask_history(struct redis_store *s, struct op *op, const struct room_ask *a)
{
    uint8_t part = redis_part(a->room);
    redis_fcall(s, a->has_since ? "crier_fetch" : "crier_room_history", 2);
    redis_key(s, &s->args, part, "R", a->room);
    redis_key(s, &s->args, part, "h", a->room);
    resp_u64(&s->args, a->has_since ? a->since : a->before);
    resp_u64(&s->args, a->limit);
    resp_u64(&s->args, REDIS_PAGE_BYTES);
    unsent(s, op, redis_send(s, on_history, op, false));
}

/* ---- presence ---- */

static enum op_status show_presence(struct op *op, const struct room_ask *a, const struct redisReply *r)
{
    size_t n = r->elements - 2;
    bool more = n > a->limit;
    struct span *names = calloc(n ? n : 1, sizeof(*names));
    if (!names)
        return OP_FULL;
    if (more)
        n = a->limit;
    for (size_t i = 0; i < n; i++) {
        const struct redisReply *e = r->element[i + 2];
        names[i] = e->type == REDIS_REPLY_STRING ? span_of(e->str, (size_t)e->len) : span_of(NULL, 0);
    }
    enum op_status status = room_answer_presence(op, a, redis_integer(r, 0), redis_integer(r, 1), names, n, more);
    free(names);
    return status;
}

static void on_presence(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct op *op = arg;
    struct room_ask a = ask_of(s, op);
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (status == OP_OK && !redis_integers(r, 2)) {
        status = OP_AWAY;
        snprintf(why, sizeof(why), "%s", strange);
    }
    if (status == OP_OK)
        status = show_presence(op, &a, r);
    redis_finish_now(s, op, status, why);
}

static void ask_presence(struct redis_store *s, struct op *op, const struct room_ask *a)
{
    uint8_t part = redis_part(a->room);
    redis_fcall(s, "crier_presence", 2);
    redis_key(s, &s->args, part, "p", a->room);
    redis_key(s, &s->args, part, "v", a->room);
    resp_arg(&s->args, a->after);
    resp_u64(&s->args, (uint64_t)a->limit + 1); /* one more, to see whether there is one */
    unsent(s, op, redis_send(s, on_presence, op, false));
}

/* ---- several calls ---- */

struct asking {
    struct op *op;
    unsigned left; /* calls under way, and one for whoever is still asking */
    bool in_submit;
    enum op_status status;
    char why[96];
    struct room_facts facts;
    struct room_names names;
};

static struct asking *asking_new(struct redis_store *s, struct op *op)
{
    struct asking *q = calloc(1, sizeof(*q));
    if (q) {
        q->op = op;
        q->left = 1;
        q->in_submit = true;
    } else {
        redis_finish(s, op, OP_FULL, "Memory is out.");
    }
    return q;
}

static void end_asking(struct redis_store *s, struct asking *q)
{
    if (--q->left > 0)
        return;
    struct op *op = q->op;
    if (q->status == OP_OK) {
        struct room_ask a = ask_of(s, op);
        q->status =
            op->query.kind == QUERY_ROOMS ? room_answer_names(op, &a, &q->names) : room_answer_facts(op, &a, &q->facts);
    }
    if (q->in_submit)
        redis_finish(s, op, q->status, q->why);
    else
        redis_finish_now(s, op, q->status, q->why);
    room_names_fini(&q->names);
    free(q);
}

/* True when the reply can be read. */
static bool good(struct redis_store *s, struct asking *q, const struct redisReply *r)
{
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (status == OP_OK && r->type == REDIS_REPLY_ARRAY)
        return true;
    q->status = status == OP_OK ? OP_AWAY : status;
    snprintf(q->why, sizeof(q->why), "%s", status == OP_OK ? strange : why);
    return false;
}

static void ask(struct redis_store *s, struct asking *q, redis_reply_cb *cb)
{
    q->left++;
    enum redis_sent sent = redis_send(s, cb, q, false);
    if (sent == REDIS_SENT)
        return;
    q->left--;
    q->status = sent == REDIS_TOO_MUCH ? OP_FULL : OP_AWAY;
    snprintf(q->why, sizeof(q->why), "Redis does not take more now.");
}

static void all_asked(struct redis_store *s, struct asking *q)
{
    if (q->left > 1)
        q->in_submit = false; /* what is left ends from the loop */
    end_asking(s, q);
}

/* ---- one room ---- */

static unsigned count_words(const struct redisReply *e)
{
    unsigned n = 0;
    for (size_t i = 0; e->type == REDIS_REPLY_STRING && i < (size_t)e->len; i++)
        n += e->str[i] != ' ' && (i == 0 || e->str[i - 1] == ' ');
    return n;
}

static void on_info(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct asking *q = arg;
    if (good(s, q, r) && redis_integers(r, 3) && r->elements >= 5) {
        q->facts.top = redis_integer(r, 0);
        q->facts.entries = redis_integer(r, 1);
        q->facts.oldest = redis_integer(r, 2);
        q->facts.nodes += count_words(r->element[3]);
        q->facts.users = r->element[4]->type == REDIS_REPLY_INTEGER ? (uint64_t)r->element[4]->integer : 0;
    }
    end_asking(s, q);
}

static void on_subscribers(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct asking *q = arg;
    if (good(s, q, r) && r->elements == 2 && r->element[1]->type == REDIS_REPLY_INTEGER)
        q->facts.nodes += (unsigned)r->element[1]->integer;
    end_asking(s, q);
}

static void ask_room(struct redis_store *s, struct op *op, const struct room_ask *a)
{
    struct asking *q = asking_new(s, op);
    if (!q)
        return;
    uint8_t part = redis_part(a->room);
    redis_fcall(s, "crier_room_info", 3);
    redis_key(s, &s->args, part, "R", a->room);
    redis_key(s, &s->args, part, "h", a->room);
    redis_key(s, &s->args, part, "v", a->room);
    ask(s, q, on_info);
    resp_reset(&s->args);
    resp_str(&s->args, "PUBSUB");
    resp_str(&s->args, "NUMSUB");
    redis_channel(s, &s->args, "room:", a->room);
    ask(s, q, on_subscribers);
    all_asked(s, q);
}

/* ---- all rooms ---- */

/* Names, with `skip` bytes before each. */
static void take_names(struct asking *q, const struct redisReply *r, size_t skip)
{
    for (size_t i = 0; i < r->elements; i++) {
        const struct redisReply *e = r->element[i];
        if (e->type == REDIS_REPLY_STRING && (size_t)e->len > skip)
            room_names_add(&q->names, span_of(e->str + skip, (size_t)e->len - skip));
    }
}

static void on_channels(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct asking *q = arg;
    if (good(s, q, r))
        take_names(q, r, strlen(s->cfg->prefix) + strlen("room:"));
    end_asking(s, q);
}

static void on_names(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct asking *q = arg;
    if (good(s, q, r))
        take_names(q, r, 0);
    end_asking(s, q);
}

static void ask_rooms(struct redis_store *s, struct op *op, const struct room_ask *a)
{
    struct asking *q = asking_new(s, op);
    if (!q)
        return;
    resp_reset(&s->args);
    resp_str(&s->args, "PUBSUB");
    resp_str(&s->args, "CHANNELS");
    redis_channel(s, &s->args, "room:", SPAN_LIT("*"));
    ask(s, q, on_channels);
    for (unsigned part = 0; part < REDIS_PARTS && s->cfg->room_history.n && q->status == OP_OK; part++) {
        redis_fcall(s, "crier_room_names", 1);
        redis_part_key(s, &s->args, (uint8_t)part, "rooms");
        resp_arg(&s->args, a->after);
        resp_u64(&s->args, a->limit);
        redis_part_key(s, &s->args, (uint8_t)part, "");
        ask(s, q, on_names);
    }
    all_asked(s, q);
}

void redis_room_query(struct redis_store *s, struct op *op)
{
    struct room_ask a;
    if (!room_ask_read(s->cfg, op, &a)) {
        redis_finish(s, op, OP_REFUSED, NULL);
        return;
    }
    if (op->query.kind == QUERY_ROOMS)
        ask_rooms(s, op, &a);
    else if (op->query.kind == QUERY_ROOM)
        ask_room(s, op, &a);
    else if (op->query.kind == QUERY_ROOM_HISTORY)
        ask_history(s, op, &a);
    else
        ask_presence(s, op, &a);
}
