/*
 * room.h - the rooms with members on this shard: dense arrays of sessions, and the interest in the room's messages.
 *
 * A member is added first; its `ok` is sent once the dispatcher has confirmed that messages arrive (so some may precede
 * `ok` and none is missed after it). A room lives while it has members or an answer is awaited.
 */
#ifndef NET_ROOM_H
#define NET_ROOM_H

#include "core/base.h"

struct behind;
struct job;
struct op;
struct presence;
struct room;
struct session;
struct shard;

struct room_wish {
    struct span room, ref;
    bool has_since; /* rooms with history: the last seq that the client has */
    uint64_t since;
    bool presence; /* who comes and goes is to be told */
};

enum room_join { ROOM_JOINED, ROOM_TOO_MANY, ROOM_NO_PRESENCE, ROOM_NO_MEMORY };

/* Adds the session (fine if it is a member already); the answer to `ref` is sent now or when all is confirmed. */
enum room_join room_join(struct shard *s, struct session *ses, const struct room_wish *w) MUST_CHECK;
/* False: it was not a member. */
bool room_leave(struct shard *s, struct session *ses, struct span name);
void room_leave_all(struct shard *s, struct session *ses);

void room_deliver(struct shard *s, struct job *j);
/* What comes back from the dispatcher. Each takes the op. */
void room_interest_back(struct shard *s, struct op *op);
void room_watch_back(struct shard *s, struct op *op);
void room_page_back(struct shard *s, struct op *op);                         /* asked for by the room */
void room_session_page(struct shard *s, struct session *ses, struct op *op); /* asked for by a member */
void room_behind(struct shard *s, const struct behind *b);
void room_presence(struct shard *s, const struct presence *p);
/* The session's connection can take more: rooms with history that it is behind in go on. */
void room_session_pump(struct session *ses);
/* The session's place in a room with history: everything up to *seq was queued to it. False: it has none (yet). */
bool room_place(const struct session *ses, struct span room, uint64_t *seq) MUST_CHECK;
/* The store answers again. */
void rooms_store_back(struct shard *s);
/* Have the rooms with something to give so many members together? */
bool rooms_crowd(const struct shard *s, unsigned members);
/* End of an inbox batch: what it has brought goes to the members, or begins to; the rest follows in the next turns. */
void rooms_turn_end(struct shard *s);
/* All that is left, now. */
void rooms_finish(struct shard *s);
void rooms_free(struct shard *s);

#endif
