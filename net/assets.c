/*
 * assets.c - files embedded in the binary: the console page and the browser client. They change with the binary alone,
 * so a browser may keep them but has to ask each time (ETag).
 */
#include <stdio.h>

#include "net/handlers.h"
#include "net/http.h"
#include "net/shard.h"

/* The pages load nothing from elsewhere and hold no script or style of their own; connect-src 'self' covers ws and wss.
 */
#define PAGE_POLICY                                                                                                    \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "              \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const struct net_asset *asset_find(const struct net_env *env, struct span path)
{
    for (size_t i = 0; i < env->nassets; i++) {
        if (span_eq(path, span_str(env->assets[i].path)))
            return &env->assets[i];
    }
    return NULL;
}

void asset_serve(struct conn *c, const struct http_request *r)
{
    const struct net_asset *a = asset_find(c->shard->env, r->head.path);
    char headers[512];

    if (!a) {
        http_fail(c, 404, "not_found", "there is nothing at this path", 0);
        return;
    }
    snprintf(headers, sizeof(headers),
             "%s%s%sCache-Control: no-cache\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n"
             "Content-Security-Policy: " PAGE_POLICY "\r\n",
             a->etag ? "ETag: " : "", a->etag ? a->etag : "", a->etag ? "\r\n" : "");
    if (a->etag && http_list_has(&r->head, "If-None-Match", a->etag))
        http_answer(c, 304, NULL, (struct span){NULL, 0}, headers);
    else
        http_answer(c, 200, a->type, span_of(a->bytes, a->len), headers);
}

void asset_console_redirect(struct conn *c, const struct http_request *r)
{
    (void)r;
    http_answer(c, 308, NULL, (struct span){NULL, 0}, "Location: /console/\r\n");
}

void asset_root_redirect(struct conn *c, const struct http_request *r)
{
    (void)r;
    http_answer(c, 302, NULL, (struct span){NULL, 0}, "Location: /console/\r\n");
}
