/*
 * peer.h - one subscriber: dial, TLS, upgrade or request, welcome, subscription, then messages.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "board.h"
#include "link.h"
#include "stamp.h"

enum peer_kind {
    KIND_CRIER, /* WebSocket: welcome, subscription */
    KIND_PLAIN, /* WebSocket: ready after the upgrade */
    KIND_SSE,   /* an event stream: ready after the head, or once the room is confirmed */
    KIND_POLL,  /* asks, and asks again after each answer: ready once it has asked */
    KIND_TLS    /* a handshake and no more */
};

enum peer_state { PEER_IDLE, PEER_DIAL, PEER_UPGRADE, PEER_WELCOME, PEER_SUBSCRIBE, PEER_READY, PEER_GONE };

struct peer {
    struct link link;
    enum peer_state state;
    unsigned index;  /* among all processes: names the user; churn: of the dial */
    uint64_t next;   /* the number expected, in a single stream */
    uint32_t *nexts; /* the same for each room, where there are several */
    uint32_t joined; /* rooms that were confirmed */
    uint64_t seq;    /* of the last stored message, where acks are held back */
    uint8_t *rest;   /* the piece of a frame that was read, or NULL */
    uint32_t rest_n;
    char *mark; /* poll: headers of the last answer that the next question repeats (nchan), or NULL */
};

/* What the peers of one process have in common. */
struct peer_env {
    struct url url;
    const char *room, *user_prefix;
    unsigned rooms;  /* each peer joins so many */
    unsigned spread; /* rooms among which each joins one; 0: it joins them all */
    bool hold_acks;  /* the seq of messages is remembered, for peer_ack */
    enum peer_kind kind;
    unsigned nports; /* 0: that of the URL */
    uint16_t ports[64];
    unsigned sample; /* a power of two less one: latency of these */
    struct link_ctx tls;
    struct stamp stamp;
    struct board *board;
    struct slot *slot;
    uint8_t *buf; /* PEER_BUF bytes: every read lands here */
    bool noisy;   /* explain the first failures */
};

#define PEER_BUF  (256u * 1024)
#define PEER_REST (PEER_BUF / 2) /* the longest message, or answer */

/* What one read brought: added to the shared counters once at its end. */
struct batch {
    uint64_t now, deliveries, lost, duplicates, others, answers;
    bool measuring;
};

/* Starts connecting; -1: failed (said when noisy). */
int peer_dial(struct peer *p, struct peer_env *env) MUST_CHECK;
/* The socket is ready. Returns true when it wants to wait for writability next, false for readability. On failure the
 * state is PEER_GONE and everything released. */
bool peer_event(struct peer *p, struct peer_env *env);
/* Acknowledges what it has received. */
void peer_ack(struct peer *p, struct peer_env *env);
void peer_close(struct peer *p);

/* ---- between peer.c and peer_http.c ---- */
void peer_fail(struct peer *p, struct peer_env *env, const char *what, struct span said);
void peer_ready(struct peer *p, struct peer_env *env);
/* A stamp was found in a message of this peer. */
void peer_stamp(struct peer *p, struct peer_env *env, const char *at, struct batch *b);
/* Asks for the stream, or for the next messages. 0 or -1. */
int peer_ask(struct peer *p, struct peer_env *env) MUST_CHECK;
/* What came of the stream, or of answers. Bytes used, or -1: the peer is gone. */
ptrdiff_t peer_stream(struct peer *p, struct peer_env *env, struct span in, struct batch *b) MUST_CHECK;
ptrdiff_t peer_answer(struct peer *p, struct peer_env *env, struct span in, struct batch *b) MUST_CHECK;
/* The path of the URL with this peer's name in it. Its length, or -1. */
int peer_path(const struct peer *p, const struct peer_env *env, char *out, size_t n) MUST_CHECK;

#endif
