/*
 * ws_ext.h - Sec-WebSocket-Extensions (RFC 6455 section 9.1) and the terms of permessage-deflate (RFC 7692 section 7):
 * what a client offers is read, and the first offer that can be met is agreed to. Pure.
 */
#ifndef PROTO_WS_EXT_H
#define PROTO_WS_EXT_H

#include "core/base.h"

enum ws_ext_result {
    WS_EXT_BAD,     /* not the grammar of RFC 6455: the handshake must fail */
    WS_EXT_NONE,    /* nothing agreed to: the answer has no such header */
    WS_EXT_DEFLATE, /* permessage-deflate is agreed to */
};

/* What we are willing to do. */
struct ws_ext_policy {
    bool deflate;  /* false: only the grammar is looked at */
    bool takeover; /* keep compression contexts from message to message where the client allows it */
};

/* What was agreed. A window is its size in bits. All zero: no compression. */
struct ws_deflate {
    uint8_t server_bits; /* of what we send: 9-15 */
    uint8_t client_bits; /* of what the client sends: 8-15 */
    bool server_takeover : 1, client_takeover : 1;
    bool say_server_bits : 1, say_client_bits : 1; /* named in the answer */
};

/* Reads the header's lines in order (as if joined by commas) to their end. An offer of permessage-deflate with an
 * unknown parameter, one that is there twice, a value that does not belong to it, or a server window of 8 bits (which
 * zlib cannot make) is passed over, and the next is tried; other extensions are passed over too. */
enum ws_ext_result ws_ext_negotiate(const struct span *lines, unsigned n, const struct ws_ext_policy *policy,
                                    struct ws_deflate *out) MUST_CHECK;

#define WS_EXT_ANSWER_MAX 160
/* The header's value in our answer, NUL-terminated; returns its length. */
size_t ws_ext_answer(const struct ws_deflate *d, char out[WS_EXT_ANSWER_MAX]);

#endif
