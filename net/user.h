/*
 * user.h - the users with sessions on this shard. A user lives while it has a session.
 */
#ifndef NET_USER_H
#define NET_USER_H

#include "core/base.h"
#include "core/list.h"

struct behind;
struct job;
struct session;
struct shard;

struct user {
    struct list sessions; /* struct session.in_user, oldest first */
    unsigned count;
    bool held, over; /* while its sessions are walked: it is freed after the walk */
    size_t len;
    char name[]; /* NUL-terminated */
};

/* Puts a session under its user, made if new; closes what it replaces (same device; the oldest when there are too
 * many). False: out of memory. */
bool user_join(struct shard *s, struct session *ses, struct span name) MUST_CHECK;
/* Takes it off; true when it was the user's last one here (the user is gone then). */
bool user_leave(struct shard *s, struct session *ses);

void user_deliver(struct shard *s, struct job *j);
void user_behind(struct shard *s, const struct behind *b);
void users_free(struct shard *s);

#endif
