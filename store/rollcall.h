/*
 * rollcall.h - asking all shards who is there: one page a shard under way, handed to the store as it comes. Dispatcher
 * thread.
 */
#ifndef STORE_ROLLCALL_H
#define STORE_ROLLCALL_H

#include "core/base.h"

struct census;
struct outlane;
struct store;

struct rollcall {
    struct outlane *lanes; /* [nshards]; borrowed, as is the store */
    unsigned nshards;
    struct store *store;
    unsigned left; /* shards that have not told all; 0: no round is under way */
    bool again;    /* one more was asked for meanwhile */
    bool partial;  /* some shard could not be asked */
};

/* Begins a round; while one is under way, the next follows it. */
void rollcall_start(struct rollcall *r);
/* A page is back. Takes it. */
void rollcall_take(struct rollcall *r, struct census *page);

#endif
