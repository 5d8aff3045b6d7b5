/*
 * api_query.h - the calls of the server API that are one question to the store, answered with what it renders: a line
 * of route.c's table and a case in the store is all that a new one needs.
 */
#ifndef NET_API_QUERY_H
#define NET_API_QUERY_H

#include "core/op.h"
#include "proto/members.h"
#include "proto/names.h"

struct conn;
struct http_request;

/* What an argument has to be; a sentence for who gives another. */
struct api_rule {
    bool (*ok)(struct span value);
    const char *must;
};

/* Arguments of the op, in this order: what stands for each "*" of the route's path, decoded; the query parameters named
 * here; the strings of the body's object. NULL where the request has none. Without rules for a body, a route with a
 * body limit gives the body as it is. */
struct api_call {
    enum query_kind kind;
    const char *params[QUERY_ARGS];
    struct api_rule rules[QUERY_ARGS]; /* of the path's and the query's arguments; ok == NULL: anything */
    const struct member_rule *body;    /* strings; NULL: see above */
    unsigned nbody, nneeded;           /* the first so many have to be there; with none a body may be left out */
};

/* Rules that several calls share. */
extern const struct member_rule api_body_user[2];       /* user, device */
extern const struct member_rule api_body_disconnect[2]; /* device, reason */
extern const struct member_rule api_body_addresses[RELAY_CHANNELS];
/* Each between braces of its own. */
#define API_ANY    NULL, NULL
#define API_USER   name_user_ok, MUST_BE_NAME
#define API_ROOM   name_room_ok, MUST_BE_NAME
#define API_ID     name_id_ok, MUST_BE_NAME
#define API_CURSOR api_is_cursor, "must be a cursor that an answer has brought"
#define API_LIMIT  api_is_limit, "must be a whole number from 1 to 1000"
#define API_SEQ    api_is_seq, MUST_BE_SEQ
bool api_is_limit(struct span s);
bool api_is_seq(struct span s);
bool api_is_cursor(struct span s);

/* The relay works on Redis: why this broker, with its embedded store, does not take what is for it. */
#define API_NO_RELAY "the relay needs Redis: start the broker with --redis, and crier-relay beside it (docs/relay.md)"
/* Calls that are about the relay: 501 with the embedded store, else like api_query. */
void api_query_relay(struct conn *c, const struct http_request *r);
/* Asks the store and answers 200 with its object; 404 when it says that the thing is not there, 400 when it refuses,
 * 503 when it does not answer. */
void api_query(struct conn *c, const struct http_request *r);

#endif
