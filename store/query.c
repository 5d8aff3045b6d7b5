/*
 * query.c - the reply half of OP_QUERY. Dispatcher thread; the reply belongs to the op.
 */
#include "store/query.h"

#include <stdio.h>
#include <stdlib.h>

enum codec query_codec(const struct op *op)
{
    return op->query.msgpack ? CODEC_MSGPACK : CODEC_JSON;
}

enum op_status query_reply(struct op *op, struct buf *out, bool good)
{
    free(op->query.reply);
    op->query.reply = NULL;
    if (good)
        op->query.reply = buf_steal(out, &op->query.reply_len);
    buf_fini(out);
    if (op->query.reply)
        return OP_OK;
    snprintf(op->error, sizeof(op->error), "Memory is out, or the answer is too long.");
    return OP_FULL;
}

enum op_status query_absent(struct op *op, const char *sentence)
{
    op->query.absent = true;
    snprintf(op->error, sizeof(op->error), "%s", sentence);
    return OP_REFUSED;
}
