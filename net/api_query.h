/*
 * api_query.h - the calls of the server API that are one question to the store, answered with what it renders: a line
 * of route.c's table and a case in the store is all that a new one needs.
 */
#ifndef NET_API_QUERY_H
#define NET_API_QUERY_H

#include "core/op.h"

struct conn;
struct http_request;

/* Arguments of the op, in this order: what stands for each "*" of the route's path, decoded; then the query parameters
 * named here (NULL where the request has none). A route with a body limit gives the body too. */
struct api_call {
    enum query_kind kind;
    const char *params[QUERY_ARGS];
};

/* Asks the store and answers 200 with its object; 404 when it says that the thing is not there, 400 when it refuses,
 * 503 when it does not answer. */
void api_query(struct conn *c, const struct http_request *r);

#endif
