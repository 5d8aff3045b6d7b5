/*
 * redis_ledger.h - the ledger of tracked messages in Redis. Private to the Redis back-end; dispatcher thread.
 */
#ifndef STORE_REDIS_LEDGER_H
#define STORE_REDIS_LEDGER_H

#include "core/job.h"
#include "store/resp.h"

struct op;
struct redis_store;

enum { LEDGER_HASH = 16 };

/* A tracked message on its way into the store. Spans are borrowed. */
struct redis_tracked {
    struct span id, payload;
    char hash[LEDGER_HASH + 1]; /* names the payload in the index */
    uint32_t more_s;            /* it is remembered for so much longer than others: what waits for the relay */
};

/* id: not empty. */
struct redis_tracked redis_tracked(struct span id, struct span payload);

/* "<prefix>{T}:t:<u|r|a>:<length of the name>:<name>:<id>"; the partition is the target's, for all the id's. */
void redis_ledger_key(const struct redis_store *s, struct resp_args *a, enum target_kind kind, struct span name,
                      struct span id);

/* The same without "<prefix>{T}:". */
void redis_ledger_name(struct resp_args *a, enum target_kind kind, struct span name, struct span id);

/* Begins the index entry of a message, in s->args: targets follow, then it is sent. Commands that are sent later are
 * carried out later. */
void redis_ledger_open(struct redis_store *s, const struct redis_tracked *t);
void redis_ledger_target(struct redis_store *s, enum target_kind kind, struct span name);
void redis_ledger_opened(struct redis_store *s);
/* The same for one target. */
void redis_ledger_open_one(struct redis_store *s, const struct redis_tracked *t, enum target_kind kind,
                           struct span name);
/* Notes that a message for a room or for all was queued, unless it is noted already. */
void redis_ledger_begin(struct redis_store *s, const struct redis_tracked *t, enum target_kind kind, struct span name);
/* A tracked message that came bare, to a room or to all: index and note. */
void redis_ledger_seen(struct redis_store *s, const struct job *j, struct span payload);

/* OP_TRACK. Ends the op. */
void redis_track(struct redis_store *s, struct op *op);
/* QUERY_MESSAGE, QUERY_UNDELIVERED, QUERY_RETRY; the store is usable. Ends the op. */
void redis_ledger_query(struct redis_store *s, struct op *op);

#endif
