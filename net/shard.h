/*
 * shard.h - one I/O thread: its event base, listeners, connections, users and rooms. Everything in struct shard is
 * touched by that thread alone; others speak to it through its inbox.
 *
 * A turn of the loop: events are handled (input, timers, a bounded batch of the inbox), connections with something to
 * write are marked dirty, then each is flushed once, then the reaper frees what was closed.
 */
#ifndef NET_SHARD_H
#define NET_SHARD_H

#include <event2/event.h>

#include "core/buf.h"
#include "core/hash.h"
#include "core/list.h"
#include "core/log.h"
#include "core/map.h"
#include "core/metrics.h"
#include "core/wheel.h"
#include "net/net_env.h"
#include "net/track.h"
#include "net/user.h"

struct census;
struct conn;
struct deflate;
struct flusher;
struct limits;
struct listener;
struct op;
struct sockets;
struct ssl_ctx_st;

#define SHARD_RX_BYTES (64 * 1024)

struct shard {
    const struct net_env *env;
    const struct config *cfg;
    unsigned index;
    const char *node; /* the node's name: env's, or `renamed` */
    char *renamed;
    struct metrics *m;
    struct inbox *inbox;

    struct event_base *base;
    struct event *doorbell, *tick;
    struct sockets *sockets; /* of the connections */
    struct wheel wheel;
    uint64_t tick_due_ms; /* when the tick event is armed for */
    uint64_t now_ms;      /* monotonic, set at each wake-up */

    struct listener *listeners;
    struct idmap conns; /* by id: all connections that are not dead */
    uint64_t next_conn;
    struct random_pool random; /* names of devices */
    uint64_t ping_nonce;       /* of the last ping; begins anywhere */
    uint64_t next_ticket;      /* of rooms and their fetches: tells answers apart */
    struct conn *dirty;        /* to flush at the end of the turn */
    struct conn *graveyard;    /* to free at the end of the turn */
    size_t freed;              /* connections, since main was last asked to trim the heap */
    size_t heap_ahead;         /* bytes that new TLS connections may take before more are fetched */

    struct map users;                   /* struct user (net/user.h) */
    struct map rooms;                   /* struct room (net/room.h) */
    struct list busy_rooms;             /* rooms with messages that this turn has brought */
    struct job *landing[USERS_AT_ONCE]; /* messages to users that came one after the other */
    unsigned nlanding;
    struct list ack_dirty; /* sessions whose cursor is to be written */
    struct timer ack_timer;
    struct tracker tracker; /* what became of tracked messages, on its way to the store */

    struct census *census; /* a page that waits for room in the dispatcher's lane (net/census.h) */
    size_t census_at;      /* where the walk over `users` goes on */
    unsigned census_epoch;

    struct idmap polls;      /* struct poll (net/poll.h), by id */
    struct list idle_polls;  /* the longest idle first */
    struct timer poll_timer; /* when the first of them has been idle for long enough */
    uint64_t next_poll;

    struct list unsent_calls; /* calls that found another shard's lane full */
    struct list unsent_ops;   /* ops for the dispatcher that found its lane full, in order */
    struct conn *moves;   /* connections to hand over at the end of the turn (or when their owner's lane has room) */
    struct conn *resumed; /* connections whose kept input is to be looked at again */

    unsigned unrung; /* ops in the dispatcher's lane since it was last woken */
    bool store_ready;
    bool draining;
    bool stop;
    bool latency_sampled; /* one latency sample a connection and flush */
    uint64_t written_us;  /* when what is being counted was written; 0: the clock has not been asked yet */
    struct log_limit log_close, log_http, log_bad;
    uint8_t *rx;             /* SHARD_RX_BYTES: input is read here first */
    uint8_t *staging;        /* TLS output is gathered here */
    struct buf scratch;      /* messages are encoded here (net/frame_cache.h) */
    struct flusher *flusher; /* NULL: each connection is written by itself (net/flush.h) */
    struct deflate *deflate; /* made at first need (net/ws_deflate.c) */
    struct limits *limits;   /* NULL: no rate is limited */
    struct ssl_ctx_st *tls;  /* what TLS connections begin with; NULL: there are none */
};

/* Where a listener comes from: bound by main before the threads start, one socket a shard and address. */
struct listen_socket {
    int fd;
    bool tls, public;
    bool raw; /* no HTTP: net/tcp.h */
};

/* Starts the thread; takes the sockets' fds. `in` is the shard's own inbox (borrowed). NULL with a sentence in err. */
struct shard *shard_start(const struct net_env *env, unsigned index, struct inbox *in, struct metrics *m,
                          const struct listen_socket *socks, unsigned nsocks, char *err, size_t errlen) MUST_CHECK;
/* Waits for the thread to end (STOP_NOW was posted). */
void shard_join(struct shard *s);
/* Closes what is left, gives last acks and detaches to the dispatcher, and frees the shard. Called by main when all
 * shards have been joined (they may have been handing connections to each other) and the dispatcher still runs. */
void shard_free(struct shard *s);

/* Binds and listens (SO_REUSEPORT) on "ADDR:PORT" for `n` shards; fills fds[n] and the address really bound in `bound`
 * ("127.0.0.1:8080", "[::1]:8080"). A plain probe bind finds a taken port first. False with a sentence in err. */
bool listener_bind(const char *spec, unsigned n, int *fds, char *bound, size_t boundlen, char *err,
                   size_t errlen) MUST_CHECK;

/* The accepting side (listener.c): starts and stops the shard's listeners. */
bool listeners_start(struct shard *s, const struct listen_socket *socks, unsigned n) MUST_CHECK;
void listeners_stop(struct shard *s);

/* Gives an op to the dispatcher (in order; never lost; kept here while the lane is full). Fills shard, born_us. Takes
 * it. */
void shard_submit(struct shard *s, struct op *op);
/* True while ops are waiting for room in the dispatcher's lane: input from clients should wait. */
static inline bool shard_congested(const struct shard *s)
{
    return !list_empty(&s->unsent_ops);
}
unsigned shard_owner(const struct shard *s, struct span user);

#endif
