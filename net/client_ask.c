/*
 * client_ask.c - `history` and `presence`, whichever way they came. Owns nothing; runs on the shard that was asked.
 */
#include "net/client_ask.h"

#include <stdio.h>

#include "core/buf.h"
#include "net/auth.h"
#include "proto/room_rules.h"

static char *number(uint64_t v)
{
    char text[24];
    return span_dup(span_of(text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)v)));
}

/* The arguments in the order of store/room_query.h; what is not given stays NULL. False: memory is out. */
static bool fill(struct op_query *q, const struct command *cmd)
{
    bool good = (q->args[0] = span_dup(cmd->room)) != NULL;
    if (cmd->type == CMD_PRESENCE) {
        good = good && (!cmd->after.n || (q->args[1] = span_dup(cmd->after)));
        return good && (!cmd->limit || (q->args[2] = number(cmd->limit)));
    }
    good = good && (!cmd->before || (q->args[1] = number(cmd->before)));
    good = good && (!cmd->has_since || (q->args[2] = number(cmd->since)));
    return good && (!cmd->limit || (q->args[3] = number(cmd->limit)));
}

const char *client_ask_op(const struct config *cfg, const struct identity *who, enum codec c, const struct command *cmd,
                          struct op **op, const char **why)
{
    bool history = cmd->type == CMD_HISTORY;
    *op = NULL;
    if (!identity_may_room(who, cmd->room)) {
        *why = "the token does not allow this room";
        return "forbidden";
    }
    if (!(history ? room_history(cfg, cmd->room, NULL) : room_presence_kept(cfg, cmd->room))) {
        *why = history ? "this room keeps no history" : "this room does not know who is in it";
        return "not_available";
    }
    struct op *q = op_new(OP_QUERY);
    if (!q || !fill(&q->query, cmd)) {
        op_free(q);
        *why = "out of memory; try again later";
        return "overloaded";
    }
    q->query.kind = history ? QUERY_ROOM_HISTORY : QUERY_ROOM_PRESENCE;
    q->query.msgpack = c == CODEC_MSGPACK;
    *op = q;
    return NULL;
}

static const char *code_of(enum op_status status)
{
    switch (status) {
    case OP_OK:
        break;
    case OP_AWAY:
        return "unavailable";
    case OP_FULL:
        return "overloaded";
    case OP_REFUSED:
        return "bad_request";
    }
    return NULL;
}

const char *client_ask_answer(enum codec c, struct span ref, const struct op *op, struct buf *out,
                              unsigned *retry_after_s, bool *encoded)
{
    const char *code = code_of(op->status);
    *retry_after_s = code && op->status != OP_REFUSED ? 1 : 0;
    if (code)
        *encoded =
            encode_error(c, ref, code, op->error[0] ? op->error : "the store does not answer", *retry_after_s, out);
    else
        *encoded = encode_ok_with(c, ref, span_of(op->query.reply, op->query.reply_len), out);
    return code;
}
