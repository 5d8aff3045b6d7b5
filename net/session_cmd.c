/*
 * session_cmd.c - what a client may ask for, and the answers. Runs on the session's shard.
 *
 * `send` becomes an op for the dispatcher; its ref waits in session->pending until the op is back. At most PENDING_MAX
 * wait, then the connection's input pauses: a client cannot have more in the broker than that. Bad messages are
 * answered; after max_errors of them the connection is closed 4004.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/call.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/hash.h"
#include "core/msg.h"
#include "net/auth.h"
#include "net/call.h"
#include "net/client_ask.h"
#include "net/client_send.h"
#include "net/room.h"
#include "net/session.h"
#include "net/shard.h"
#include "net/user.h"

#define PENDING_MAX 64
#define MUTES_MAX   32
#define OBJECT_MAX  4096

/* A send or a question of this client that the dispatcher has: its ref and the message's id are needed for the answer.
 */
struct pending_ref {
    struct pending_ref *next;
    uint64_t serial;
    size_t ref_len, id_len;
    uint8_t bytes[]; /* ref, then id */
};

/* Ids of own messages that must not come back, oldest first; more than MUTES_MAX push the oldest out. */
struct mutes {
    unsigned count;
    uint64_t id[MUTES_MAX];
};

static uint64_t id_hash(struct span id)
{
    static const uint64_t key[2] = {0x6d75746573ull, 0x65636866ull};
    return siphash13(key, id);
}

static bool mute(struct session *s, struct span id)
{
    if (!s->mutes && !(s->mutes = calloc(1, sizeof *s->mutes)))
        return false;
    struct mutes *m = s->mutes;
    if (m->count == MUTES_MAX)
        memmove(m->id, m->id + 1, --m->count * sizeof m->id[0]);
    m->id[m->count++] = id_hash(id);
    return true;
}

bool session_muted(struct session *s, const struct job *j)
{
    struct mutes *m = s->mutes;
    if (j->head.kind == TARGET_USER || !span_eq(j->head.from, span_str(s->who->user)))
        return false;
    uint64_t h = id_hash(j->head.id);
    for (unsigned i = 0; i < m->count; i++) {
        if (m->id[i] != h)
            continue;
        memmove(m->id + i, m->id + i + 1, (--m->count - i) * sizeof m->id[0]);
        if (m->count == 0) {
            free(m);
            s->mutes = NULL;
        }
        return true;
    }
    return false;
}

static void answer_ok(struct session *s, struct span ref)
{
    struct buf b;
    buf_init(&b, OBJECT_MAX);
    if (encode_ok(session_codec(s), ref, &b))
        session_answer(s, 200, buf_span(&b));
    buf_fini(&b);
}

static void fail(struct session *s, struct span ref, const char *code, const char *message)
{
    (void)session_answer_error(s, ref, code, message, 0);
}

/* ---- requests that wait for the dispatcher ---- */

static bool remember(struct session *s, struct span ref, struct span id, uint64_t serial)
{
    struct pending_ref *p = malloc(sizeof *p + ref.n + id.n);
    if (!p)
        return false;
    *p = (struct pending_ref){.next = s->pending, .serial = serial, .ref_len = ref.n, .id_len = id.n};
    if (ref.n)
        memcpy(p->bytes, ref.p, ref.n);
    if (id.n)
        memcpy(p->bytes + ref.n, id.p, id.n);
    s->pending = p;
    if (++s->npending >= PENDING_MAX)
        conn_pause(s->conn);
    return true;
}

static struct pending_ref *recall(struct session *s, uint64_t serial)
{
    for (struct pending_ref **at = &s->pending; *at; at = &(*at)->next) {
        struct pending_ref *p = *at;
        if (p->serial != serial)
            continue;
        *at = p->next;
        if (s->npending-- >= PENDING_MAX)
            conn_resume(s->conn);
        return p;
    }
    return NULL;
}

void session_forget_pending(struct session *s)
{
    while (s->pending) {
        struct pending_ref *p = s->pending;
        s->pending = p->next;
        free(p);
    }
    s->npending = 0;
    free(s->mutes);
    s->mutes = NULL;
}

void session_push_done(struct session *s, struct op *op)
{
    struct pending_ref *p = recall(s, op->serial);
    struct span ref = span_of(p ? p->bytes : NULL, p ? p->ref_len : 0);
    struct span id = span_of(p ? p->bytes + p->ref_len : NULL, p ? p->id_len : 0);
    struct buf b;
    bool encoded = false;
    buf_init(&b, OBJECT_MAX);
    (void)client_send_answer(s->conn->shard->m, s->io->codec, ref, id, op, &b, &encoded);
    if (p && encoded && s->state != SESSION_OVER)
        (void)s->io->control(s, buf_span(&b));
    buf_fini(&b);
    free(p);
    op_free(op);
}

/* ---- commands ---- */

static void do_send(struct session *s, const struct command *cmd)
{
    char made[PUSH_ID_BYTES];
    struct span id = {NULL, 0};
    struct op *op = NULL;
    enum client_send r = client_send_op(s->who, s->io->codec, cmd, made, &id, &op);
    if (r == SEND_FORBIDDEN) {
        fail(s, cmd->ref, "forbidden", "the token does not allow to send there");
        return;
    }
    uint64_t serial = ++s->next_serial;
    if (r == SEND_NO_MEMORY || (!cmd->echo && !cmd->user.n && !mute(s, id)) || !remember(s, cmd->ref, id, serial)) {
        op_free(op);
        fail(s, cmd->ref, "overloaded", "out of memory; try again later");
        return;
    }
    op->conn = s->conn->id;
    op->serial = serial;
    shard_submit(s->conn->shard, op);
}

/* ---- questions to the store ---- */

static void do_ask(struct session *s, const struct command *cmd)
{
    struct op *op;
    const char *why, *code = client_ask_op(s->conn->shard->cfg, s->who, session_codec(s), cmd, &op, &why);
    uint64_t serial = ++s->next_serial;
    if (code) {
        fail(s, cmd->ref, code, why);
        return;
    }
    if (!remember(s, cmd->ref, (struct span){NULL, 0}, serial)) {
        op_free(op);
        fail(s, cmd->ref, "overloaded", "out of memory; try again later");
        return;
    }
    op->conn = s->conn->id;
    op->serial = serial;
    shard_submit(s->conn->shard, op);
}

void session_query_done(struct session *s, struct op *op)
{
    struct pending_ref *p = recall(s, op->serial);
    struct buf b;
    unsigned retry_after_s;
    bool encoded = false;
    buf_init(&b, op->query.reply_len + OBJECT_MAX);
    if (p && s->state != SESSION_OVER) {
        const char *code =
            client_ask_answer(s->io->codec, span_of(p->bytes, p->ref_len), op, &b, &retry_after_s, &encoded);
        if (encoded)
            session_answer(s, code ? call_status(code) : 200, buf_span(&b));
    }
    buf_fini(&b);
    free(p);
    op_free(op);
}

/* ---- rooms ---- */

static void join(struct session *s, const struct room_wish *w)
{
    struct span ref = w->ref;
    switch (room_join(s->conn->shard, s, w)) {
    case ROOM_JOINED:
        break;
    case ROOM_NO_PRESENCE:
        fail(s, ref, "not_available", "this room does not know who is in it");
        break;
    case ROOM_TOO_MANY:
        fail(s, ref, "too_many_rooms", "this connection is in as many rooms as the broker allows");
        break;
    case ROOM_NO_MEMORY:
        (void)session_answer_error(s, ref, "overloaded", "out of memory; try again later", 1);
        break;
    }
}

void session_subscribe(struct session *s, const struct room_wish *w)
{
    if (identity_may_room(s->who, w->room))
        join(s, w);
    else
        fail(s, w->ref, "forbidden", "the token does not allow this room");
}

void session_put_in(struct session *s, struct span room)
{
    if (s->state != SESSION_OVER)
        join(s, &(struct room_wish){.room = room});
}

void session_take_out(struct session *s, struct span room)
{
    struct buf b;
    if (s->state == SESSION_OVER || !room_leave(s->conn->shard, s, room))
        return;
    buf_init(&b, OBJECT_MAX);
    if (encode_unsubscribed(s->io->codec, room, &b))
        (void)s->io->control(s, buf_span(&b));
    buf_fini(&b);
}

static void do_unsubscribe(struct session *s, const struct command *cmd)
{
    if (room_leave(s->conn->shard, s, cmd->room))
        answer_ok(s, cmd->ref);
    else
        fail(s, cmd->ref, "not_subscribed", "this connection is not in that room");
}

/* The device keeps its name, whatever the new token says. */
static bool keep_device(struct session *s)
{
    char *own = s->device && !s->owns_device ? span_dup(span_str(s->device)) : s->device;
    if (s->device && !own)
        return false;
    s->owns_device = own != NULL;
    s->device = own;
    return true;
}

static void do_refresh(struct session *s, const struct command *cmd)
{
    struct identity *fresh = NULL;
    char why[128] = "";
    enum auth_result r =
        auth_token(s->conn->shard->env->auth, cmd->token, clock_real_us() / 1000000, &fresh, why, sizeof why);
    const char *user = s->who->user ? s->who->user : "", *now = fresh && fresh->user ? fresh->user : "";
    if (r != AUTH_OK || strcmp(user, now) != 0) {
        identity_free(fresh);
        fail(s, cmd->ref, "unauthorized", r == AUTH_OK ? "the new token is another user's" : why);
        return;
    }
    if (!keep_device(s)) {
        identity_free(fresh);
        fail(s, cmd->ref, "overloaded", "out of memory");
        return;
    }
    identity_free(s->who);
    s->who = fresh;
    s->warned = false;
    conn_timer(s->conn, 1); /* new deadlines */
    answer_ok(s, cmd->ref);
}

void session_command(struct session *s, const struct command *cmd)
{
    switch (cmd->type) {
    case CMD_ACK:
        session_ack(s, cmd->seq);
        if (cmd->ref.n)
            answer_ok(s, cmd->ref);
        break;
    case CMD_SUBSCRIBE:
        session_subscribe(s, &(struct room_wish){cmd->room, cmd->ref, cmd->has_since, cmd->since, cmd->presence});
        break;
    case CMD_UNSUBSCRIBE:
        do_unsubscribe(s, cmd);
        break;
    case CMD_SEND:
        do_send(s, cmd);
        break;
    case CMD_REFRESH:
        do_refresh(s, cmd);
        break;
    case CMD_PONG:
        if (s->io->pong)
            s->io->pong(s);
        break;
    case CMD_PRESENCE:
    case CMD_HISTORY:
        do_ask(s, cmd);
        break;
    }
}

/* A send that was posted goes its own way; here it is only made sure that it does not come back. */
static void posted(struct session *s, const struct command *cmd, struct span id)
{
    if (cmd->type != CMD_SEND)
        session_command(s, cmd);
    else if (!mute(s, id))
        fail(s, cmd->ref, "overloaded", "out of memory; try again later");
    if (s->call)
        answer_ok(s, cmd->ref);
}

void session_call(struct session *s, struct call *call)
{
    struct command cmd;
    struct command_error err = {0};
    struct buf scratch;
    struct span input = span_of(call->input, call->input_len);
    buf_init(&scratch, input.n + 64);
    metric_add(s->conn->shard->m, M_CLIENT_MSGS_IN, 1);
    s->call = call;
    if (command_parse((enum codec)call->codec, input, s->conn->shard->cfg->max_payload, &scratch, &cmd, &err) == 0)
        posted(s, &cmd, span_str(call->id));
    else
        fail(s, err.ref, err.code, err.message);
    buf_fini(&scratch);
}

static void bad_message(struct session *s, const struct command_error *err)
{
    struct shard *sh = s->conn->shard;
    metric_add(sh->m, M_BAD_MESSAGES, 1);
    log_limited(&sh->log_bad, 5, LOG_WARN, "client", "conn=%llu bad message: %s: %s", (unsigned long long)s->conn->id,
                err->code, err->message);
    if (session_answer_error(s, err->ref, err->code, err->message, 0) && ++s->errors >= sh->cfg->max_errors)
        s->io->close(s, 4004, "too many bad messages", CLOSE_PROTOCOL);
}

/* cmd NULL: it could not be read. False: it came too fast, which the client is told; too often, and it is closed. */
static bool within_rates(struct session *s, const struct command *cmd, struct span ref, size_t bytes)
{
    struct shard *sh = s->conn->shard;
    struct span user = span_str(s->user ? s->user->name : NULL);
    struct rate_cost cost = limits_cost(cmd, bytes);
    if (sh->limits && !s->rates)
        s->rates = calloc(1, sizeof *s->rates); /* none: its user's are left */
    uint32_t wait = limits_take(sh->limits, sh->now_ms, s->rates, user, &cost);
    if (wait == 0)
        return true;
    metric_add(sh->m, M_RATE_LIMITED, 1);
    if (!limits_refused(sh->limits, sh->now_ms, s->rates))
        s->io->close(s, 4029, "too fast for too long", CLOSE_RATE);
    else
        (void)session_answer_error(s, ref, "rate_limited", LIMITS_SENTENCE, (wait + 999) / 1000);
    return false;
}

void session_input(struct session *s, struct span object)
{
    struct command cmd;
    struct command_error err = {0};
    struct buf scratch;
    buf_init(&scratch, object.n + 64);
    metric_add(s->conn->shard->m, M_CLIENT_MSGS_IN, 1);
    bool good = command_parse(s->io->codec, object, s->conn->shard->cfg->max_payload, &scratch, &cmd, &err) == 0;
    bool allowed = within_rates(s, good ? &cmd : NULL, good ? cmd.ref : err.ref, object.n);
    if (allowed && good)
        session_command(s, &cmd);
    else if (allowed)
        bad_message(s, &err);
    buf_fini(&scratch);
}
