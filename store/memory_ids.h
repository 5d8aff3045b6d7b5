/*
 * memory_ids.h - which idempotency ids were used for which user, and the seq they got. Dispatcher thread.
 */
#ifndef STORE_MEMORY_IDS_H
#define STORE_MEMORY_IDS_H

#include "core/list.h"
#include "core/map.h"

struct used_id;

struct used_ids {
    struct map map;
    struct list by_age; /* the first to be forgotten first */
    size_t bytes;
};

void used_ids_init(struct used_ids *u);
void used_ids_fini(struct used_ids *u);

/* NULL: not used, or so long ago that it is forgotten. */
const struct used_id *used_ids_find(struct used_ids *u, const char *user, struct span id, uint64_t now_s) MUST_CHECK;
/* Uses an id that is not there; until_s never falls from call to call. NULL when memory is out. */
struct used_id *used_ids_claim(struct used_ids *u, const char *user, struct span id, uint64_t until_s) MUST_CHECK;
void used_ids_forget(struct used_ids *u, struct used_id *id);
/* Forgets what is due; returns when the next one is, UINT64_MAX: none is left. */
uint64_t used_ids_sweep(struct used_ids *u, uint64_t now_s);

uint64_t used_id_seq(const struct used_id *id);
void used_id_set(struct used_id *id, uint64_t seq);

#endif
