/*
 * api_push.h - POST /api/push: a message from a backend to users, rooms or everyone (PROTOCOL.md section 4).
 */
#ifndef NET_API_PUSH_H
#define NET_API_PUSH_H

#include "core/base.h"

struct conn;
struct http_request;

#define API_MAX_BODY (1024 * 1024) /* of a body, beside the data */

/* Reads the body, submits the op, and answers when the store has: never earlier, and whatever clients do. */
void api_push(struct conn *c, const struct http_request *r);

#endif
