/*
 * ws.h - the state of a WebSocket connection (conn->ext while its proto is ws_proto): shared by the upgrade and the
 * framing.
 */
#ifndef NET_WS_H
#define NET_WS_H

#include "net/pulse.h"
#include "net/session.h"
#include "net/websocket.h"
#include "proto/utf8.h"
#include "proto/ws_ext.h"
#include "proto/ws_frame.h"

struct http_head;
struct ws_contexts;

#define WELCOME_WAIT_MS                                                                                                \
    200 /* the answer to the upgrade waits this long for the welcome, to leave with it in one write */

struct ws {
    struct session session;
    struct buf *message; /* a fragmented or partial message so far; NULL: none */
    struct pulse pulse;
    uint8_t ping_nonce[8];
    struct ws_contexts *contexts; /* of this connection: with takeover alone, made at first need */
    uint32_t left;                /* payload bytes of the frame in hand still to come */
    uint8_t mask[4];
    uint8_t offset;            /* of the next byte in the frame's payload, modulo 4 */
    enum ws_opcode opcode : 8; /* of the message in hand; WS_CONT: none */
    struct utf8 utf8;
    struct ws_deflate z; /* what was agreed; server_bits 0: no compression */
    enum close_reason why : 8;
    bool fin : 1, in_payload : 1, echo : 1, msgpack : 1, message_ping : 1, close_sent : 1, close_received : 1,
        squeezed : 1; /* squeezed: the message in hand is compressed */
};

extern const struct conn_proto ws_proto;

/* The connection is where it belongs: the session begins. */
void ws_begin(struct conn *c);

/* ---- ws_deflate.c: permessage-deflate ---- */

/* Reads the request's offers into w->z. False: the header is malformed. */
bool ws_deflate_agree(struct conn *c, const struct http_head *h, struct ws *w) MUST_CHECK;
/* The most bytes a message in hand may take before it is inflated. */
size_t ws_message_limit(const struct conn *c);
/* Compresses the payload of a frame for this connection, if it is long enough and gets shorter. *out is borrowed until
 * the next call. False: it goes out as it is. */
bool ws_pack(struct conn *c, struct span payload, struct span *out) MUST_CHECK;
/* Inflates a whole message; *plain is borrowed until ws_unpacked. False: the connection is being closed. */
bool ws_unpack(struct conn *c, bool text, struct span packed, struct span *plain) MUST_CHECK;
void ws_unpacked(struct conn *c);
/* A session_io's squeeze and push. */
struct frame *ws_squeeze(struct session *s, struct frame_cache *fc, struct frame *plain);
enum out_result ws_push_own(struct session *s, struct frame *f, enum out_class cls);
void ws_deflate_end(struct ws *w);

#endif
