/*
 * peer.h - one subscriber: dial, TLS, upgrade, welcome, subscription, then messages.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "board.h"
#include "link.h"
#include "stamp.h"

enum peer_state { PEER_IDLE, PEER_DIAL, PEER_UPGRADE, PEER_WELCOME, PEER_SUBSCRIBE, PEER_READY, PEER_GONE };

struct peer {
    struct link link;
    enum peer_state state;
    unsigned index; /* among all processes: names the user */
    uint64_t next;  /* the number expected */
    uint64_t seq;   /* of the last stored message, where acks are held back */
    uint8_t *rest;  /* the piece of a frame that was read, or NULL */
    uint32_t rest_n;
};

/* What the peers of one process have in common. */
struct peer_env {
    struct url url;
    const char *room, *user_prefix;
    bool crier;      /* the crier protocol; else ready after the upgrade */
    bool hold_acks;  /* the seq of messages is remembered, for peer_ack */
    unsigned sample; /* a power of two less one: latency of these */
    struct link_ctx tls;
    struct stamp stamp;
    struct board *board;
    struct slot *slot;
    uint8_t *buf; /* PEER_BUF bytes: every read lands here */
    bool noisy;   /* explain the first failures */
};

#define PEER_BUF (256u * 1024)

/* Starts connecting; -1: failed (said when noisy). */
int peer_dial(struct peer *p, struct peer_env *env) MUST_CHECK;
/* The socket is ready. Returns true when it wants to wait for writability next, false for readability. On failure the
 * state is PEER_GONE and everything released. */
bool peer_event(struct peer *p, struct peer_env *env);
/* Acknowledges what it has received. */
void peer_ack(struct peer *p, struct peer_env *env);
void peer_close(struct peer *p);

#endif
