/*
 * query.h - answering OP_QUERY: what both back-ends and all kinds of questions share. Dispatcher thread.
 *
 *     struct buf out;
 *     struct emit e;
 *     buf_init(&out, MOST_BYTES);
 *     emit_begin(&e, query_codec(op), &out);
 *     ...
 *     status = query_reply(op, &out, emit_end(&e));
 */
#ifndef STORE_QUERY_H
#define STORE_QUERY_H

#include "core/buf.h"
#include "core/op.h"
#include "proto/codec.h"

/* The form that the asker wants. */
enum codec query_codec(const struct op *op);
/* The bytes of `out` become the reply; `out` is empty afterwards. OP_OK; or OP_FULL when `good` is false or memory is
 * out. */
enum op_status query_reply(struct op *op, struct buf *out, bool good) MUST_CHECK;
/* What was asked for is not there: sets the sentence; OP_REFUSED. */
enum op_status query_absent(struct op *op, const char *sentence) MUST_CHECK;

#endif
