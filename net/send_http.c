/*
 * send_http.c - POST /send, for clients whose transport goes one way (SSE, polling).
 *
 * Runs on the shard that took the request. A send becomes an op right here, as on a socket. What concerns the device's
 * session (ack, subscribe, unsubscribe, refresh, and a send that must not come back) goes to the owner of the user as a
 * call, and from there to the node that has the session if it is another one; its answer comes back as one. An ack for
 * a device that is not on this node goes to the store, which knows it all the same. What an answer needs waits with the
 * connection (struct posted).
 */
#include "net/send_http.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/call.h"
#include "core/config.h"
#include "core/msg.h"
#include "net/admit.h"
#include "net/auth.h"
#include "net/call.h"
#include "net/client_ask.h"
#include "net/client_send.h"
#include "net/http.h"
#include "net/limits.h"
#include "net/shard.h"

#define OBJECT_MAX 4096
#define RETRY_S    1
#define NEEDS_WHOM "this command is about a device: name the user and ?device=, as its welcome says"
#define NO_SESSION "this device has no live connection (a poll names its rooms in ?rooms=)"
#define AWAY       "the session of this device cannot be asked just now; send it again later"
#define NO_MEMORY  "out of memory; try again later"

struct posted {
    enum codec codec;
    enum command_type type;
    uint64_t seq;  /* of an ack */
    struct op *op; /* a send that waits until its echo is muted */
    char *user, *device;
    bool named;
    size_t ref_len, id_len;
    uint8_t bytes[]; /* ref, id */
};

static struct span ref_of(const struct posted *p)
{
    return span_of(p->bytes, p->ref_len);
}

static struct span id_of(const struct posted *p)
{
    return span_of(p->bytes + p->ref_len, p->id_len);
}

static void posted_free(struct posted *p)
{
    if (!p)
        return;
    op_free(p->op);
    free(p->user);
    free(p->device);
    free(p);
}

/* ---- answers ---- */

static void answer(struct conn *c, enum codec codec, unsigned status, struct span object, unsigned retry_after_s)
{
    char headers[96];
    int n = snprintf(headers, sizeof headers, "Cache-Control: no-store\r\n");
    if (retry_after_s && n > 0)
        snprintf(headers + n, sizeof headers - (size_t)n, "Retry-After: %u\r\n", retry_after_s);
    http_answer(c, status, codec == CODEC_MSGPACK ? "application/msgpack" : "application/json", object, headers);
}

static void fail(struct conn *c, enum codec codec, struct span ref, const char *code, const char *message)
{
    struct buf b;
    unsigned status = call_status(code), retry = status == 503 ? RETRY_S : 0;
    buf_init(&b, OBJECT_MAX);
    if (!encode_error(codec, ref, code, message, retry, &b))
        b.len = 0;
    answer(c, codec, status, buf_span(&b), retry);
    buf_fini(&b);
}

static void sent(struct conn *c, void *arg, struct op *op)
{
    struct posted *p = arg;
    struct buf b;
    bool encoded = false;
    buf_init(&b, OBJECT_MAX);
    const char *code = client_send_answer(c->shard->m, p->codec, ref_of(p), id_of(p), op, &b, &encoded);
    unsigned status = code ? call_status(code) : 200;
    answer(c, p->codec, status, buf_span(&b), status == 503 ? RETRY_S : 0);
    buf_fini(&b);
    posted_free(p);
    op_free(op);
}

static void asked(struct conn *c, void *arg, struct op *op)
{
    struct posted *p = arg;
    struct buf b;
    unsigned retry_after_s;
    bool encoded = false;
    buf_init(&b, op->query.reply_len + OBJECT_MAX);
    const char *code = client_ask_answer(p->codec, ref_of(p), op, &b, &retry_after_s, &encoded);
    if (encoded)
        answer(c, p->codec, code ? call_status(code) : 200, buf_span(&b), retry_after_s);
    else
        fail(c, p->codec, ref_of(p), "overloaded", NO_MEMORY);
    buf_fini(&b);
    posted_free(p);
    op_free(op);
}

static void acked(struct conn *c, void *arg, struct op *op)
{
    struct posted *p = arg;
    struct buf b;
    buf_init(&b, OBJECT_MAX);
    if (op->status != OP_OK)
        fail(c, p->codec, ref_of(p), op->status == OP_FULL ? "overloaded" : "unavailable",
             "the store does not answer; send it again later");
    else if (encode_ok(p->codec, ref_of(p), &b))
        answer(c, p->codec, 200, buf_span(&b), 0);
    else
        fail(c, p->codec, ref_of(p), "overloaded", NO_MEMORY);
    buf_fini(&b);
    posted_free(p);
    op_free(op);
}

/* ---- to the store ---- */

/* Takes p, and the op out of it. http_wait frees only the block itself when the client goes first, so nothing may hang
 * on it by then. */
static void submit(struct conn *c, struct posted *p, struct op *op, void (*done)(struct conn *, void *, struct op *))
{
    free(p->user);
    free(p->device);
    p->user = p->device = NULL;
    op->conn = c->id;
    http_wait(c, done, p);
    shard_submit(c->shard, op);
}

static struct op *ack_op(struct posted *p)
{
    struct op *op = op_new(OP_ACK);
    if (!op)
        return NULL;
    op->ack.v = calloc(1, sizeof *op->ack.v);
    if (!op->ack.v) {
        op_free(op);
        return NULL;
    }
    op->ack.n = 1;
    op->ack.v[0] = (struct op_ack_entry){.user = p->user, .device = p->device, .named = true, .seq = p->seq};
    p->user = p->device = NULL;
    return op;
}

/* ---- by way of the session ---- */

static void call_done(struct conn *c, void *arg, struct call *call)
{
    struct posted *p = arg;
    struct op *op = p->op;
    p->op = NULL;
    if (op) { /* muted where there is a session to be muted */
        submit(c, p, op, sent);
    } else if (call->no_session && p->type == CMD_ACK) {
        op = ack_op(p);
        if (op) {
            submit(c, p, op, acked);
        } else {
            fail(c, p->codec, ref_of(p), "overloaded", NO_MEMORY);
            posted_free(p);
        }
    } else if (call->no_session || call->away) {
        fail(c, p->codec, ref_of(p), call->away ? "unavailable" : "no_session", call->away ? AWAY : NO_SESSION);
        posted_free(p);
    } else {
        answer(c, p->codec, call->status, span_of(call->body, call->body_len), call->retry_after_s);
        posted_free(p);
    }
    call_free(call);
}

static void call_left(struct conn *c, void *arg)
{
    (void)c;
    posted_free(arg);
}

static const struct http_waiter waiter = {.done = call_done, .left = call_left};

/* Sends the command to the owner. Takes p. */
static void ask_owner(struct conn *c, struct posted *p, struct span input)
{
    struct call *call = call_new(CALL_COMMAND, span_str(p->user), span_str(p->device));
    if (call) {
        call->codec = p->codec;
        call->here_only = p->type == CMD_ACK;
        call->input = (uint8_t *)span_dup(input);
        call->input_len = input.n;
        call->id = span_dup(id_of(p));
        call->conn = c->id;
    }
    if (!call || !call->input || !call->id) {
        call_free(call);
        fail(c, p->codec, ref_of(p), "overloaded", NO_MEMORY);
        posted_free(p);
        return;
    }
    http_wait_call(c, &waiter, p, 0);
    call_send(c->shard, call);
}

/* ---- the request ---- */

static struct posted *posted_new(enum codec codec, const struct command *cmd, struct span id,
                                 const struct identity *who)
{
    struct posted *p = malloc(sizeof *p + cmd->ref.n + id.n);
    if (!p)
        return NULL;
    *p = (struct posted){.codec = codec, .type = cmd->type, .seq = cmd->seq, .ref_len = cmd->ref.n, .id_len = id.n};
    if (cmd->ref.n)
        memcpy(p->bytes, cmd->ref.p, cmd->ref.n);
    if (id.n)
        memcpy(p->bytes + cmd->ref.n, id.p, id.n);
    if (!who->user || !who->device)
        return p;
    p->user = span_dup(span_str(who->user));
    p->device = span_dup(span_str(who->device));
    if (p->user && p->device)
        return p;
    posted_free(p);
    return NULL;
}

static void do_send(struct conn *c, const struct identity *who, enum codec codec, const struct command *cmd,
                    struct span input)
{
    char made[PUSH_ID_BYTES];
    struct span id = {NULL, 0};
    struct op *op = NULL;
    enum client_send r = client_send_op(who, codec, cmd, made, &id, &op);
    struct posted *p = r == SEND_READY ? posted_new(codec, cmd, id, who) : NULL;
    if (r == SEND_FORBIDDEN) {
        fail(c, codec, cmd->ref, "forbidden", "the token does not allow to send there");
    } else if (!p) {
        op_free(op);
        fail(c, codec, cmd->ref, "overloaded", NO_MEMORY);
    } else if (!cmd->echo && !cmd->user.n && p->device) {
        p->op = op;
        ask_owner(c, p, input);
    } else {
        submit(c, p, op, sent);
    }
}

static void do_ask(struct conn *c, const struct identity *who, enum codec codec, const struct command *cmd)
{
    struct op *op;
    const char *why, *code = client_ask_op(c->shard->cfg, who, codec, cmd, &op, &why);
    struct posted *p = code ? NULL : posted_new(codec, cmd, (struct span){NULL, 0}, who);
    if (p) {
        submit(c, p, op, asked);
    } else {
        op_free(op);
        fail(c, codec, cmd->ref, code ? code : "overloaded", code ? why : NO_MEMORY);
    }
}

static void for_session(struct conn *c, const struct identity *who, enum codec codec, const struct command *cmd,
                        struct span input)
{
    if (!who->user || !who->device) {
        fail(c, codec, cmd->ref, "bad_request", NEEDS_WHOM);
        return;
    }
    if (cmd->type == CMD_SUBSCRIBE && !identity_may_room(who, cmd->room)) {
        fail(c, codec, cmd->ref, "forbidden", "the token does not allow this room");
        return;
    }
    struct posted *p = posted_new(codec, cmd, (struct span){NULL, 0}, who);
    if (p)
        ask_owner(c, p, input);
    else
        fail(c, codec, cmd->ref, "overloaded", NO_MEMORY);
}

static void carry_out(struct conn *c, const struct identity *who, enum codec codec, const struct command *cmd,
                      struct span input)
{
    switch (cmd->type) {
    case CMD_SEND:
        do_send(c, who, codec, cmd, input);
        break;
    case CMD_ACK:
    case CMD_SUBSCRIBE:
    case CMD_UNSUBSCRIBE:
    case CMD_REFRESH:
        for_session(c, who, codec, cmd, input);
        break;
    case CMD_PRESENCE:
    case CMD_HISTORY:
        do_ask(c, who, codec, cmd);
        break;
    case CMD_PONG:
        fail(c, codec, cmd->ref, "bad_request", "a pong answers a ping on a socket");
        break;
    }
}

/* False: it came too fast. Requests of a user may be on any shard, so each counts its own. */
static bool within_rates(struct conn *c, const struct identity *who, enum codec codec, const struct command *cmd,
                         struct span ref, size_t bytes)
{
    struct shard *s = c->shard;
    struct rate_cost cost = limits_cost(cmd, bytes);
    uint32_t wait = limits_take(s->limits, s->now_ms, NULL, span_str(who->user), &cost);
    struct buf b;
    if (wait == 0)
        return true;
    metric_add(s->m, M_RATE_LIMITED, 1);
    buf_init(&b, OBJECT_MAX);
    if (!encode_error(codec, ref, "rate_limited", LIMITS_SENTENCE, (wait + 999) / 1000, &b))
        b.len = 0;
    answer(c, codec, 429, buf_span(&b), (wait + 999) / 1000);
    buf_fini(&b);
    return false;
}

void send_handle(struct conn *c, const struct http_request *r)
{
    struct identity *who = NULL;
    struct command cmd;
    struct command_error err = {0};
    struct buf scratch;
    enum codec codec = http_format(&r->head);
    if (!admit_running(c) || !admit_identity(c, &r->head, &who))
        return;
    buf_init(&scratch, r->body.n + 64);
    if (shard_congested(c->shard)) {
        fail(c, codec, (struct span){NULL, 0}, "overloaded", "too much is waiting for the store; send it again later");
    } else if (command_parse(codec, r->body, c->shard->cfg->max_payload, &scratch, &cmd, &err) != 0) {
        metric_add(c->shard->m, M_BAD_MESSAGES, 1);
        if (within_rates(c, who, codec, NULL, err.ref, r->body.n))
            fail(c, codec, err.ref, err.code, err.message);
    } else if (within_rates(c, who, codec, &cmd, cmd.ref, r->body.n)) {
        metric_add(c->shard->m, M_CLIENT_MSGS_IN, 1);
        carry_out(c, who, codec, &cmd, r->body);
    }
    buf_fini(&scratch);
    identity_free(who);
}
