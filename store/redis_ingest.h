/*
 * redis_ingest.h - bare publishes on this node: the pattern subscriptions, its part among the nodes that read them, and
 * storing what is its to store. Private to the Redis back-end; dispatcher thread.
 */
#ifndef STORE_REDIS_INGEST_H
#define STORE_REDIS_INGEST_H

#include "core/job.h"
#include "store/ingest.h"

struct redis_ingest;
struct redis_store;

enum { REDIS_READERS = 3, REDIS_ROLE_BYTES = 24 };

struct redis_ingest *redis_ingest_new(struct redis_store *s) MUST_CHECK;
void redis_ingest_free(struct redis_ingest *g);

/* ---- its part ---- */
/* The node is (no longer) among the senior ones that read. */
void redis_ingest_elect(struct redis_store *s, bool reader);
/* What the heartbeat says of it: writes the role; `whole`: as it is, else as one that reads nothing yet. */
void redis_ingest_role(struct redis_store *s, bool whole, char role[REDIS_ROLE_BYTES]);
/* A channel was confirmed; true when all raw messages come from here on. */
bool redis_ingest_confirmed(struct redis_store *s);
/* The subscription is lost. */
void redis_ingest_cut(struct redis_store *s);
/* The node has a new name, under which it has not said anything yet. */
void redis_ingest_renamed(struct redis_store *s);
/* True when this node is the only one that reads, and others could. */
bool redis_ingest_alone(const struct redis_store *s);
/* True when nothing is left for which others count on this node: it may go. */
bool redis_ingest_out(const struct redis_store *s);

/* ---- what arrives ---- */
void redis_ingest_take(struct redis_store *s, enum target_kind kind, uint8_t part, struct span name,
                       struct span payload);
/* A message that each node gives to its own users by itself, if all nodes read: false when they do not. */
bool redis_ingest_all_read(const struct redis_store *s);
void redis_ingest_count(struct redis_store *s, enum target_kind kind, uint8_t part);
void redis_ingest_marker(struct redis_store *s, struct span text);
/* From the heartbeat. */
void redis_ingest_heard_dead(struct redis_store *s, struct span node);
void redis_ingest_heard_hole(struct redis_store *s, struct span node, uint64_t marker);
void redis_ingest_heard_marker(struct redis_store *s, uint64_t marker);
/* That was all of it: what is to be stored by it is stored. */
void redis_ingest_heard_all(struct redis_store *s);

/* ---- storing ---- */
enum raw_fate {
    RAW_STORED,
    RAW_TAKEN, /* another node has the claim */
    RAW_OLD,   /* nobody can tell any more who has */
    RAW_AGAIN, /* not stored, or nobody knows */
    RAW_NEVER, /* it cannot be stored */
};
/* Stores what is to be stored, as far as there is room. */
void redis_ingest_flush(struct redis_store *s);
void redis_ingest_outcome(struct redis_store *s, struct ingest_entry *e, enum raw_fate fate, const char *why);

/* ---- health ---- */
void redis_ingest_probe(struct redis_store *s);
void redis_ingest_on_probe(struct redis_store *s, struct span text);
/* True when raw messages and markers really arrive, where they should. */
bool redis_ingest_ready(const struct redis_store *s);
/* Why the subscription seems deaf; NULL: it does not. */
const char *redis_ingest_deaf(const struct redis_store *s);
void redis_ingest_tick(struct redis_store *s);

#endif
