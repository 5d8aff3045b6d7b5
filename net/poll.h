/*
 * poll.h - clients that ask instead of being told: what the owning shard knows of a (user, device) that polls. It stays
 * for a while after the last poll, registered with the store, so that a poll that finds nothing asks nobody.
 */
#ifndef NET_POLL_H
#define NET_POLL_H

#include "core/buf.h"
#include "core/job.h"
#include "core/list.h"
#include "core/op.h"

struct call;
struct conn;
struct http_request;
struct room;
struct shard;
struct user;

#define POLL_ID_BIT    (UINT64_C(1) << 63) /* of op.conn: a poll's, not a connection's */
#define POLL_WAIT_MAX  60                  /* seconds */
#define POLL_LIMIT_MAX 100                 /* messages */

/* A room with history that a poll follows (room_poll.c). */
struct poll_room {
    struct list in_poll, in_room;
    struct poll *poll;
    struct room *room;
    uint64_t place; /* everything up to it was given to the client, or is gone for good */
    uint64_t next;  /* the same with what the answer that is being made holds */
    bool placed;    /* else it begins where the room stands when its messages are known to come */
    bool wished;    /* the call in hand names it */
};

struct poll {
    struct list in_user;
    struct list idle; /* shard.idle_polls, the longest idle first, while nobody waits */
    struct user *user;
    struct shard *shard;
    uint64_t id;
    uint64_t idle_since_ms;
    uint64_t cursor;    /* the device's, when known */
    uint64_t wanted;    /* highest seq known to exist */
    uint64_t asked_for; /* `wanted` when the read under way was asked for */
    uint64_t empty;     /* between the cursor and this there was nothing to read */
    bool known;         /* the store has told the cursor, and nothing says that it has moved elsewhere */
    bool reading;       /* an attach is out, made for this `after`: */
    uint64_t asked_after;
    bool named;
    struct call *waiting;       /* the newest poll that is not answered yet */
    struct op_page page;        /* taken for it, while its cursor is written */
    uint64_t read_from;         /* the cursor that page was read from */
    unsigned taken;             /* jobs of the page that it gets; 0: there is no page */
    bool written;               /* their cursor is written, if it is to be: they can go out */
    uint64_t serial;            /* of the last cursor on its way to the store */
    struct list rooms;          /* struct poll_room.in_poll, in the order they were first named */
    struct poll_room *fetching; /* the room whose history is being read, */
    uint64_t ticket, asked;     /* by this fetch, when the room stood there */
    struct job **got;           /* messages of rooms for who waits */
    unsigned ngot;
    struct buf gaps; /* and what of the rooms is lost to it: gap objects, separated by commas */
    char device[];
};

/* The calls of net/call.h on the owner; each takes the call. */
void poll_ask(struct shard *s, struct call *call);
void poll_hurry(struct shard *s, struct call *call);
void poll_forget(struct shard *s, struct call *call);

/* A job for the user or for all. */
void poll_offer(struct poll *p, struct job *j);
/* Entries up to seq exist that did not come. */
void poll_behind(struct poll *p, uint64_t seq);
/* The client has everything up to seq. */
void poll_ack(struct poll *p, uint64_t seq);
/* A room's history has been read, or a room it follows has something, or is not to be had: goes on, or fails. */
void poll_go_on(struct poll *p);
void poll_away(struct poll *p);
/* Does it wait for something to come, and can be answered with it this moment? */
bool poll_takes(const struct poll *p) MUST_CHECK;
/* Answers with the messages of rooms that were put into it. */
void poll_give(struct poll *p);
/* Replaced, too many, or idle for long: the waiting poll is answered, the store told. Frees it. */
void poll_end(struct poll *p);

/* Shard-wide. */
void polls_op_back(struct shard *s, struct op *op); /* takes the op */
void polls_deliver_all(struct shard *s, struct job *j);
void polls_store_back(struct shard *s);
void polls_tick(struct shard *s); /* the shard's poll_timer */
void polls_drain(struct shard *s);
void polls_end_all(struct shard *s);

/* ---- room_poll.c ---- */
enum poll_wish { POLL_WISH_GOOD, POLL_WISH_TOO_FAST, POLL_WISH_NO_MEMORY };
/* Follows the rooms that the call names, from the places it brings, and no others. */
enum poll_wish poll_rooms_wish(struct poll *p, const struct call *call) MUST_CHECK;
/* Reads what the rooms have for who waits. */
enum poll_gather { POLL_GATHERED, POLL_GATHERING, POLL_NO_MEMORY };
enum poll_gather poll_rooms_gather(struct poll *p) MUST_CHECK;
/* Is it known of all its rooms where they stand? Has any more than was gathered? */
bool poll_rooms_ready(const struct poll *p) MUST_CHECK;
bool poll_rooms_more(const struct poll *p) MUST_CHECK;
/* What was gathered is given (the places move), or is not. */
void poll_rooms_done(struct poll *p, bool given);
void poll_rooms_page(struct poll *p, const struct op *op); /* a fetch is back */
void poll_rooms_leave(struct poll *p);
/* Appends the places behind the inbox's. False: at the buffer's ceiling. */
bool poll_rooms_write(const struct poll *p, struct buf *out) MUST_CHECK;

/* GET /poll (poll_http.c). */
void poll_handle(struct conn *c, const struct http_request *r);

#endif
