/*
 * client_send.c - what `send` is, whichever way it came. Owns nothing; runs on the shard that was asked.
 */
#include "net/client_send.h"

#include <stdio.h>

#include "core/buf.h"
#include "net/auth.h"

static bool target_name(const struct command *cmd, char *out, size_t len)
{
    int n;
    if (cmd->user.n)
        n = snprintf(out, len, "user:%.*s", SPAN_ARG(cmd->user));
    else if (cmd->room.n)
        n = snprintf(out, len, "room:%.*s", SPAN_ARG(cmd->room));
    else
        n = snprintf(out, len, "all");
    return n > 0 && (size_t)n < len;
}

enum client_send client_send_op(const struct identity *who, enum codec c, const struct command *cmd,
                                char made[PUSH_ID_BYTES], struct span *id, struct op **op)
{
    char target[160];
    if (!target_name(cmd, target, sizeof target) || !identity_may_send(who, span_str(target)))
        return SEND_FORBIDDEN;
    struct envelope e = {.id = cmd->id, .event = cmd->event, .from = span_str(who->user), .ttl_s = cmd->ttl_s};
    e.has_priority = cmd->priority != PRIO_NORMAL;
    e.priority = cmd->priority;
    e.format = cmd->format;
    e.data = cmd->data;
    if (!e.id.n)
        e.id = push_id_new(made);
    struct push_target t = {.kind = cmd->user.n   ? TARGET_USER
                                    : cmd->room.n ? TARGET_ROOM
                                                  : TARGET_ALL,
                            .name = cmd->user.n ? cmd->user : cmd->room};
    *id = e.id;
    *op = push_op_new(&e, c, &t, 1, cmd->id);
    return *op ? SEND_READY : SEND_NO_MEMORY;
}

static const char *status_code(enum op_status st)
{
    switch (st) {
    case OP_AWAY:
        return "unavailable";
    case OP_FULL:
        return "overloaded";
    case OP_REFUSED:
    case OP_OK:
        break;
    }
    return "bad_request";
}

const char *client_send_answer(struct metrics *m, enum codec c, struct span ref, struct span id, const struct op *op,
                               struct buf *out, bool *encoded)
{
    const struct op_target *t = &op->push.targets[0];
    enum op_status st = op->status == OP_OK ? t->status : op->status;
    push_count(m, op);
    if (st == OP_OK) {
        *encoded = encode_ok_send(c, ref, id, t->seq, t->online, t->duplicate, out);
        return NULL;
    }
    *encoded = encode_error(c, ref, status_code(st), op->error[0] ? op->error : "the message was not accepted",
                            st == OP_REFUSED ? 0 : 1, out);
    return status_code(st);
}
