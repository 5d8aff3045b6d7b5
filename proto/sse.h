/*
 * sse.h - the event stream format (WHATWG HTML, section "Server-sent events"): events written. Pure.
 */
#ifndef PROTO_SSE_H
#define PROTO_SSE_H

#include "core/buf.h"

struct sse_event {
    struct span id;    /* without line ends and NUL; empty: no line, the client keeps the id it has */
    struct span event; /* without line ends; empty: no line, so "message" to the client */
    struct span data;  /* any text: a line for each of its lines, ended by \n, \r\n or \r. The client sees \n */
    uint32_t retry_ms; /* 0: no line */
};

/* Appends one event and its empty line. An event without data but with retry_ms is that line alone. False: at the
 * buffer's ceiling, or id or event hold what they must not; then nothing was added. */
bool sse_write(struct buf *out, const struct sse_event *e) MUST_CHECK;
/* What sse_write adds, in bytes. */
size_t sse_size(const struct sse_event *e);

/* The string `type` of an encoded JSON object whose first member it is, as the broker writes them; empty: it is not. */
struct span sse_type_of(struct span object);

/* A line that clients read over, to show that the connection lives. */
#define SSE_COMMENT ":\n\n"

#endif
