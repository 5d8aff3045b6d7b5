/*
 * send_http.h - POST /send: a client's command without a socket.
 */
#ifndef NET_SEND_HTTP_H
#define NET_SEND_HTTP_H

struct conn;
struct http_request;

/* Any command but pong, as the body; the answer is the object a socket would get, with a fitting status. */
void send_handle(struct conn *c, const struct http_request *r);

#endif
