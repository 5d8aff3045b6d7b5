/*
 * room_state.h - what the files of the rooms of a shard share: room.c (members, joining), room_walk.c (delivering),
 * room_history.c
 * (the rule of rooms with history), room_poll.c (those who poll), room_presence.c (who comes and goes). Private to
 * them.
 */
#ifndef NET_ROOM_STATE_H
#define NET_ROOM_STATE_H

#include "core/list.h"
#include "net/room.h"
#include "net/session.h"

struct blob;
struct call;
struct frame_cache;

struct member {
    struct session *session;
    uint32_t slot; /* in session->rooms */
};

/* Somebody who waits for `ok`: on the connection, or by a call that was posted for it. */
struct waiter {
    struct waiter *next;
    uint64_t conn;
    struct call *call;
    bool joined; /* this very command made it a member */
    bool watch;  /* it waits for presence too */
    bool has_since;
    uint64_t since;
    size_t len;
    uint8_t ref[];
};

/* A member's place in a room with history. */
struct follow {
    uint64_t sent;   /* everything up to it was queued to the connection, or is gone for good */
    uint64_t asked;  /* the room's `last` when the fetch under way was asked for */
    uint64_t ticket; /* of the fetch under way */
    bool fetching;
    bool stuck;             /* the connection took no more: nothing is fetched before its queue is empty */
    bool held;              /* a subscribe with `since` is under way: nothing is given before its answer */
    struct waiter *recover; /* the subscribe that the fetch under way answers */
};

/* Giving a batch to the members: those in [0, left) have yet to get it, those behind have it or came later. */
struct walk {
    struct job **jobs; /* owned */
    unsigned n;
    uint32_t left;
    bool join;                       /* the batch may travel as one block */
    uint64_t base;                   /* the room's, for this batch */
    struct frame *block[WIRE_KINDS]; /* the batch in one piece, made at first need */
    struct joint joint[WIRE_KINDS];  /* and behind what members of other rooms wait with */
    uint32_t again;                  /* members who had the same before them as the one served before: join_again */
    uint64_t again_bytes;            /* what they were given */
    enum out_class class;            /* of the block */
    struct frame_cache *fc;          /* one a job */
};

struct room {
    struct list busy; /* shard.busy_rooms while it has messages to give */
    struct member *members;
    uint32_t count, cap;
    struct list polls;      /* struct poll_room.in_room */
    uint64_t serial;        /* tells answers to this room from those to one of the same name that is gone */
    bool history, presence; /* what the configuration says of it */
    bool asked;             /* the dispatcher knows of our interest */
    bool pending;           /* its answer is awaited */
    bool confirmed;
    bool held; /* its members are being walked */
    struct waiter *waiters;
    struct job **batch; /* what came since the walk under way began */
    unsigned nbatch;
    struct walk *walk; /* room_walk.c; NULL: none is under way */
    /* history */
    uint64_t last;      /* everything up to it has been offered to the members, or waits in the batch */
    uint64_t wanted;    /* highest seq known to exist */
    uint64_t asked_for; /* `wanted` when the fetch under way was asked for */
    uint64_t base;      /* `last` before the first stored message of the batch */
    bool fetching, batch_stored;
    /* presence */
    uint32_t watchers; /* members that want to hear */
    uint64_t watch_serial;
    bool watch_pending, watched;
    size_t len;
    char name[];
};

static inline struct span room_name(const struct room *r)
{
    return span_of(r->name, r->len);
}

/* ---- room.c ---- */
/* The room of that name, made if it is new; NULL: no memory. One that nobody is in stays until room_leave_if_empty. */
struct room *room_get(struct shard *s, struct span name) MUST_CHECK;
/* Has its messages come here, unless they do; false: no memory. */
bool room_ask(struct shard *s, struct room *r) MUST_CHECK;
int room_slot(const struct session *ses, const struct room *r); /* -1: no member */
/* Answers the subscribe. Takes the waiter. ses NULL: it has gone. */
void room_answer_ok(struct shard *s, struct session *ses, struct room *r, struct waiter *w, bool recovered);
/* The same with an error; who became a member by it no longer is. May free the room, unless it is held. */
void room_answer_away(struct shard *s, struct session *ses, struct room *r, struct waiter *w);
struct session *room_waiting_session(struct shard *s, const struct waiter *w);
/* What waits for confirmation or presence, and need not any more, goes on. May free the room, unless it is held. */
void room_advance(struct shard *s, struct room *r);
void room_leave_if_empty(struct shard *s, struct room *r);
void room_waiter_free(struct shard *s, struct waiter *w);

/* ---- room_walk.c ---- */
/* Collects a message for the members; takes a reference of its own. */
void room_collect(struct shard *s, struct room *r, struct job *j);
/* Gives the members all that was collected, now. May free the room, unless it is held. */
void room_flush(struct shard *s, struct room *r);
void room_walk_free(struct room *r);

/* ---- room_history.c ---- */
bool room_follow_new(struct membership *m) MUST_CHECK;
void room_follow_free(struct shard *s, struct membership *m);
/* The interest is confirmed: `top` is where the room stands. */
void room_history_start(struct shard *s, struct room *r, uint64_t top);
/* Is this stored message the room's next one? Else it is old, or the ones before it are fetched first. */
bool room_history_take(struct shard *s, struct room *r, const struct job *j);
/* A stored message of the batch for one member. base: the room's `last` before it. */
void room_history_offer(struct session *ses, struct membership *m, struct frame_cache *fc, uint64_t base);
/* The waiter has what it needs but for the past: begins, or ends at once. Takes it. */
void room_history_join(struct shard *s, struct session *ses, struct room *r, struct waiter *w);

/* Reads the history behind `from`, for the room itself (conn 0) or who knows it by conn and ticket. */
bool room_fetch(struct shard *s, const struct room *r, uint64_t from, uint64_t conn, uint64_t ticket) MUST_CHECK;

/* ---- room_poll.c ---- */
/* Its batch; it stands further on, or is confirmed; it is not to be had now. */
void room_polls_offer(struct room *r);
void room_polls_stir(struct room *r);
void room_polls_away(struct room *r);

/* ---- room_presence.c ---- */
void room_presence_joined(struct shard *s, struct room *r, const struct session *ses);
void room_presence_left(struct shard *s, struct room *r, const struct session *ses);
/* False: memory is out. */
bool room_watch(struct shard *s, struct room *r, struct membership *m) MUST_CHECK;
void room_unwatch(struct shard *s, struct room *r, struct membership *m);

#endif
