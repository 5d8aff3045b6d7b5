/*
 * session.h - what a client is to the broker, whatever transport it came over: its user and device, its place in the
 * inbox (cursor, what was sent, what is wanted), its rooms, its permissions. A transport embeds a struct session and
 * gives it a session_io.
 *
 * The node rule (DELIVERY.md section 1), kept per session: a stored message with seq <= sent is old; with prev <= sent
 * it is the next one; else, and whenever the session is slow, only `wanted` is remembered and the rest is fetched from
 * the inbox.
 */
#ifndef NET_SESSION_H
#define NET_SESSION_H

#include "core/list.h"
#include "core/metrics.h"
#include "net/conn.h"
#include "net/frame_cache.h"
#include "net/limits.h"
#include "net/session_io.h"

struct call;
struct command;
struct frame_cache;
struct identity;
struct op;
struct pending_ref;
struct room;
struct room_wish;
struct session;
struct shard;
struct tracked;
struct user;

enum ack_mode { ACK_AUTO, ACK_EXPLICIT, ACK_SENT };

enum session_state { SESSION_NEW, SESSION_ATTACHING, SESSION_LIVE, SESSION_OVER };

struct membership {
    struct room *room;
    uint32_t index;        /* in the room's member array */
    bool watching;         /* it is told who comes and goes */
    struct follow *follow; /* owned; its place in a room with history, else NULL */
};

struct session {
    /* what giving it a message touches comes first: one cache line */
    struct conn *conn;
    const struct session_io *io;
    struct mutes *mutes; /* ids of own messages that must not come back */
    uint64_t sent;       /* highest seq queued, or skipped for good */
    uint64_t wanted;     /* highest seq known to exist */
    union {
        uint64_t since; /* until it is attached: what the client brought; UINT64_MAX: nothing */
        uint64_t acked; /* then: the device's cursor */
    };
    uint64_t *flight; /* ring of seqs sent and not acked; NULL: none */
    uint16_t flight_head, flight_count;
    enum session_state state : 4;
    enum ack_mode ack_mode : 4;
    enum wire wire : 8; /* the form messages take here; the transport may change it once the session has begun */
    bool named : 1, owns_device : 1, fetching : 1, evidence_due : 1, warned : 1;
    bool told : 1;         /* a `closing` went out */
    bool stuck : 1;        /* the connection took no more: nothing is fetched before its queue is empty */
    bool behind_rooms : 1; /* in some room with history it is behind */
    bool news : 1;         /* `wanted` has been raised since the fetch under way was asked for */

    struct user *user; /* NULL: anonymous */
    struct list in_user;
    struct identity *who; /* owned */
    char *device;         /* a name in `who`, or, owns_device, its own */
    struct list ack_dirty;
    struct tracked *tracked; /* net/track.h; NULL: none */
    struct rates *rates;     /* how much it has said of late; owned; NULL: nothing, or nothing is limited */
    struct membership *rooms;
    uint16_t flight_cap;
    uint16_t nrooms, rooms_cap;
    uint16_t npending;
    uint8_t errors;
    struct pending_ref *pending;
    struct call *call; /* the command in hand was posted: its answer goes there */
    uint64_t next_serial;
};

#define SESSION_HOT offsetof(struct session, user)

/* Begins on the owning shard; takes `who`. Attaches to the inbox (user) or says welcome at once (anonymous). */
void session_start(struct session *s, struct conn *c, const struct session_io *io);
/* Lets go of everything; the connection is being closed. */
void session_end(struct session *s);

/* One message object from the client. */
void session_input(struct session *s, struct span object);
/* A command that was posted for this session; its answer goes into the call. Takes it. */
void session_call(struct session *s, struct call *call);
/* Joins a room, if the identity allows it; answers. */
void session_subscribe(struct session *s, const struct room_wish *w);
/* The server API puts it into a room and takes it out, whatever its token allows. The client is told. */
void session_put_in(struct session *s, struct span room);
void session_take_out(struct session *s, struct span room);
/* An op of this session is back. Takes it. */
void session_op_done(struct session *s, struct op *op);
/* The client has everything up to seq. Clamped to what was sent. */
void session_ack(struct session *s, uint64_t seq);
/* A message of that seq is known to exist. */
void session_want(struct session *s, uint64_t seq);
/* Room in the output queue or in the window: fetch what was left to the inbox. */
void session_pump(struct session *s);
/* Asks again for what an answer that failed left open. */
void session_nudge(struct session *s);
/* Its output queue is empty: the same for the inbox and all rooms. */
void session_drained(struct session *s);
/* Milliseconds until the token needs attention (warning or end); 0: never. Warns and closes when it is time. */
uint32_t session_token_check(struct session *s);
/* The broker stops. */
void session_goodbye(struct session *s);

/* A job for this session. Stored ones follow the node rule. */
void session_offer(struct session *s, struct frame_cache *fc);
/* A stored message of a room; false: no room for it now, or the session is over. */
bool session_offer_history(struct session *s, struct frame_cache *fc);
/* This session's wire form of the job; borrowed from the cache. NULL: it cannot be encoded (memory). */
struct frame *session_frame(struct session *s, struct frame_cache *fc);
/* The codec of the answer to the command in hand, and the answer: over the connection, or into the call. */
enum codec session_codec(const struct session *s);
void session_answer(struct session *s, unsigned status, struct span object);
bool session_answer_error(struct session *s, struct span ref, const char *code, const char *message,
                          unsigned retry_after);

/* Shard-wide: a broadcast; acks to write; an ack op that came back; the store answers again. */
void session_deliver_all(struct shard *sh, struct job *j);
void session_flush_acks(struct shard *sh);
void session_acks_back(struct shard *sh, struct op *op);
void session_store_back(struct shard *sh);

/* session_cmd.c: carries out a parsed command. */
void session_command(struct session *s, const struct command *cmd);
/* An answered push or question of session_command. Takes the op. */
void session_push_done(struct session *s, struct op *op);
void session_query_done(struct session *s, struct op *op);
void session_forget_pending(struct session *s);
/* Is this an own message that must not come back (echo: false)? Asked once per message. */
bool session_muted(struct session *s, const struct job *j);

#endif
