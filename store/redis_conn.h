/*
 * redis_conn.h - one connection to Redis on libevent: connects, logs in, demands a master, keeps a queue of commands
 * and their callbacks, and connects again for ever when it is lost. Dispatcher thread.
 */
#ifndef STORE_REDIS_CONN_H
#define STORE_REDIS_CONN_H

#include "store/resp.h"

struct event_base;
struct metrics;
struct redis_conn;
struct redis_url;
struct redisReply;

/* What a reply means. */
enum redis_fault {
    REDIS_FINE,
    REDIS_GONE,        /* no reply: the connection is lost, or it came too late */
    REDIS_UNAVAILABLE, /* LOADING, MASTERDOWN, READONLY, ...: alive, but of no use now */
    REDIS_NO_FUNCTION, /* the library is not loaded */
    REDIS_OUT_OF_MEMORY,
    REDIS_REJECTED, /* any other error */
};
enum redis_fault redis_fault_of(const struct redisReply *r);
/* The text of an error reply. */
const char *redis_error_text(const struct redisReply *r);

/* owner: cfg.arg; arg: the sender's. r: borrowed until return; NULL: the connection was lost, or the reply took longer
 * than the timeout (it may have been carried out all the same). Must not free the connection. */
typedef void redis_reply_cb(void *owner, void *arg, const struct redisReply *r);

struct redis_conn_cfg {
    struct event_base *base;
    const struct redis_url *url; /* borrowed */
    struct metrics *metrics;
    const char *label;    /* for log lines; borrowed */
    unsigned timeout_ms;  /* a reply's */
    size_t max_unsent;    /* bytes not yet written */
    unsigned max_waiting; /* commands without a reply */
    void *arg;
    void (*up)(void *arg);                    /* logged in to a master: commands may be sent */
    void (*down)(void *arg, const char *why); /* lost, or one more try failed; queued callbacks have had their NULL */
    /* A connection that is pushed to: gets all bytes after `up`; returns how many it used, <0 to drop the connection.
     * NULL: a command connection. */
    ptrdiff_t (*bytes)(void *arg, struct span in);
};

/* New; its first try begins in the next turn of the loop. NULL when memory is out. */
struct redis_conn *redis_conn_new(const struct redis_conn_cfg *cfg) MUST_CHECK;
/* Callbacks still waiting get their NULL. Not from a callback. */
void redis_conn_free(struct redis_conn *c);

enum redis_sent {
    REDIS_SENT,    /* the callback follows, exactly once */
    REDIS_NOT_UP,  /* it will not */
    REDIS_TOO_MUCH /* it will not: too many commands or bytes are waiting, or memory is out */
};
/* Queues one command made of all parts together; what is queued in one turn of the loop leaves in one write.
 * patient: the callback waits for the reply however long it takes. cb NULL: nobody waits. */
enum redis_sent redis_conn_send(struct redis_conn *c, const struct resp_args *const *parts, unsigned nparts,
                                redis_reply_cb *cb, void *arg, bool patient) MUST_CHECK;

bool redis_conn_is_up(const struct redis_conn *c);
unsigned redis_conn_waiting(const struct redis_conn *c);
/* Gives the connection up at the end of this turn; the next try follows. */
void redis_conn_drop(struct redis_conn *c, const char *why);
/* It has proved useful: the next loss is answered quickly again. */
void redis_conn_praise(struct redis_conn *c);

#endif
