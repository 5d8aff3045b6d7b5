/*
 * memory_state.h - what the files of the embedded store share. Private to them; dispatcher thread.
 */
#ifndef STORE_MEMORY_STATE_H
#define STORE_MEMORY_STATE_H

#include "core/map.h"
#include "store/jobmaker.h"
#include "store/memory_ids.h"
#include "store/memory_ledger.h"
#include "store/memory_presence.h"
#include "store/store.h"

enum { MEMORY_PAGE = 100, MEMORY_PAGE_BYTES = 65536 };

/* Something to be called back for at the end of the turn: one of them. */
struct out {
    struct job *job;
    struct op *op;
    struct presence *change;
};

struct memory_store {
    struct store store;
    struct store_up up;
    const struct config *cfg;
    struct metrics *metrics;
    const char *node;
    struct jobmaker jm;
    struct map users;     /* inboxes */
    struct map histories; /* the same of rooms with history */
    struct map rooms;     /* rooms without that somebody is in */
    struct memory_presence presence;
    struct used_ids ids;
    struct memory_ledger ledger;
    size_t bytes, ceiling; /* bytes: of entries */
    /* what is to be called back */
    struct out *out;
    size_t out_first, out_count, out_cap;
    struct list refused; /* ops that found no room in `out` */
    struct event *turn, *sweep;
    uint64_t sweep_due_s; /* UINT64_MAX: not armed */
    uint64_t sweep_not_before_ms;
    bool said;
};

struct wanted_room {
    size_t len;
    char name[];
};

/* memory_store.c: takes an OP_CONTROL for connections here; there is room for it. */
void memory_control(struct memory_store *s, struct op *op);
/* Gives a job to the shards in this turn; takes it. */
void memory_deliver(struct memory_store *s, struct job *j);
/* Stores a message anew that is in no inbox any more, or passes it on live; notes it. False: there is no room. */
bool memory_resend(struct memory_store *s, struct job *old, uint32_t ttl_s, uint64_t *seq, unsigned *nodes) MUST_CHECK;
/* memory_ledger_query.c */
enum op_status memory_ledger_query(struct memory_store *s, struct op *op) MUST_CHECK;
/* memory_query.c: fills the op's reply; the status to end it with. */
enum op_status memory_query(struct memory_store *s, struct op *op) MUST_CHECK;

#endif
