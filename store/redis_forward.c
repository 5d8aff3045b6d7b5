/*
 * redis_forward.c - commands for a session at another node.
 *
 * Idea: where a user is registered is known to Redis alone, so the command goes, by the function that serves
 * disconnects, to each of these nodes, this one perhaps among them. The function says how many heard it. Each of them
 * answers on the channel of the node that asks: with what became of the command, or that it has no such session. The
 * first that has carried it out ends the question; when all have said no, nobody has the session. An answer may be
 * there before the function's own.
 *
 * Dispatcher thread. A question lives until it is answered, or for the time a call to Redis may take; what comes for
 * one that is over is forgotten.
 *
 * Frames. "XC", device length (1), user length (2), device, user, then token (8), codec (1), lengths of the asking node
 * (1), the id (1), node, id, and the command to the end. 'Y', token (8), status (2; 0: no session here), retry (2), and
 * the answer to the end. Numbers have the highest byte first.
 */
#include "store/redis_forward.h"

#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/buf.h"
#include "core/call.h"
#include "core/clock.h"
#include "core/config.h"
#include "proto/codec.h"
#include "store/redis_keys.h"
#include "store/redis_page.h"
#include "store/redis_store.h"

enum {
    CONTROL_HEAD = 5,
    COMMAND_HEAD = 11,
    ANSWER_HEAD = 13,
    NAME_MAX_BYTES = 255,
    FORWARDS_MAX = 1024,
};

struct forward {
    struct list link; /* redis_forwards.open, the oldest first */
    uint64_t token;
    uint64_t due_ms;
    struct op *op;
    unsigned reached, heard; /* nodes that got it, nodes that have said no */
    bool counted;            /* `reached` is known */
};

struct redis_forwards {
    struct list open;
    unsigned n;
    uint64_t next; /* token */
};

struct redis_forwards *redis_forwards_new(void)
{
    struct redis_forwards *fs = calloc(1, sizeof(*fs));
    if (fs)
        list_init(&fs->open);
    return fs;
}

static struct forward *find(struct redis_store *s, uint64_t token)
{
    for (struct list *l = s->forwards->open.next; l != &s->forwards->open; l = l->next) {
        struct forward *f = CONTAINER_OF(l, struct forward, link);
        if (f->token == token)
            return f;
    }
    return NULL;
}

static void end(struct redis_store *s, struct forward *f, enum op_status status, const char *why)
{
    struct op *op = f->op;
    list_unlink(&f->link);
    s->forwards->n--;
    free(f);
    redis_finish(s, op, status, why);
}

static void look(struct redis_store *s, struct forward *f)
{
    if (!f->counted || f->heard < f->reached)
        return;
    f->op->forward.call->no_session = true;
    end(s, f, OP_OK, NULL);
}

/* ---- asking ---- */

static bool put_number(struct buf *b, uint64_t v, unsigned bytes)
{
    bool ok = true;
    while (ok && bytes-- > 0)
        ok = buf_append_byte(b, (uint8_t)(v >> (8 * bytes)));
    return ok;
}

/* What goes behind device and user. */
static bool write_command(const struct redis_store *s, uint64_t token, const struct call *c, struct buf *b)
{
    struct span node = span_str(s->node), id = span_str(c->id);
    return node.n <= NAME_MAX_BYTES && id.n <= NAME_MAX_BYTES && put_number(b, token, 8) &&
           put_number(b, c->codec, 1) && put_number(b, node.n, 1) && put_number(b, id.n, 1) &&
           buf_append_span(b, node) && buf_append_span(b, id) && buf_append(b, c->input, c->input_len);
}

static void on_reached(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct forward *f = find(s, (uint64_t)(uintptr_t)arg);
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (!f)
        return;
    if (status == OP_OK && r->type == REDIS_REPLY_INTEGER && r->integer >= 0) {
        f->reached = (unsigned)r->integer;
        f->counted = true;
        look(s, f);
    } else {
        end(s, f, status == OP_OK ? OP_AWAY : status, status == OP_OK ? "Redis gave a strange answer." : why);
    }
}

static enum redis_sent ask(struct redis_store *s, const struct call *c, uint64_t token, struct span command)
{
    struct span user = span_str(c->user);
    redis_fcall(s, "crier_control", 1);
    redis_key(s, &s->args, redis_part(user), "m", user);
    redis_channel(s, &s->args, "n:", span_of(NULL, 0));
    resp_str(&s->args, "PUBLISH");
    resp_str(&s->args, "C");
    resp_arg(&s->args, user);
    resp_str(&s->args, c->device);
    resp_arg(&s->args, command);
    return redis_send(s, on_reached, (void *)(uintptr_t)token, false);
}

void redis_forward(struct redis_store *s, struct op *op)
{
    const struct call *c = op->forward.call;
    struct forward *f = s->forwards->n < FORWARDS_MAX ? calloc(1, sizeof *f) : NULL;
    struct buf b;
    buf_init(&b, COMMAND_HEAD + 2 * (size_t)NAME_MAX_BYTES + c->input_len);
    if (!f || !write_command(s, s->forwards->next + 1, c, &b)) {
        free(f);
        redis_finish(s, op, OP_FULL, "Too many commands wait for other nodes.");
    } else {
        *f = (struct forward){.token = ++s->forwards->next, .op = op};
        f->due_ms = clock_mono_ms() + s->cfg->redis_timeout_ms;
        list_push(&s->forwards->open, &f->link);
        s->forwards->n++;
        enum redis_sent sent = ask(s, c, f->token, buf_span(&b));
        if (sent != REDIS_SENT)
            end(s, f, sent == REDIS_TOO_MUCH ? OP_FULL : OP_AWAY, "Redis does not take more now.");
    }
    buf_fini(&b);
}

void redis_forward_tick(struct redis_store *s)
{
    while (!list_empty(&s->forwards->open)) {
        struct forward *f = CONTAINER_OF(s->forwards->open.next, struct forward, link);
        if (f->due_ms > clock_mono_ms())
            return;
        end(s, f, OP_AWAY, "The node of this session does not answer.");
    }
}

void redis_forwards_end(struct redis_store *s)
{
    while (s->forwards && !list_empty(&s->forwards->open))
        end(s, CONTAINER_OF(s->forwards->open.next, struct forward, link), OP_AWAY, "The broker stops.");
}

/* ---- being asked ---- */

/* The command out of what is behind device and user. NULL: malformed, or memory is out (*good stays true). */
static struct op *read_command(struct span user, struct span device, struct span in, bool *good)
{
    size_t node = in.n < COMMAND_HEAD ? 0 : in.p[9], id = in.n < COMMAND_HEAD ? 0 : in.p[10];
    *good = node > 0 && in.n >= COMMAND_HEAD + node + id && in.p[8] <= CODEC_MSGPACK;
    struct op *op = *good ? op_new(OP_CONTROL) : NULL;
    struct call *c = op ? call_new(CALL_COMMAND, user, device) : NULL;
    if (!c) {
        op_free(op);
        return NULL;
    }
    const uint8_t *p = in.p + COMMAND_HEAD;
    op->control.act = CONTROL_COMMAND;
    op->control.call = c;
    op->control.user = span_dup(user);
    c->token = redis_big_endian(in.p, 8);
    c->codec = in.p[8];
    c->origin = span_dup(span_of(p, node));
    c->id = span_dup(span_of(p + node, id));
    c->input_len = in.n - COMMAND_HEAD - node - id;
    c->input = (uint8_t *)span_dup(span_of(p + node + id, c->input_len));
    if (op->control.user && c->origin && c->id && c->input)
        return op;
    op_free(op);
    return NULL;
}

bool redis_take_command(struct redis_store *s, struct span f)
{
    if (f.n < CONTROL_HEAD)
        return false;
    size_t device = f.p[2], user = redis_big_endian(f.p + 3, 2);
    if (user == 0 || device == 0 || f.n < CONTROL_HEAD + device + user)
        return false;
    const uint8_t *p = f.p + CONTROL_HEAD;
    bool good;
    struct op *op = read_command(span_of(p + device, user), span_of(p, device),
                                 span_of(p + device + user, f.n - CONTROL_HEAD - device - user), &good);
    if (op)
        s->up.done(s->up.arg, op);
    return good;
}

void redis_forward_answer(struct redis_store *s, struct op *op)
{
    const struct call *c = op->forward.call;
    struct buf b;
    buf_init(&b, ANSWER_HEAD + c->body_len);
    bool ok = buf_append_byte(&b, 'Y') && put_number(&b, c->token, 8) &&
              put_number(&b, c->no_session ? 0 : c->status, 2) && put_number(&b, c->retry_after_s, 2) &&
              (c->no_session || buf_append(&b, c->body, c->body_len));
    if (ok) {
        resp_reset(&s->args);
        resp_str(&s->args, "PUBLISH");
        redis_channel(s, &s->args, "n:", span_str(c->origin));
        resp_arg(&s->args, buf_span(&b));
        ok = redis_send(s, NULL, NULL, false) == REDIS_SENT;
    }
    buf_fini(&b);
    redis_finish(s, op, ok ? OP_OK : OP_AWAY, NULL); /* who asks will find that nobody answers */
}

bool redis_take_answer(struct redis_store *s, struct span in)
{
    if (in.n < ANSWER_HEAD)
        return false;
    struct forward *f = find(s, redis_big_endian(in.p + 1, 8));
    unsigned status = (unsigned)redis_big_endian(in.p + 9, 2);
    if (!f)
        return true;
    if (status == 0) {
        f->heard++;
        look(s, f);
        return true;
    }
    struct call *c = f->op->forward.call;
    c->body_len = in.n - ANSWER_HEAD;
    c->body = (uint8_t *)span_dup(span_of(in.p + ANSWER_HEAD, c->body_len));
    c->status = status;
    c->retry_after_s = (unsigned)redis_big_endian(in.p + 11, 2);
    if (c->body)
        end(s, f, OP_OK, NULL);
    else
        end(s, f, OP_FULL, "Memory is out.");
    return true;
}
