/*
 * websocket.h - RFC 6455 on a connection: the upgrade, frames in, control frames, close handshake. Messages go to the
 * session (net/session.h) or are echoed (/echo).
 */
#ifndef NET_WEBSOCKET_H
#define NET_WEBSOCKET_H

#include "net/conn.h"
#include "proto/http_head.h"

/* The route handlers of GET /ws and GET /echo: check the upgrade, origin and token, answer 101 or an error, and take
 * the connection over (moving it to the owner of its user). The request's body is empty. */
void ws_handle(struct conn *c, const struct http_head *h);
void ws_handle_echo(struct conn *c, const struct http_head *h);

/* Starts the closing handshake: a close frame with code and reason goes out behind what is queued, then the peer's is
 * awaited for a moment. */
void ws_close(struct conn *c, unsigned code, const char *reason, enum close_reason why);
/* RFC 6455 section 7.1.7: the peer broke the protocol. A close frame, then the end; nothing more is read from it, not
 * even its answer. */
void ws_fail(struct conn *c, unsigned code, const char *reason);

#endif
