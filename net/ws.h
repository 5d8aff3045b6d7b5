/*
 * ws.h - the state of a WebSocket connection (conn->ext while its proto is ws_proto): shared by the upgrade and the
 * framing.
 */
#ifndef NET_WS_H
#define NET_WS_H

#include "net/session.h"
#include "net/websocket.h"
#include "proto/utf8.h"
#include "proto/ws_frame.h"

#define WELCOME_WAIT_MS                                                                                                \
    200 /* the answer to the upgrade waits this long for the welcome, to leave with it in one write */

struct ws {
    struct session session;
    struct buf *message;   /* a fragmented or partial message so far; NULL: none */
    enum ws_opcode opcode; /* of the message in hand; WS_CONT: none */
    struct utf8 utf8;
    uint32_t left; /* payload bytes of the frame in hand still to come */
    uint64_t offset;
    uint8_t mask[4];
    uint64_t ping_seq; /* what the pong to the last ping proves */
    uint32_t last_ping_ms;
    uint8_t ping_nonce[8];
    enum close_reason why : 8;
    bool fin : 1, in_payload : 1, echo : 1, msgpack : 1, message_ping : 1, ping_out : 1, close_sent : 1,
        close_received : 1;
};

extern const struct conn_proto ws_proto;

/* The connection is where it belongs: the session begins. */
void ws_begin(struct conn *c);

#endif
