/*
 * client_ask.h - a client's questions about a room (`history`, `presence`), for every way they come in.
 */
#ifndef NET_CLIENT_ASK_H
#define NET_CLIENT_ASK_H

#include "core/op.h"
#include "proto/codec.h"

struct command;
struct config;
struct identity;

/* The question to the store, in the codec of the answer. NULL and *op: ready, the caller's, who fills conn and serial;
 * else the error's code, and *why. */
const char *client_ask_op(const struct config *cfg, const struct identity *who, enum codec c, const struct command *cmd,
                          struct op **op, const char **why) MUST_CHECK;
/* The object that answers the ref. NULL: `ok`; else the error's code. *retry_after_s: 0, or when to ask again.
 * *encoded: false when memory is out. */
const char *client_ask_answer(enum codec c, struct span ref, const struct op *op, struct buf *out,
                              unsigned *retry_after_s, bool *encoded) MUST_CHECK;

#endif
