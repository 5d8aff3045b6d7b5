/*
 * redis_audit.h - comparing what the shards have with what Redis has, after every reconnect and once a minute. Private
 * to the Redis back-end; dispatcher thread.
 */
#ifndef STORE_REDIS_AUDIT_H
#define STORE_REDIS_AUDIT_H

#include "core/base.h"

struct census;
struct redis_audit;
struct redis_store;
struct ruser;

struct redis_audit *redis_audit_new(void) MUST_CHECK;
void redis_audit_free(struct redis_audit *a);

/* Asks the shards, as soon as that makes sense. */
void redis_audit_begin(struct redis_store *s);
void redis_audit_tick(struct redis_store *s);
/* A page of answers; NULL: that was all. */
void redis_audit_census(struct redis_store *s, const struct census *page);
/* A session has just asked for the user: a round that is under way does not take it for gone. */
void redis_audit_touch(struct redis_store *s, struct ruser *u);

#endif
