/*
 * memory_users.h - what the server API asks of a user, asked of the embedded store. Dispatcher thread.
 */
#ifndef STORE_MEMORY_USERS_H
#define STORE_MEMORY_USERS_H

#include "core/op.h"

struct user_inbox;

/* Answers QUERY_USER, QUERY_INBOX, QUERY_INBOX_CLEAR, QUERY_DISCONNECT, QUERY_ROOM_ADD or QUERY_ROOM_REMOVE: fills the
 * reply and returns the status. b: the user's inbox, NULL: unknown; node: this one's name. *control: an OP_CONTROL for
 * the user's connections, the caller's; NULL: none. */
enum op_status memory_user_query(struct user_inbox *b, const char *node, uint64_t now_s, struct op *op,
                                 struct op **control) MUST_CHECK;

#endif
