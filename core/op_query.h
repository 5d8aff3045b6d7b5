/*
 * op_query.h - the part of an op that asks the store a question (core/op.h).
 */
#ifndef CORE_OP_QUERY_H
#define CORE_OP_QUERY_H

#include "core/base.h"

/* What the server API asks the store for (net/api_query.c has the calls). */
enum query_kind {
    QUERY_NODES,         /* no arguments */
    QUERY_STATS,         /* no arguments */
    QUERY_ROOMS,         /* after, limit */
    QUERY_ROOM,          /* room */
    QUERY_ROOM_HISTORY,  /* room; before, since, limit */
    QUERY_ROOM_PRESENCE, /* room; after, limit */
    /* Arguments are names that are allowed, devices too; numbers are digits. */
    QUERY_USER,        /* user */
    QUERY_INBOX,       /* user; limit, after */
    QUERY_INBOX_CLEAR, /* user */
    QUERY_DISCONNECT,  /* user; device, reason */
    QUERY_ROOM_ADD,    /* room; user, device */
    QUERY_ROOM_REMOVE, /* room; user, device */
    QUERY_MESSAGE,     /* id; user, limit, after */
    QUERY_UNDELIVERED, /* the same */
    QUERY_RETRY,       /* the same */
    /* Stores with a relay alone. */
    QUERY_ADDRESSES,     /* user */
    QUERY_ADDRESSES_SET, /* user; an address for each of the relay's channels, in their order */
};

enum { QUERY_ARGS = 6 };

/* A question that the store answers with one object, rendered: the HTTP body as it goes out. */
struct op_query {
    enum query_kind kind;
    char *args[QUERY_ARGS]; /* as the call lists them; NULL: not given */
    uint8_t *body;          /* of the request, where the call takes one */
    size_t body_len;
    bool msgpack; /* body and reply are msgpack, else JSON */
    /* reply */
    bool absent; /* with OP_REFUSED: what was asked for is not there */
    uint8_t *reply;
    size_t reply_len;
};

#endif
