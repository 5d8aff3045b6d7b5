/*
 * poll.h - clients that ask instead of being told: what the owning shard knows of a (user, device) that polls. It stays
 * for a while after the last poll, registered with the store, so that a poll that finds nothing asks nobody.
 */
#ifndef NET_POLL_H
#define NET_POLL_H

#include "core/job.h"
#include "core/list.h"
#include "core/op.h"

struct call;
struct conn;
struct http_request;
struct shard;
struct user;

#define POLL_ID_BIT    (UINT64_C(1) << 63) /* of op.conn: a poll's, not a connection's */
#define POLL_WAIT_MAX  60                  /* seconds */
#define POLL_LIMIT_MAX 100                 /* messages */

struct poll {
    struct list in_user;
    struct list idle; /* shard.idle_polls, the longest idle first, while nobody waits */
    struct user *user;
    struct shard *shard;
    uint64_t id;
    uint64_t idle_since_ms;
    uint64_t cursor; /* the device's, when known */
    uint64_t wanted; /* highest seq known to exist */
    uint64_t empty;  /* between the cursor and this there was nothing to read */
    bool known;      /* the store has told the cursor, and nothing says that it has moved elsewhere */
    bool reading;    /* an attach is out, made for this `after`: */
    uint64_t asked_after;
    bool named;
    struct call *waiting; /* the newest poll that is not answered yet */
    struct op_page page;  /* taken for it, while its cursor is written */
    uint64_t read_from;   /* the cursor that page was read from */
    unsigned taken;       /* jobs of the page that it gets; 0: there is no page */
    bool written;         /* their cursor is written, but the poll had gone: for the next one */
    uint64_t serial;      /* of the last cursor on its way to the store */
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
/* Replaced, too many, or idle for long: the waiting poll is answered, the store told. Frees it. */
void poll_end(struct poll *p);

/* Shard-wide. */
void polls_op_back(struct shard *s, struct op *op); /* takes the op */
void polls_deliver_all(struct shard *s, struct job *j);
void polls_store_back(struct shard *s);
void polls_tick(struct shard *s); /* the shard's poll_timer */
void polls_drain(struct shard *s);
void polls_end_all(struct shard *s);

/* GET /poll (poll_http.c). */
void poll_handle(struct conn *c, const struct http_request *r);

#endif
