/*
 * api_push.h - POST /api/push and /api/push/batch: messages from a backend to users, rooms or everyone (PROTOCOL.md
 * section 4).
 */
#ifndef NET_API_PUSH_H
#define NET_API_PUSH_H

#include "net/push_body.h"

struct config;
struct conn;
struct http_head;
struct http_request;

#define API_MAX_BODY   (1024 * 1024)     /* of a body, beside the data */
#define API_MAX_BATCH  (8 * 1024 * 1024) /* of a batch's */
#define API_BATCH_SIZE 1000

/* Read the body, submit what it says, and answer when the store has: never earlier, and whatever clients do. */
void api_push(struct conn *c, const struct http_request *r);
void api_push_batch(struct conn *c, const struct http_request *r);

/* The name of a message and the op that carries it. */
struct push_made {
    struct op *op;
    size_t id_len;
    char id[128];
};
/* Makes the op of one body; `key`: the request's Idempotency-Key, empty when there is none. False: nothing was made,
 * *fault says why. */
bool api_push_make(const struct config *cfg, enum codec format, struct span body, struct span key,
                   struct push_made *made, struct push_fault *fault) MUST_CHECK;
/* The Idempotency-Key header, without the quotes that a structured field has around it. False: refused, *fault says
 * why. */
bool api_idempotency_key(const struct http_head *h, struct span *key, struct push_fault *fault) MUST_CHECK;

#endif
