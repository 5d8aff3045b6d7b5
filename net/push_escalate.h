/*
 * push_escalate.h - the member `escalate` of a push: {"after": seconds, "to": [channel, ...], "text": "..."}. Pure.
 */
#ifndef NET_PUSH_ESCALATE_H
#define NET_PUSH_ESCALATE_H

#include "core/buf.h"
#include "proto/codec.h"

#define ESCALATE_TO_BYTES 64

struct push_escalate {
    uint32_t after_s;           /* 0: there is none */
    char to[ESCALATE_TO_BYTES]; /* "wecom,webhook" */
    struct span text;           /* borrows from the body or from scratch; empty: the relay's own */
};

/* Reads the whole value. False with a sentence that names the member at fault. */
bool push_escalate_read(struct push_escalate *x, enum codec format, struct span raw, struct buf *scratch, char *why,
                        size_t whylen) MUST_CHECK;

#endif
