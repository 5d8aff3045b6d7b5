/*
 * redis_user_query.h - what the server API asks of a user, asked of Redis. Dispatcher thread, Redis back-end.
 */
#ifndef STORE_REDIS_USER_QUERY_H
#define STORE_REDIS_USER_QUERY_H

#include "core/base.h"

struct op;
struct redis_store;

/* QUERY_USER, QUERY_INBOX, QUERY_INBOX_CLEAR, QUERY_DISCONNECT, QUERY_ROOM_ADD, QUERY_ROOM_REMOVE,
 * QUERY_ADDRESSES, QUERY_ADDRESSES_SET; the store is usable. Ends the op. */
void redis_user_query(struct redis_store *s, struct op *op);
/* A frame of kind 'X' on this node's channel. False: it is malformed. */
bool redis_take_control(struct redis_store *s, struct span frame) MUST_CHECK;

#endif
