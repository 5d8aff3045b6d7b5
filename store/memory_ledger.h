/*
 * memory_ledger.h - the ledger of tracked messages in the embedded store: what became of each, target by target. Time
 * is handed in. Dispatcher thread.
 */
#ifndef STORE_MEMORY_LEDGER_H
#define STORE_MEMORY_LEDGER_H

#include "core/list.h"
#include "core/map.h"
#include "store/ledger_view.h"

struct job;
struct op_track;
struct tracked_target;
struct user_inbox;

struct memory_ledger {
    struct map targets; /* kind, name, id */
    struct map ids;     /* id -> its targets */
    struct list by_age; /* targets, the first to be forgotten first */
    size_t bytes;       /* of all */
    unsigned life_s;    /* from the last attempt on */
    const char *node;   /* this one's name; borrowed */
};

void memory_ledger_init(struct memory_ledger *l, unsigned life_s, const char *node);
void memory_ledger_fini(struct memory_ledger *l);

/* An attempt to bring the message to the job's target; keeps a reference of the job. False: memory is out. */
bool memory_ledger_attempt(struct memory_ledger *l, struct job *j, uint32_t ttl_s, unsigned nodes,
                           uint64_t now_us) MUST_CHECK;
/* What shard `shard` tells. */
void memory_ledger_events(struct memory_ledger *l, const struct op_track *t, unsigned shard);
/* Forgets what is due; returns when something will be, UINT64_MAX: never. */
uint64_t memory_ledger_sweep(struct memory_ledger *l, uint64_t now_s);

/* Targets of an id behind the cursor `after` (as ledger_field_parse reads them), in order, at most `limit`; new array,
 * the caller's. *known: the id is there. NULL: memory is out. */
struct tracked_target **memory_ledger_targets(const struct memory_ledger *l, struct span id, struct span after,
                                              unsigned limit, unsigned *n, bool *more, bool *known) MUST_CHECK;
struct tracked_target *memory_ledger_find(const struct memory_ledger *l, enum target_kind kind, struct span name,
                                          struct span id);
struct span tracked_field(const struct tracked_target *t);
/* The message as it was tried last; borrowed. */
struct job *tracked_job(const struct tracked_target *t);
uint32_t tracked_ttl(const struct tracked_target *t);

/* box: the user's inbox, NULL: none. Spans of the view borrow from all three. */
void memory_ledger_view(const struct memory_ledger *l, const struct tracked_target *t, const struct user_inbox *box,
                        uint64_t now_s, struct ledger_target *out);

#endif
