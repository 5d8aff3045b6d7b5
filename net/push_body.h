/*
 * push_body.h - the body of POST /api/push, JSON or msgpack, read into an envelope and targets. Pure.
 */
#ifndef NET_PUSH_BODY_H
#define NET_PUSH_BODY_H

#include "net/push.h"
#include "net/push_escalate.h"

struct push_body {
    struct envelope envelope; /* spans borrow from the body and from scratch; data is in the body's format */
    unsigned ntargets;
    struct push_target *targets;   /* freed with push_body_fini */
    struct push_escalate escalate; /* borrows like the envelope */
    struct buf scratch;
};

struct push_fault {
    unsigned status;   /* 400, 413, 503 */
    const char *code;  /* "bad_json", "bad_msgpack", "too_deep", "bad_request", "too_big", "no_memory" */
    char message[160]; /* names the member at fault */
};

/* Reads one whole body; b is always to be finished with push_body_fini. Unlike a bare PUBLISH, where an odd object is
 * taken as data, an unknown member is refused: the caller meant something. */
bool push_body_read(struct push_body *b, enum codec format, struct span body, size_t max_payload,
                    struct push_fault *fault) MUST_CHECK;
void push_body_fini(struct push_body *b);

#endif
