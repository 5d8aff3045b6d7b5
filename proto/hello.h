/*
 * hello.h - the first object on a bare TCP connection: who it is and what it wishes, as a WebSocket says in its
 * request. Pure.
 */
#ifndef PROTO_HELLO_H
#define PROTO_HELLO_H

#include "proto/codec.h"

enum hello_ack { HELLO_ACK_AUTO, HELLO_ACK_EXPLICIT, HELLO_ACK_SENT };

struct hello {
    struct span ref;
    struct span token, user, device; /* empty: not there; user and device are valid names */
    bool has_since;
    uint64_t since;
    enum hello_ack ack;
};

/* {"type":"hello", token, user, device, since, ack}. Reads one whole frame, as command_parse does: spans borrow from
 * `frame` and scratch; members that are not known are ignored. 0: fine; <0: err filled. */
int hello_parse(enum codec c, struct span frame, struct buf *scratch, struct hello *out,
                struct command_error *err) MUST_CHECK;

#endif
