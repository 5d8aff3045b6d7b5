/*
 * client_send.h - a client's `send`, over a session or posted: what it may, the op that carries it, the answer.
 */
#ifndef NET_CLIENT_SEND_H
#define NET_CLIENT_SEND_H

#include "core/msg.h"
#include "net/push.h"
#include "proto/codec.h"

struct buf;
struct identity;

enum client_send { SEND_READY, SEND_FORBIDDEN, SEND_NO_MEMORY };

/* Builds the op. *id: the message's, the command's own or one written to made; it borrows from either. */
enum client_send client_send_op(const struct identity *who, enum codec c, const struct command *cmd,
                                char made[PUSH_ID_BYTES], struct span *id, struct op **op) MUST_CHECK;
/* Appends the ok or error object for an op that is back, and counts what it has achieved. NULL: it went well, else the
 * error's code. *encoded: false at the buffer's ceiling. */
const char *client_send_answer(struct metrics *m, enum codec c, struct span ref, struct span id, const struct op *op,
                               struct buf *out, bool *encoded);

#endif
