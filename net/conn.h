/*
 * conn.h - one client connection, whatever it speaks. Owned by its shard; looked up by id; a pointer is valid until the
 * end of the loop turn in which it was closed (then the reaper frees it).
 *
 * How its bytes are understood is the business of its `proto` (http, websocket): a table of four functions.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include "core/base.h"
#include "core/wheel.h"
#include "net/close_reason.h"
#include "net/outq.h"

struct buf;
struct call;
struct conn;
struct event;
struct op;
struct session;
struct shard;
struct sockaddr_storage;
struct ssl_st;

enum conn_state {
    CONN_HANDSHAKE, /* TLS */
    CONN_OPEN,      /* its proto reads and writes */
    CONN_MOVING,    /* on its way to another shard */
    CONN_FINISHING, /* what is queued goes out, then FIN, then the peer's FIN is awaited for a moment; input is thrown
                       away */
    CONN_DEAD,      /* in the graveyard */
};

struct conn_proto {
    const char *name;
    /* Bytes have come: p[0..n) (may be changed in place). Returns how many were used up; the rest is kept and given
     * again with more. May close the connection. Not called while c->paused. */
    size_t (*input)(struct conn *c, uint8_t *p, size_t n);
    /* An op submitted with op->conn == c->id is back. Takes the op. */
    void (*op_done)(struct conn *c, struct op *op);
    /* A call made for this connection is back. Takes the call. NULL: it makes none. */
    void (*call_done)(struct conn *c, struct call *call);
    /* The connection's timer fired (conn_timer). */
    void (*timer)(struct conn *c);
    /* The connection is being closed: let go of what c->ext points to (it goes itself with the turn). Called once. */
    void (*gone)(struct conn *c);
    /* The broker stops: say goodbye and finish. */
    void (*drain)(struct conn *c);
    /* The connection has arrived on this shard (conn_move); NULL for protos that never move. */
    void (*adopted)(struct conn *c);
    /* The output queue was over its soft limit or held bytes back and is empty now; NULL: nobody cares. */
    void (*drained)(struct conn *c);
    /* The session on it, or NULL; a NULL function: never has one. */
    struct session *(*session)(struct conn *c);
};

struct conn {
    /* what giving it a message touches comes first */
    struct shard *shard;
    const struct conn_proto *proto;
    struct outq out;
    int fd;
    enum conn_state state : 8;
    enum close_reason reason : 8;
    bool dirty : 1, paused : 1, corked : 1, want_write : 1, ending : 1, resuming : 1, public : 1, shut : 1;
    bool timer_due : 1, dry : 1; /* dry: TLS, and its socket has been read empty (net/tls_bio.c) */
    uint8_t armed : 2;           /* what its socket is waited for (net/sockets.h) */
    struct conn *next_dirty;     /* shard.dirty */
    uint32_t last_tx_ms;         /* low 32 bits of the shard's clock */
    void *ext;                   /* the proto's own */
    uint64_t id;
    struct ssl_st *ssl; /* NULL: plain */
    struct timer timer;
    struct event *overdue;            /* only while a write is left over: when that has lasted too long */
    struct buf *in;                   /* bytes not used up yet; NULL: none */
    struct conn *next_resumed, *next; /* next: graveyard, moves */
    uint32_t last_rx_ms;              /* low 32 bits of the shard's clock */
    uint8_t move_to;                  /* CONN_MOVING: the shard it goes to */
    uint8_t peer_family;              /* 4, 6 */
    uint16_t peer_port;
    uint8_t peer_addr[16];
};

#define CONN_HOT offsetof(struct conn, id)

/* Takes the accepted fd (nonblocking, without Nagle's delay) of that peer; `begin` gives it its first proto
 * (http_start, tcp_start). NULL: closed already, out of memory. */
struct conn *conn_new(struct shard *s, int fd, const struct sockaddr_storage *peer, bool tls, bool public,
                      bool (*begin)(struct conn *c));

/* Copies bytes into the output queue (HTTP answers, control frames; never dropped). False: it is being closed. */
bool conn_write(struct conn *c, struct span bytes);
/* Queues a message frame under the policy of its class (net/outq.h) and counts what was dropped. OUT_OVER: the caller
 * closes it. */
enum out_result conn_push(struct conn *c, struct frame *f, enum out_class cls) MUST_CHECK;
/* Joins a frame to what waits, if that is one entry of this class and nothing of it was offered yet. False: push it. */
bool conn_join(struct conn *c, struct joint *j, const struct frame *f, enum out_class cls) MUST_CHECK;
/* Marks it for the flush at the end of this turn. */
void conn_mark_dirty(struct conn *c);
/* A corked connection collects output and writes none until it is uncorked (101 and welcome leave in one write). */
void conn_cork(struct conn *c, bool on);
/* Is its output queue over the soft limits (stored messages should stay in their inbox)? */
bool conn_backlogged(const struct conn *c);
/* Throws away what is queued and not yet begun (a slow client that is to be told so). */
void conn_drop_queued(struct conn *c);

/* Stops and resumes input (a request is being answered). Kept bytes are given again on resume, from the loop. */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);

/* (Re)arms the connection's one timer; at_flush: it fires before this turn's output leaves, for one write of both. */
void conn_timer(struct conn *c, uint32_t delay_ms);
void conn_timer_at_flush(struct conn *c);

/* Closes at once. The one way a connection ends: reason counted and logged, proto->gone called, freed at the end of the
 * turn. */
void conn_close(struct conn *c, enum close_reason why);
/* The proto has begun to end it: whatever closes it now, this is the reason. */
void conn_ending(struct conn *c, enum close_reason why);
/* Lets what is queued go out first (CONN_FINISHING), bounded in time, then closes with that reason. */
void conn_finish(struct conn *c, enum close_reason why);

/* "127.0.0.1:40312", "[::1]:40312". out holds at least 64 bytes. */
const char *conn_peer(const struct conn *c, char *out, size_t len);

/* Gives the connection to another shard (it must be CONN_OPEN, nothing queued twice). Its proto and ext travel with it;
 * on the new shard `adopted` is called, then proto->input with kept bytes. */
void conn_move(struct conn *c, unsigned to);
/* Its socket can be read or written (net/sockets.h). */
void conn_ready(struct conn *c, unsigned can);
/* The shard's own calls: the end of a turn, and the receiving half of a move. */
void conn_flush(struct conn *c);
/* The same in two halves, for output that leaves with that of others in one system call: may it (nothing stands in the
 * way, and it is not TLS)? And: n bytes have left, or -errno. */
bool conn_may_batch(const struct conn *c);
void conn_batch_sent(struct conn *c, ssize_t n);
void conn_resumed(struct conn *c);
void conn_timer_fired(struct conn *c);
void conn_before_flush(struct conn *c);
bool conn_hand_over(struct conn *c); /* true: it has left this shard and must not be touched */
void conn_free(struct conn *c);
void conn_adopt(struct shard *s, struct conn *c);
/* Has the kernel nothing left to send, and the output queue neither? */
bool conn_sent_all(const struct conn *c);
/* The peer's kernel must acknowledge what was written within this time, or the connection breaks (silent clients). */
void conn_peer_timeout(struct conn *c, unsigned ms);
/* Milliseconds since anything came from the peer. */
uint32_t conn_silent_ms(const struct conn *c);

#endif
