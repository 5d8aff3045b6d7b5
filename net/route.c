/*
 * route.c - the table of paths. Paths are compared as sent: none of them needs percent escapes, so an escaped one is
 * another path, and that is not there.
 */
#include "net/route.h"

#include <stdio.h>

#include "core/config.h"
#include "net/admit.h"
#include "net/api_push.h"
#include "net/handlers.h"
#include "net/http.h"
#include "net/net_env.h"
#include "net/sse.h"
#include "net/websocket.h"
#include "proto/http_head.h"

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

static size_t limit_echo(const struct config *cfg)
{
    return cfg->max_message;
}

#define ROUTE_CLIENT (ROUTE_ORIGIN | ROUTE_CORS)

static const struct route routes[] = {
    {"/ws", HTTP_GET, 0, NULL, serve_ws},
    {"/echo", HTTP_GET, ROUTE_ECHO, NULL, serve_ws_echo},
    {"/echo", HTTP_POST, ROUTE_ECHO | ROUTE_ORIGIN, limit_echo, ops_echo},
    {"/events", HTTP_GET, ROUTE_CLIENT | ROUTE_NO_HEAD, NULL, sse_handle},
    {"/events", HTTP_OPTIONS, ROUTE_CLIENT, NULL, admit_preflight},
    {"/healthz", HTTP_GET, 0, NULL, ops_healthz},
    {"/readyz", HTTP_GET, 0, NULL, ops_readyz},
    {"/metrics", HTTP_GET, ROUTE_INTERNAL, NULL, ops_metrics},
    {"/api/push", HTTP_POST, ROUTE_INTERNAL | ROUTE_API_KEY | ROUTE_ORIGIN, limit_api, api_push},
    {"/console", HTTP_GET, ROUTE_INTERNAL, NULL, asset_console_redirect},
    {"/", HTTP_GET, ROUTE_INTERNAL | ROUTE_DEV, NULL, asset_root_redirect},
};

/* Files of the binary have no line of their own: one for those of the console, one for the others. */
static const struct route console_asset = {"/console/", HTTP_GET, ROUTE_INTERNAL, NULL, asset_serve};
static const struct route public_asset = {"/", HTTP_GET, 0, NULL, asset_serve};

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

const struct route *route_find(const struct net_env *env, bool public, const struct http_head *h, char *allow,
                               size_t allowlen)
{
    bool get = false, head = false, post = false;
    const struct route *asset = in_console(h->path) ? &console_asset : &public_asset;

    allow[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *r = &routes[i];
        if (!enabled(r, env->cfg, public) || !span_eq(h->path, span_str(r->path)))
            continue;
        if (has_method(r, h->method))
            return r;
        get |= r->method == HTTP_GET;
        head |= has_method(r, HTTP_HEAD);
        post |= r->method == HTTP_POST;
    }
    if (!get && enabled(asset, env->cfg, public) && asset_find(env, h->path)) {
        if (has_method(asset, h->method))
            return asset;
        get = head = true;
    }
    if (get || post)
        snprintf(allow, allowlen, "%s%s%sOPTIONS", get ? "GET, " : "", head ? "HEAD, " : "", post ? "POST, " : "");
    return NULL;
}
