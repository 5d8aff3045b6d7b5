/*
 * op_inbox.h - ops about one user's inbox: request and reply halves. See op.h for how ops travel and who frees what.
 */
#ifndef CORE_OP_INBOX_H
#define CORE_OP_INBOX_H

#include "core/base.h"

struct job;

/* One page of an inbox (reply half of attach and fetch). */
struct op_page {
    uint64_t top; /* highest seq ever given out in this inbox */
    uint64_t gap; /* highest seq dropped by the cap, 0: none */
    bool more;    /* another page is there */
    unsigned njobs;
    struct job **jobs; /* in seq order, each with one reference; may be NULL when njobs == 0 */
};

/* Registers (user, device) on this node, so that its inbox's messages come here, and reads the first page.
 * since: the last seq the client says it has (0: it says nothing; use the stored cursor). */
struct op_attach {
    char *user, *device;
    bool named; /* the client picked the device id (long session) */
    bool has_since;
    uint64_t since;
    /* reply */
    uint64_t cursor;  /* where this session starts: entries > cursor follow */
    uint64_t pending; /* how many entries > cursor are in the inbox */
    struct op_page page;
};

/* The session is over; its last ack is written; `last`: no other session of the user is left on this shard. No reply.
 */
struct op_detach {
    char *user, *device;
    bool named, last;
    uint64_t acked; /* 0: nothing new */
};

struct op_fetch {
    char *user;    /* or the room */
    bool room;     /* a room with history */
    uint64_t from; /* entries with seq > from */
    struct op_page page;
};

struct op_ack {
    unsigned n;
    struct op_ack_entry {
        char *user, *device;
        bool named;
        uint64_t seq;
    } * v; /* on OP_AWAY the shard marks them dirty again */
};

#endif
