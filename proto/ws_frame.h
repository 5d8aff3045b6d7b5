/*
 * ws_frame.h - WebSocket frames (RFC 6455 section 5), the accept key, and close payloads. Pure.
 */
#ifndef PROTO_WS_FRAME_H
#define PROTO_WS_FRAME_H

#include "core/base.h"

enum ws_opcode { WS_CONT = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

#define WS_MAX_HEAD        14 /* bytes of the longest frame head */
#define WS_MAX_SERVER_HEAD 10 /* the same without a mask */

struct ws_head {
    bool fin, rsv1, masked;
    enum ws_opcode opcode;
    uint8_t mask[4];
    uint64_t length; /* payload bytes */
    unsigned size;   /* bytes of the head itself */
};

enum ws_fault {
    WS_OK = 0,
    WS_NEED_MORE,
    WS_BAD_RSV, /* reserved bits without an extension that gives them meaning */
    WS_BAD_OPCODE,
    WS_BAD_CONTROL, /* control frame fragmented or longer than 125 */
    WS_BAD_MASK,    /* client frame without a mask / server frame with one */
    WS_BAD_LENGTH,  /* not minimal, or the top bit set */
};

/* Reads one head. want_mask: true when reading what a client sends. allow_rsv1: permessage-deflate was negotiated. */
enum ws_fault ws_head_parse(struct span in, bool want_mask, bool allow_rsv1, struct ws_head *out) MUST_CHECK;
/* A sentence for a close reason (at most 123 bytes). */
const char *ws_fault_text(enum ws_fault f);

/* Writes a head to out (WS_MAX_HEAD bytes); returns its size. mask NULL: unmasked. */
unsigned ws_head_write(uint8_t *out, bool fin, bool rsv1, enum ws_opcode op, uint64_t length, const uint8_t mask[4]);
/* XORs n bytes in place; `offset`: position of p[0] within the frame's payload (for pieces). */
void ws_mask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t offset);

/* Sec-WebSocket-Accept for a key: 28 characters and a NUL. */
void ws_accept_key(struct span key, char out[29]);
/* A Sec-WebSocket-Key is base64 of 16 bytes. */
bool ws_key_ok(struct span key);

/* Close payload (section 7.4): 0 and *code (1005 when empty), or -1: one byte, a code that must not be sent, bad UTF-8.
 */
int ws_close_parse(struct span payload, unsigned *code, struct span *reason) MUST_CHECK;

#endif
