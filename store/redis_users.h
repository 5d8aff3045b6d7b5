/*
 * redis_users.h - the users registered on this node. Private to the Redis back-end; dispatcher thread.
 */
#ifndef STORE_REDIS_USERS_H
#define STORE_REDIS_USERS_H

#include "core/list.h"

struct redis_store;

/* A user registered on this node (or about to be). */
struct ruser {
    struct list link; /* its partition's */
    uint64_t last;    /* highest seq that has been passed on */
    uint64_t seen;    /* what its shard says it has got, in this round of the audit (redis_audit.c) */
    uint32_t round;   /* the last one in which it was told of, or wanted */
    uint32_t checked; /* the last one in which it was compared */
    unsigned refs;    /* commands under way that point here */
    bool registered;  /* a session wants it here */
    bool attached;    /* one attach has succeeded */
    uint8_t hash[4];  /* the first bytes of SHA-1(name) */
    uint8_t part;     /* the first of them */
    uint8_t len;
    char name[];
};

/* NULL: not here. */
struct ruser *redis_user(const struct redis_store *s, struct span name);
/* The user's partition, from the table where it is there. */
uint8_t redis_user_part(const struct redis_store *s, struct span name);
/* Finds or makes it and marks it registered; one reference for the caller. NULL when memory is out. */
struct ruser *redis_user_want(struct redis_store *s, struct span name) MUST_CHECK;
/* No session wants it any more; frees it unless commands still point to it. */
void redis_user_unwant(struct redis_store *s, struct ruser *u);
void redis_user_unref(struct redis_store *s, struct ruser *u);
/* Registers all again and asks who is behind. */
void redis_users_sync(struct redis_store *s);
/* Takes all registrations of this node back. */
void redis_users_sweep(struct redis_store *s);
void redis_users_free(struct redis_store *s);

#endif
