/*
 * call.h - what a request that stays on its connection asks of the shard that owns its user: a posted command for the
 * user's session there, or a poll. The asking shard fills the request half, the owner the answer half, and the same
 * struct travels back. Whoever finds the receiver gone frees it. A command for a session at another node goes there by
 * way of the store (core/op_where.h), as a copy.
 */
#ifndef CORE_CALL_H
#define CORE_CALL_H

#include "core/base.h"
#include "core/list.h"

enum call_kind {
    CALL_COMMAND, /* a client's command for the session of (user, device) */
    CALL_POLL,    /* messages of (user, device) */
    CALL_HURRY,   /* a waiting poll's time is over: it is answered with what there is. No answer of its own */
    CALL_FORGET,  /* whoever polled has gone: nothing is given to that poll any more. No answer */
};

#define CALL_NO_AFTER UINT64_MAX

struct call {
    struct list link; /* the holder's own */
    enum call_kind kind;
    bool back;      /* on its way to who asked */
    unsigned shard; /* who asked, and for which connection */
    uint64_t conn;
    char *user, *device;

    /* CALL_COMMAND */
    unsigned codec; /* enum codec (proto/codec.h), of input and body */
    uint8_t *input; /* the command as it came */
    size_t input_len;
    char *id;       /* a send's id, made up if need be */
    bool here_only; /* other nodes are not asked */
    char *origin;   /* the node that asks; NULL: this one */
    uint64_t token; /* its own number */

    /* CALL_POLL */
    bool named;     /* the client picked the device's name */
    bool take;      /* what is returned counts as read */
    bool wait;      /* until there is something, or CALL_HURRY */
    unsigned limit; /* messages */
    uint64_t after; /* the cursor the client brings; CALL_NO_AFTER: none */
    char *places;   /* the same as it came, with its places in rooms (proto/sse_id.h); NULL: none */
    char *rooms;    /* rooms with history, "a,b"; NULL: none */

    /* answer */
    bool no_session;        /* nobody to carry the command out */
    bool away;              /* it is not known: the store or the other node does not answer */
    unsigned status;        /* as HTTP has them */
    unsigned retry_after_s; /* 0: says nothing */
    uint8_t *body;
    size_t body_len;
};

/* New; keeps copies of the names. NULL when memory is out. */
struct call *call_new(enum call_kind kind, struct span user, struct span device) MUST_CHECK;
/* Frees it with all it holds. NULL is fine. */
void call_free(struct call *c);

#endif
