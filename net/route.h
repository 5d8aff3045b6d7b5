/*
 * route.h - which handler serves which path and method: one table.
 */
#ifndef NET_ROUTE_H
#define NET_ROUTE_H

#include "core/base.h"

struct config;
struct conn;
struct http_head;
struct http_request;
struct net_env;

enum route_flag {
    ROUTE_INTERNAL = 1, /* not on a public listener */
    ROUTE_API_KEY = 2,  /* the server API's key is asked for before the body is read */
    ROUTE_ORIGIN = 4,   /* a browser's Origin must be on the list (WebSocket checks it itself) */
    ROUTE_ECHO = 8,     /* only with --echo */
    ROUTE_DEV = 16,     /* only with --dev */
    ROUTE_CORS = 32,    /* pages of other origins that are on the list may read its answers */
    ROUTE_NO_HEAD = 64, /* a GET that is not to be asked for its head alone */
};

struct api_call;

struct route {
    const char *path; /* a segment "*" stands for any one that is not empty */
    unsigned method;  /* enum http_method; GET serves HEAD too */
    unsigned flags;
    /* The longest body it takes, in bytes; NULL: none. */
    size_t (*limit)(const struct config *cfg);
    /* Answers, waits (http_wait) or takes the connection over. */
    void (*handle)(struct conn *c, const struct http_request *r);
    const struct api_call *call; /* where handle is api_query: what is asked */
};

/* The route of a request, or NULL; *allow is then a list of the methods this path has ("GET, HEAD, OPTIONS"), empty for
 * a path that is not there. `allow` holds at least 64 bytes. */
const struct route *route_find(const struct net_env *env, bool public, const struct http_head *h, char *allow,
                               size_t allowlen) MUST_CHECK;
/* The lines of the table in turn; NULL after the last. */
const struct route *route_at(size_t i);
/* "GET" of HTTP_GET. */
const char *route_method_name(unsigned method);
/* May pages of other origins that are on the list call this path at all? For the answer to OPTIONS. */
bool route_has_cors(const struct net_env *env, bool public, const struct http_head *h);
/* Does a path, as sent, fit a route's pattern? */
bool route_matches(const char *pattern, struct span path);

#endif
