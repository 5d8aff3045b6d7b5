/*
 * dispatcher.h - the dispatcher thread: owns the store, turns what arrives into jobs on the owning shards' inboxes, and
 * answers the shards' ops.
 */
#ifndef STORE_DISPATCHER_H
#define STORE_DISPATCHER_H

#include "core/base.h"

struct config;
struct inbox;
struct metrics;
struct dispatcher;

/* Where everything is: built by cmd/crier, shared by reference, immutable. Lanes: an inbox's lane i (i < nshards) is
 * shard i's, lane nshards is the dispatcher's (in shard inboxes), lane nshards + 1 is main's. */
struct dispatcher_env {
    const struct config *cfg;
    const char *node; /* with incarnation */
    unsigned nshards;
    struct inbox *inbox;         /* the dispatcher's own */
    struct inbox *const *shards; /* [nshards] */
    struct inbox *main;          /* told MSG_STOPPED and MSG_STORE_STATE */
    struct metrics *metrics;
    const char *address;        /* where the listeners are, for the other nodes; NULL: nowhere */
    uint64_t started_ms;        /* unix ms */
    struct metrics *const *all; /* [nall]: every thread's block, for what the node says of itself */
    unsigned nall;
    const uint64_t *owner_key; /* siphash key for owner(user): siphash13(owner_key, user) % nshards */
    _Atomic bool *ready;       /* the dispatcher writes: /readyz */
};

struct dispatcher *dispatcher_start(const struct dispatcher_env *env, char *err, size_t errlen) MUST_CHECK;
/* Waits for the thread (STOP_NOW was posted to its inbox) and frees everything. */
void dispatcher_join(struct dispatcher *d);

#endif
