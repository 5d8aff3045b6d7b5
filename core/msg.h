/*
 * msg.h - what threads say to each other through inboxes, and who frees it: ownership travels with the item.
 */
#ifndef CORE_MSG_H
#define CORE_MSG_H

#include "core/base.h"
#include "core/call.h"
#include "core/op.h"

struct item;

enum msg_kind {
    MSG_JOB,         /* dispatcher -> shard; ptr: struct job, one reference; to a user, a room or all */
    MSG_BEHIND,      /* dispatcher -> shard; ptr: struct behind; a stored job found the lane full: fetch */
    MSG_ROOM_BEHIND, /* the same of a room with history */
    MSG_PRESENCE,    /* dispatcher -> shard; ptr: struct presence; somebody came into a watched room or left it */
    MSG_STORE_STATE, /* dispatcher -> shard; arg: 1 the store answers, 0 it is away */
    MSG_OP,          /* shard -> dispatcher -> shard; ptr: struct op */
    MSG_CENSUS,      /* dispatcher -> shard -> dispatcher; ptr: struct census */
    MSG_NODE,        /* dispatcher -> shard; ptr: char *, freed with free(): this node's name from here on */
    MSG_CALL,        /* shard -> shard -> shard; ptr: struct call */
    MSG_MOVE,        /* shard -> shard; ptr: struct conn (net/), detached from its old event base */
    MSG_CERTIFICATE, /* main -> shard; ptr: an SSL_CTX, one reference: what TLS connections begin with from here on */
    MSG_STOP,        /* main -> all; arg: enum stop_phase */
    MSG_STOPPED,     /* shard -> dispatcher -> main */
    MSG_FREED,       /* shard -> main; a wave of connections has gone, their memory can go back to the system */
};

enum stop_phase {
    STOP_DRAIN, /* no new connections, not ready, clients closed with 1001 */
    STOP_NOW,   /* cut what is left, leave the loop */
};

struct behind {
    uint64_t seq; /* highest seq not delivered */
    size_t len;
    char user[]; /* or room */
};
/* New; NULL when memory is out. Freed with free(). */
struct behind *behind_new(struct span user, uint64_t seq) MUST_CHECK;

struct presence {
    bool join;
    uint64_t seq; /* grows with each change of this room's presence */
    size_t room_len, user_len;
    char text[]; /* room NUL user: what tells changes of one user in one room from others */
};
/* New; NULL when memory is out. Freed with free(). */
struct presence *presence_new(struct span room, struct span user, bool join, uint64_t seq) MUST_CHECK;
static inline struct span presence_room(const struct presence *p)
{
    return span_of(p->text, p->room_len);
}
static inline struct span presence_user(const struct presence *p)
{
    return span_of(p->text + p->room_len + 1, p->user_len);
}

/* Frees any item that reached nobody (inbox_free's `drop`); MSG_MOVE and MSG_CERTIFICATE are the shards' own affair and
 * must not be left. */
void msg_drop(void *arg, struct item it);

#endif
