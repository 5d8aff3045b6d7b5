/*
 * sse.h - Server-Sent Events: GET /events, the same session and messages as a WebSocket, one way.
 */
#ifndef NET_SSE_H
#define NET_SSE_H

struct conn;
struct http_request;

/* The route's handler: checks the request, answers 200 with a body that never ends, and takes the connection over
 * (moving it to the owner of its user). */
void sse_handle(struct conn *c, const struct http_request *r);

#endif
