/*
 * handlers.h - the handlers of the route table that are no module of their own. Each answers the request in hand; all
 * run on the shard of the connection.
 */
#ifndef NET_HANDLERS_H
#define NET_HANDLERS_H

#include "core/base.h"

struct conn;
struct http_request;
struct net_asset;
struct net_env;

/* ops_http.c */
void ops_healthz(struct conn *c, const struct http_request *r);
void ops_readyz(struct conn *c, const struct http_request *r);
void ops_metrics(struct conn *c, const struct http_request *r);
void ops_echo(struct conn *c, const struct http_request *r);

/* assets.c */
const struct net_asset *asset_find(const struct net_env *env, struct span path);
void asset_serve(struct conn *c, const struct http_request *r);
void asset_console_redirect(struct conn *c, const struct http_request *r);
void asset_root_redirect(struct conn *c, const struct http_request *r);

#endif
