/*
 * user.h - the users of this shard: those with sessions or polls here. A user lives while it has one.
 */
#ifndef NET_USER_H
#define NET_USER_H

#include "core/base.h"
#include "core/list.h"

struct behind;
struct op_control;
struct job;
struct poll;
struct session;
struct shard;

struct user {
    struct list sessions; /* struct session.in_user, oldest first */
    struct list polls;    /* struct poll.in_user, oldest first */
    unsigned count;       /* of both */
    bool held, over;      /* while its sessions are walked: it is freed after the walk */
    size_t len;
    char name[]; /* NUL-terminated */
};

/* Puts a session under its user, made if new; closes what it replaces (same device; the oldest when there are too
 * many). False: out of memory. */
bool user_join(struct shard *s, struct session *ses, struct span name) MUST_CHECK;
/* Takes it off; true when it was the user's last one here (the user is gone then). */
bool user_leave(struct shard *s, struct session *ses);
/* The same for a poll. */
bool user_join_poll(struct shard *s, struct poll *p, struct span name) MUST_CHECK;
bool user_leave_poll(struct shard *s, struct poll *p);

/* The session or poll of a device that is here, or NULL. */
struct session *user_session(const struct shard *s, struct span user, struct span device);
struct poll *user_poll(const struct shard *s, struct span user, struct span device);

/* Jobs to users, in this order; at most USERS_AT_ONCE. */
#define USERS_AT_ONCE 32
void users_deliver(struct shard *s, struct job *const *jobs, unsigned n);
void user_behind(struct shard *s, const struct behind *b);
/* Ends the user's connections here, or puts them into a room or out of it, whatever their tokens allow. */
void user_control(struct shard *s, const struct op_control *o);
void users_free(struct shard *s);

#endif
