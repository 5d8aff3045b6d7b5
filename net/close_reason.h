/*
 * close_reason.h - why connections end: one reason, one counter, one word in the log.
 */
#ifndef NET_CLOSE_REASON_H
#define NET_CLOSE_REASON_H

#include "core/metrics.h"

#define CLOSE_REASONS(X)                                                                                               \
    X(NORMAL, "normal")                                                                                                \
    X(PEER_GONE, "peer gone")                                                                                          \
    X(HTTP_DONE, "request answered")                                                                                   \
    X(DRAIN, "broker stops")                                                                                           \
    X(IDLE, "nothing came for too long")                                                                               \
    X(HANDSHAKE_TIMEOUT, "handshake took too long")                                                                    \
    X(WRITE_TIMEOUT, "a write made no progress")                                                                       \
    X(SLOW, "slow consumer")                                                                                           \
    X(PROTOCOL, "protocol error")                                                                                      \
    X(TOO_BIG, "message too big")                                                                                      \
    X(RATE, "too fast for too long")                                                                                   \
    X(POLICY, "policy")                                                                                                \
    X(UNAUTHORIZED, "unauthorized")                                                                                    \
    X(EXPIRED, "token expired")                                                                                        \
    X(REPLACED, "replaced by a newer connection")                                                                      \
    X(OVERLOAD, "overloaded")                                                                                          \
    X(SERVER, "disconnected by the server")                                                                            \
    X(MEMORY, "out of memory")                                                                                         \
    X(TLS, "TLS failed")

enum close_reason {
#define X(id, text) CLOSE_##id,
    CLOSE_REASONS(X)
#undef X
};

const char *close_reason_text(enum close_reason r);
enum metric close_reason_metric(enum close_reason r);

#endif
