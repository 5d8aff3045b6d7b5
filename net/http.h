/*
 * http.h - HTTP/1.1 on a connection: reads a head and a body within their bounds, finds the route, writes the answer,
 * keeps the connection for the next request. Pipelined requests wait in the input buffer until the one before is
 * answered.
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "net/conn.h"
#include "proto/codec.h"
#include "proto/http_head.h"

struct call;
struct route;

extern const struct conn_proto http_proto;

/* Begins to speak HTTP on a new connection (sets proto, ext, deadlines). False: no memory, closed. */
bool http_start(struct conn *c);

/* One request being handled; valid inside the route's handler only, but for what the handler copies. */
struct http_request {
    const struct route *route;
    struct http_head head;
    struct span body;
};

/* Answers the request in hand: exactly one of these per request, from the handler or later (after an op came back).
 * `headers`: further complete lines "Name: value\r\n", or NULL. HEAD gets no body, Content-Length and Date are added.
 */
void http_answer(struct conn *c, unsigned status, const char *type, struct span body, const char *headers);
/* {"error":{"code":code,"message":message}} in the request's own format; retry_after in seconds, 0: none. */
void http_fail(struct conn *c, unsigned status, const char *code, const char *message, unsigned retry_after);
/* The same, and the connection is closed after it (the input cannot be trusted any further). */
void http_fail_close(struct conn *c, unsigned status, const char *code, const char *message);
/* A refusal with further header lines of its own (WWW-Authenticate, Allow), as in http_answer. */
void http_fail_with(struct conn *c, unsigned status, const char *code, const char *message, const char *headers);
/* The request will be answered when an op submitted for this connection is back: input waits until then. `done` is
 * given `arg` and takes the op. arg came from malloc: freed by done, or with free() when the connection goes first. */
void http_wait(struct conn *c, void (*done)(struct conn *c, void *arg, struct op *op), void *arg);
/* A request that waits for a call to another shard (core/call.h). */
struct http_waiter {
    void (*done)(struct conn *c, void *arg, struct call *call); /* takes both */
    void (*late)(struct conn *c, void *arg); /* late_ms are over; NULL: it waits as long as it takes */
    void (*left)(struct conn *c, void *arg); /* the client has gone before: takes arg */
};
/* As http_wait. Input is read on meanwhile, so that a client that goes away is noticed; what it says is kept. The
 * caller sends the call itself. */
void http_wait_call(struct conn *c, const struct http_waiter *w, void *arg, uint32_t late_ms);
/* The same with an arg that `drop` frees when the connection goes first. `done` may wait again, for further ops. */
void http_wait_with(struct conn *c, void (*done)(struct conn *c, void *arg, struct op *op), void (*drop)(void *arg),
                    void *arg);
/* What the body of a request is in, and so its answer: msgpack by Content-Type, else JSON. */
enum codec http_format(const struct http_head *h);
/* The handler has taken the connection over (WebSocket): http lets go of its state, proto is the handler's to set.
 * status: what was answered, for the access log. */
void http_release(struct conn *c, unsigned status);
/* Answers 200 with a body that lasts as long as the connection (no length, no chunks, "Connection: close") and releases
 * it to the handler, corked. False: the connection is being closed. */
bool http_stream(struct conn *c, const char *type, const char *headers);

#endif
