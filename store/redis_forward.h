/*
 * redis_forward.h - commands that were posted at one node for a device whose session is at another. Dispatcher thread,
 * Redis back-end.
 */
#ifndef STORE_REDIS_FORWARD_H
#define STORE_REDIS_FORWARD_H

#include "core/base.h"

struct op;
struct redis_forwards;
struct redis_store;

/* NULL when memory is out. Freed by free(), once all have ended. */
struct redis_forwards *redis_forwards_new(void) MUST_CHECK;

/* OP_FORWARD: asks the nodes where the user is registered; the store is usable. Ends the op. */
void redis_forward(struct redis_store *s, struct op *op);
/* OP_ANSWER: to the node that asks. Ends the op. */
void redis_forward_answer(struct redis_store *s, struct op *op);
/* Frames on this node's channel: a command for a session here ("XC"), an answer ('Y'). False: malformed. */
bool redis_take_command(struct redis_store *s, struct span frame) MUST_CHECK;
bool redis_take_answer(struct redis_store *s, struct span frame) MUST_CHECK;

/* Those that were not answered in time; all, at the end. */
void redis_forward_tick(struct redis_store *s);
void redis_forwards_end(struct redis_store *s);

#endif
