/*
 * store.h - where messages are kept and how nodes reach each other: one interface, two back-ends (Redis, embedded).
 * Runs on the dispatcher thread alone; the dispatcher owns it and calls it; it calls back through `struct store_up`.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "core/msg.h"

struct census;
struct config;
struct event_base;
struct metrics;
struct store;

/* What a node says of itself to the others. */
struct store_about {
    const char *address; /* where its listeners are; borrowed */
    uint64_t since_ms;   /* unix ms: when it started */
    uint64_t clients, users, rooms;
    uint64_t stored, delivered; /* since it started */
};

/* What a store tells the dispatcher. All on the dispatcher thread, never from inside the call that caused it. */
struct store_up {
    void *arg;
    /* A job has arrived for local receivers; takes one reference. */
    void (*job)(void *arg, struct job *j);
    /* An op is done: status and reply half are filled. Takes the op. An OP_CONTROL is the store's own: what the server
     * API, at any node, wants of a user's connections here. */
    void (*done)(void *arg, struct op *op);
    /* The store answers again / no longer (op_status AWAY until then). */
    void (*state)(void *arg, bool ready);
    /* What `ready` says has changed. */
    void (*ready)(void *arg, bool ready);
    /* The user has stored entries up to seq that may not have come through `job`: fetch them. `user` is borrowed. */
    void (*behind)(void *arg, struct span user, uint64_t seq);
    /* The same of a room with history that this node has subscribed to. */
    void (*room_behind)(void *arg, struct span room, uint64_t seq);
    /* Somebody came into a room that is watched here, or left it. Takes it. */
    void (*presence)(void *arg, struct presence *p);
    /* Asks for a census of all shards. */
    void (*audit)(void *arg);
    /* The node has a new name in the cluster: it was taken for dead. Borrowed. May be NULL. */
    void (*renamed)(void *arg, const char *name);
    /* Asks for what the node says of itself (called inside any call). */
    void (*about)(void *arg, struct store_about *out);
};

struct store_ops {
    const char *name; /* "redis", "memory" */
    /* Takes the op; `done` follows always, exactly once (at the latest after config redis_timeout_ms, or at stop). */
    void (*submit)(struct store *s, struct op *op);
    /* Starts and stops receiving a room's live messages on this node (the dispatcher counts shards and lingers).
     * Confirmed by `done` of the op given (OP_INTEREST; NULL: nobody waits). */
    void (*subscribe)(struct store *s, struct span room, struct op *op);
    void (*unsubscribe)(struct store *s, struct span room);
    /* From the answer (OP_WATCH) on every change of who is in the room, in the whole cluster, comes as `presence`. */
    void (*watch)(struct store *s, struct span room, struct op *op);
    void (*unwatch)(struct store *s, struct span room);
    /* A page of who is on a shard, borrowed; NULL: all shards have told all, in the round that up.audit asked for. NULL
     * where that is never asked for. */
    void (*census)(struct store *s, const struct census *page);
    /* True while the node's own probe comes back. */
    bool (*ready)(const struct store *s);
    /* The node is about to stop: writes what is still to be written and says goodbye to the other nodes. */
    void (*leave)(struct store *s);
    /* True when nothing that was submitted, and nothing of `leave`, is still on its way. */
    bool (*idle)(const struct store *s);
    /* Answers what still waits with OP_AWAY through `done`, then frees everything. */
    void (*free)(struct store *s);
};

struct store {
    const struct store_ops *ops;
};

/* node: this node's name with incarnation; borrowed. Return NULL with a sentence in err. */
struct store *store_memory_new(const struct config *cfg, struct event_base *base, struct metrics *m, const char *node,
                               const struct store_up *up, char *err, size_t errlen) MUST_CHECK;
struct store *store_redis_new(const struct config *cfg, struct event_base *base, struct metrics *m, const char *node,
                              const struct store_up *up, char *err, size_t errlen) MUST_CHECK;

#endif
