/*
 * op_where.h - the parts of an op (core/op.h) that say who is where: rooms that a shard has members of, users who are
 * in them, and what the server API wants of a user's connections.
 */
#ifndef CORE_OP_WHERE_H
#define CORE_OP_WHERE_H

#include "core/base.h"

struct call;

/* The shard has (on) or no longer has (off) members of the room. Reply to `on`: OP_OK once the subscription is
 * confirmed: everything sent from then on comes. */
struct op_interest {
    char *room;
    bool on;
    /* reply, rooms with history */
    uint64_t top; /* highest seq given out before */
};

/* The user's first connection on this node is in the room now (on), or the last one no longer is. No reply. */
struct op_presence {
    char *room, *user;
    bool on;
};

/* The shard has (on) or no longer has (off) members that want to hear who comes and goes. Reply to `on`: OP_OK once
 * every change from then on comes as MSG_PRESENCE. */
struct op_watch {
    char *room;
    bool on;
};

/* What the server API wants of a user's present connections, or a client of another node of a session of its own; goes
 * to the shard that owns the user, and nobody answers (a command: OP_ANSWER). */
enum control_act { CONTROL_DISCONNECT, CONTROL_JOIN, CONTROL_LEAVE, CONTROL_COMMAND };

struct op_control {
    enum control_act act;
    char *user;
    char *device;      /* NULL: all of them */
    char *text;        /* why; or the room */
    struct call *call; /* the command */
};

/* OP_FORWARD: a posted command for a session that is not on this node; the reply is the call's answer half. OP_ANSWER:
 * the answer to one that came from another node; no reply. */
struct op_forward {
    struct call *call; /* owned */
};

#endif
