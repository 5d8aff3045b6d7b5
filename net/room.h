/*
 * room.h - the rooms with members on this shard: dense arrays of sessions, and the interest in the room's channel.
 *
 * A member is added first; its `ok` is sent once the dispatcher has confirmed that messages arrive (so some may precede
 * `ok` and none is missed after it). A room lives while it has members or an answer is awaited.
 */
#ifndef NET_ROOM_H
#define NET_ROOM_H

#include "core/base.h"

struct job;
struct op;
struct room;
struct session;
struct shard;

enum room_join { ROOM_JOINED, ROOM_ALREADY, ROOM_TOO_MANY, ROOM_NO_MEMORY };

/* Adds the session; the answer to `ref` is sent now or when the interest is confirmed (also for ROOM_ALREADY). */
enum room_join room_join(struct shard *s, struct session *ses, struct span name, struct span ref) MUST_CHECK;
/* False: it was not a member. */
bool room_leave(struct shard *s, struct session *ses, struct span name);
void room_leave_all(struct shard *s, struct session *ses);

void room_deliver(struct shard *s, struct job *j);
void room_interest_back(struct shard *s, struct op *op);
/* End of an inbox batch. */
void rooms_turn_end(struct shard *s);
void rooms_free(struct shard *s);

#endif
