/*
 * route.c - the table of paths. Paths are compared as sent: none of them needs percent escapes, so an escaped one is
 * another path, and that is not there. What stands for a "*" may be escaped: its handler decodes it.
 */
#include "net/route.h"

#include <stdio.h>

#include "core/config.h"
#include "net/admit.h"
#include "net/api_push.h"
#include "net/api_query.h"
#include "net/handlers.h"
#include "net/http.h"
#include "net/net_env.h"
#include "net/poll.h"
#include "net/send_http.h"
#include "net/sse.h"
#include "net/websocket.h"
#include "proto/http_head.h"
#include "proto/names.h"

#define SMALL_BODY_BYTES 4096

static void serve_ws(struct conn *c, const struct http_request *r)
{
    ws_handle(c, &r->head);
}

static void serve_ws_echo(struct conn *c, const struct http_request *r)
{
    ws_handle_echo(c, &r->head);
}

static size_t limit_api(const struct config *cfg)
{
    return API_MAX_BODY + (size_t)cfg->max_payload;
}

static size_t limit_batch(const struct config *cfg)
{
    return API_MAX_BATCH + (size_t)cfg->max_payload;
}

static size_t limit_small(const struct config *cfg)
{
    (void)cfg;
    return SMALL_BODY_BYTES;
}

static size_t limit_message(const struct config *cfg)
{
    return cfg->max_message;
}

#define ROUTE_CLIENT (ROUTE_ORIGIN | ROUTE_CORS)
#define ROUTE_API    (ROUTE_INTERNAL | ROUTE_API_KEY | ROUTE_ORIGIN | ROUTE_CORS)

/* A call of the server API that is one question to the store: its kind, and the names of query parameters, which are
 * the arguments after those that stand for a "*" of the path. */
#define CALL(path, method, limit, ...)       ASK(path, method, limit, api_query, __VA_ARGS__)
#define CALL_RELAY(path, method, limit, ...) ASK(path, method, limit, api_query_relay, __VA_ARGS__)
#define ASK(path, method, limit, handler, ...)                                                                         \
    {                                                                                                                  \
        path, method, ROUTE_API, limit, handler, &(const struct api_call)                                              \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

#define LEDGER_PARAMS "user", "limit", "after"
/* clang-format off */
#define LEDGER_RULES {API_ID}, {API_USER}, {API_LIMIT}, {API_CURSOR}
/* clang-format on */

static const struct route routes[] = {
    {"/ws", HTTP_GET, 0, NULL, serve_ws, NULL},
    {"/echo", HTTP_GET, ROUTE_ECHO, NULL, serve_ws_echo, NULL},
    {"/echo", HTTP_POST, ROUTE_ECHO | ROUTE_ORIGIN, limit_message, ops_echo, NULL},
    {"/events", HTTP_GET, ROUTE_CLIENT | ROUTE_NO_HEAD, NULL, sse_handle, NULL},
    {"/events", HTTP_OPTIONS, ROUTE_CLIENT, NULL, admit_preflight, NULL},
    {"/poll", HTTP_GET, ROUTE_CLIENT | ROUTE_NO_HEAD, NULL, poll_handle, NULL},
    {"/poll", HTTP_OPTIONS, ROUTE_CLIENT, NULL, admit_preflight, NULL},
    {"/send", HTTP_POST, ROUTE_CLIENT, limit_message, send_handle, NULL},
    {"/send", HTTP_OPTIONS, ROUTE_CLIENT, NULL, admit_preflight, NULL},
    {"/healthz", HTTP_GET, 0, NULL, ops_healthz, NULL},
    {"/readyz", HTTP_GET, 0, NULL, ops_readyz, NULL},
    {"/metrics", HTTP_GET, ROUTE_INTERNAL, NULL, ops_metrics, NULL},
    {"/api/push", HTTP_POST, ROUTE_API, limit_api, api_push, NULL},
    {"/api/push/batch", HTTP_POST, ROUTE_API, limit_batch, api_push_batch, NULL},
    CALL("/api/users/*", HTTP_GET, NULL, .kind = QUERY_USER, .rules = {{API_USER}}),
    CALL("/api/users/*/inbox", HTTP_GET, NULL, .kind = QUERY_INBOX, .params = {"limit", "after"},
         .rules = {{API_USER}, {API_LIMIT}, {API_SEQ}}),
    CALL("/api/users/*/inbox", HTTP_DELETE, NULL, .kind = QUERY_INBOX_CLEAR, .rules = {{API_USER}}),
    CALL("/api/users/*/disconnect", HTTP_POST, limit_small, .kind = QUERY_DISCONNECT, .rules = {{API_USER}},
         .body = api_body_disconnect, .nbody = ARRAY_LEN(api_body_disconnect)),
    CALL("/api/rooms/*/subscribe", HTTP_POST, limit_small, .kind = QUERY_ROOM_ADD, .rules = {{API_ROOM}},
         .body = api_body_user, .nbody = ARRAY_LEN(api_body_user), .nneeded = 1),
    CALL("/api/rooms/*/unsubscribe", HTTP_POST, limit_small, .kind = QUERY_ROOM_REMOVE, .rules = {{API_ROOM}},
         .body = api_body_user, .nbody = ARRAY_LEN(api_body_user), .nneeded = 1),
    CALL("/api/messages/*", HTTP_GET, NULL, .kind = QUERY_MESSAGE, .params = {LEDGER_PARAMS}, .rules = {LEDGER_RULES}),
    CALL("/api/messages/*/undelivered", HTTP_GET, NULL, .kind = QUERY_UNDELIVERED, .params = {LEDGER_PARAMS},
         .rules = {LEDGER_RULES}),
    CALL("/api/messages/*/retry", HTTP_POST, NULL, .kind = QUERY_RETRY, .params = {LEDGER_PARAMS},
         .rules = {LEDGER_RULES}),
    CALL_RELAY("/api/users/*/addresses", HTTP_GET, NULL, .kind = QUERY_ADDRESSES, .rules = {{API_USER}}),
    CALL_RELAY("/api/users/*/addresses", HTTP_PUT, limit_small, .kind = QUERY_ADDRESSES_SET, .rules = {{API_USER}},
               .body = api_body_addresses, .nbody = ARRAY_LEN(api_body_addresses)),
    CALL("/api/nodes", HTTP_GET, NULL, .kind = QUERY_NODES),
    CALL("/api/stats", HTTP_GET, NULL, .kind = QUERY_STATS),
    CALL("/api/rooms", HTTP_GET, NULL, .kind = QUERY_ROOMS, .params = {"after", "limit"},
         .rules = {{API_ANY}, {API_LIMIT}}),
    CALL("/api/rooms/*", HTTP_GET, NULL, .kind = QUERY_ROOM, .rules = {{API_ROOM}}),
    CALL("/api/rooms/*/history", HTTP_GET, NULL, .kind = QUERY_ROOM_HISTORY, .params = {"before", "since", "limit"},
         .rules = {{API_ROOM}, {API_SEQ}, {API_SEQ}, {API_LIMIT}}),
    CALL("/api/rooms/*/presence", HTTP_GET, NULL, .kind = QUERY_ROOM_PRESENCE, .params = {"after", "limit"},
         .rules = {{API_ROOM}, {API_ANY}, {API_LIMIT}}),
    {"/console", HTTP_GET, ROUTE_INTERNAL, NULL, asset_console_redirect, NULL},
    {"/", HTTP_GET, ROUTE_INTERNAL | ROUTE_DEV, NULL, asset_root_redirect, NULL},
};

/* Files of the binary have no line of their own: one for those of the console, one for the others. */
static const struct route console_asset = {"/console/", HTTP_GET, ROUTE_INTERNAL, NULL, asset_serve, NULL};
static const struct route public_asset = {"/", HTTP_GET, ROUTE_CORS, NULL, asset_serve, NULL};

const struct route *route_at(size_t i)
{
    return i < ARRAY_LEN(routes) ? &routes[i] : NULL;
}

static bool enabled(const struct route *r, const struct config *cfg, bool public)
{
    return !(r->flags & ROUTE_INTERNAL && public) && !(r->flags & ROUTE_ECHO && !cfg->echo) &&
           !(r->flags & ROUTE_DEV && !cfg->dev);
}

static bool has_method(const struct route *r, enum http_method m)
{
    bool head = m == HTTP_HEAD && r->method == HTTP_GET && !(r->flags & ROUTE_NO_HEAD);

    return r->method == (unsigned)m || head;
}

static bool in_console(struct span path)
{
    struct span dir = span_str(console_asset.path);

    return path.n >= dir.n && memcmp(path.p, dir.p, dir.n) == 0;
}

static struct span next_segment(struct span *path)
{
    size_t n = 1; /* the slash */

    while (n < path->n && path->p[n] != '/')
        n++;
    struct span segment = span_of(path->p, n);
    *path = span_of(path->p + n, path->n - n);
    return segment;
}

bool route_matches(const char *pattern, struct span path)
{
    struct span want = span_str(pattern);

    while (want.n && path.n) {
        struct span w = next_segment(&want), p = next_segment(&path);
        bool any = span_eq(w, SPAN_LIT("/*"));
        if (any ? p.n < 2 : !span_eq(w, p))
            return false;
    }
    return want.n == 0 && path.n == 0;
}

const char *route_method_name(unsigned method)
{
    static const char *const names[] = {[HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
                                        [HTTP_PUT] = "PUT", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS"};

    return method < ARRAY_LEN(names) && names[method] ? names[method] : "?";
}

/* "GET, HEAD, OPTIONS" of a set of methods, a bit each. */
static void list_methods(unsigned methods, char *out, size_t len)
{
    size_t at = 0;

    for (unsigned m = HTTP_GET; m <= HTTP_DELETE && at < len; m++) {
        if (methods & 1u << m)
            at += (size_t)snprintf(out + at, len - at, "%s, ", route_method_name(m));
    }
    if (at && at < len)
        snprintf(out + at, len - at, "OPTIONS");
}

const struct route *route_find(const struct net_env *env, bool public, const struct http_head *h, char *allow,
                               size_t allowlen)
{
    unsigned methods = 0;
    bool server = SPAN_IS(h->path, "*"); /* OPTIONS *: what any path has (RFC 9110 section 9.3.7) */
    const struct route *asset = in_console(h->path) ? &console_asset : &public_asset;

    allow[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *r = &routes[i];
        if (!enabled(r, env->cfg, public) || (!server && !route_matches(r->path, h->path)))
            continue;
        if (!server && has_method(r, h->method))
            return r;
        if (r->method != HTTP_OPTIONS)
            methods |= 1u << r->method;
        if (has_method(r, HTTP_HEAD))
            methods |= 1u << HTTP_HEAD;
    }
    if (!(methods & 1u << HTTP_GET) && enabled(asset, env->cfg, public) && asset_find(env, h->path)) {
        if (has_method(asset, h->method))
            return asset;
        methods |= 1u << HTTP_GET | 1u << HTTP_HEAD;
    }
    list_methods(methods, allow, allowlen);
    return NULL;
}

bool route_has_cors(const struct net_env *env, bool public, const struct http_head *h)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *r = &routes[i];
        if (r->flags & ROUTE_CORS && enabled(r, env->cfg, public) && route_matches(r->path, h->path))
            return true;
    }
    return false;
}
