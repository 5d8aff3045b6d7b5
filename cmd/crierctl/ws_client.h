/*
 * ws_client.h - a blocking WebSocket client (RFC 6455): handshake, whole messages in, frames out.
 */
#ifndef CMD_CRIERCTL_WS_CLIENT_H
#define CMD_CRIERCTL_WS_CLIENT_H

#include "cmd/crierctl/net_io.h"
#include "core/buf.h"
#include "proto/ws_frame.h"

struct ws {
    struct link link;
    struct buf in;      /* bytes read and not used yet */
    struct buf message; /* the message being put together */
    bool in_message;
    enum ws_opcode opcode; /* WS_TEXT or WS_BINARY */
    unsigned close_code;   /* after WS_CLOSED: the server's code, 1005: none, 1006: no close frame */
    char close_reason[124];
};

/* REFUSED: the server answered, with an error. FAILED: nobody there, broken, or told to come back later (503, 429). */
enum ws_open_result { WS_OPEN, WS_OPEN_REFUSED, WS_OPEN_FAILED };
enum ws_open_result ws_open(struct ws *w, const struct url *u, const struct server *s, const char *target,
                            const char *subprotocol, char *err, size_t errlen) MUST_CHECK;

enum ws_event { WS_MESSAGE, WS_CLOSED, WS_SILENCE };
/* Waits for the next whole message; pings are answered on the way. WS_MESSAGE: w->message, until the next call.
 * WS_CLOSED: w->close_code and w->close_reason. WS_SILENCE: nothing came for timeout_ms. */
enum ws_event ws_next(struct ws *w, unsigned timeout_ms) MUST_CHECK;
/* More bytes are here already. */
bool ws_more(const struct ws *w);
bool ws_send(struct ws *w, enum ws_opcode op, struct span payload) MUST_CHECK;
/* Says goodbye with `code` (0: without a word) and closes. */
void ws_end(struct ws *w, unsigned code);

#endif
