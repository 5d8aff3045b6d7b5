/*
 * track.h - the shard's side of the ledger: what becomes of tracked messages is noted here and told to the store in
 * batches. A shard that never sees a tracked message owns nothing here; every call on an untracked one is a test of a
 * pointer or a flag.
 *
 * Never blocks and is bounded: events that find no room are counted and forgotten.
 */
#ifndef NET_TRACK_H
#define NET_TRACK_H

#include "core/list.h"
#include "core/op.h"
#include "core/wheel.h"

struct frame;
struct session;
struct shard;

/* Part of struct shard. */
struct tracker {
    struct op *open;  /* the batch being filled; NULL: none */
    unsigned on_way;  /* batches that the store has not answered */
    struct list kept; /* full batches that it has not taken, for later */
    unsigned nkept;
    struct timer timer; /* when the open batch leaves, or the kept ones are offered again */
};

/* Messages of a session that were written or queued and are not acknowledged, oldest first; NULL in a session that has
 * none. */
struct tracked;

void tracker_init(struct tracker *t);
/* Gives everything to the dispatcher that can be given; frees the rest. The shard ends. */
void tracker_end(struct shard *s);

/* A stored message was queued to the session. */
void track_queued(struct session *s, struct job *j);
/* A frame was handed to the kernel; ses: the session on that connection, NULL: none (any more). */
void track_written(struct shard *s, struct session *ses, const struct frame *f);
/* A message went to a client in an answer of its own (polling). */
void track_answered(struct shard *s, const char *device, struct job *j);
/* A live-only message will not go to this session (NULL: to some session, or to nobody). */
void track_dropped(struct shard *s, struct session *ses, struct job *j, const char *why);
/* The session's cursor has moved. */
void track_acked(struct session *s);
void track_forget(struct session *s);

/* An OP_TRACK is back. Takes it. */
void track_back(struct shard *s, struct op *op);
/* The tracker's timer. */
void track_tick(struct shard *s);

#endif
