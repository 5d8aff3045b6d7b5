/*
 * session_io.h - what a transport does for the session on it: a table of functions, one for each wire form.
 */
#ifndef NET_SESSION_IO_H
#define NET_SESSION_IO_H

#include "core/job.h"
#include "core/metrics.h"
#include "net/close_reason.h"
#include "net/outq.h"
#include "proto/codec.h"

struct blob;
struct frame_cache;
struct session;

/* What a transport does for its session. */
struct session_io {
    enum codec codec;
    enum wire wire; /* the form messages take */
    /* Appends one encoded object (not a message) to the output, framed. */
    bool (*control)(struct session *s, struct span object);
    enum metric clients; /* the gauge of this transport's sessions */
    /* With ACK_AUTO and ACK_EXPLICIT nothing that comes over this very connection says what has arrived (SSE), so no
     * window holds messages back: the output queue does. */
    bool one_way;
    /* Wraps an encoded message object into this wire form. New blob, or NULL. */
    struct blob *(*wrap)(const struct job_head *h, struct span object);
    /* For sessions whose own `wire` differs from this one: makes that form out of the plain frame, and leaves it in the
     * cache. Never fails: the plain form does as well. NULL: there are no such sessions. */
    struct frame *(*squeeze)(struct session *s, struct frame_cache *fc, struct frame *plain);
    /* Queues a message frame in a form of this connection alone, instead of conn_push; NULL: conn_push. */
    enum out_result (*push)(struct session *s, struct frame *f, enum out_class cls);
    /* Ends the connection with a public close code. */
    void (*close)(struct session *s, unsigned code, const char *reason, enum close_reason why);
    /* Stored messages were queued and the cursor waits for evidence that they arrived (ACK_AUTO, ACK_SENT); NULL:
     * never. */
    void (*want_evidence)(struct session *s);
    /* The client answered a ping message; NULL: no matter. */
    void (*pong)(struct session *s);
    /* The welcome is queued; NULL: nothing to do. */
    void (*welcomed)(struct session *s);
};

#endif
