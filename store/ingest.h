/*
 * ingest.h - bare PUBLISH without loss when a node dies: which node stores what, under which identity, and what the
 * others keep for the case that it does not. Pure: no Redis, no clock; the Redis back-end tells it what arrives and
 * stores what it hands out.
 *
 * Words: the ingest nodes (up to three) hold the pattern subscriptions and so read every raw message in one order. A
 * marker published into that order names them. A message's identity is (marker, count since it in its partition): the
 * same on each of them. Its owner, by rendezvous hash over the marker's nodes, stores it under a claim that Redis
 * grants once for an identity; the others keep it for a while and store it in the owner's stead when that one has died
 * or has missed a part.
 *
 * A marker: "<number> [=] [*] [node...] [!node...]". '=': nobody was reading in identities before it. '*': all nodes of
 * the cluster are named. '!': this node has missed a part of what came before the marker.
 */
#ifndef STORE_INGEST_H
#define STORE_INGEST_H

#include "core/job.h"
#include "core/list.h"

enum {
    INGEST_PARTS = 256,
    INGEST_NODES = 8, /* in a marker: three, and more while they change */
};

struct ingest;
struct ingest_epoch;

/* A raw message. The store reads it; all else is ingest's. */
struct ingest_entry {
    struct list window; /* all entries, oldest first */
    struct list todo;   /* those to be stored, oldest first */
    struct ingest_epoch *epoch;
    uint64_t serial, born_ms;
    uint64_t marker; /* identity: the marker, */
    uint32_t count;  /* the count in the partition, from 0 */
    bool before;     /* and whether it counts backwards from the marker */
    bool replay;     /* in another node's stead */
    bool forced;     /* the claim's age is not to be looked at */
    bool flying;     /* handed out, no outcome yet */
    bool over;       /* forgotten while it was flying */
    uint8_t part, owner;
    enum target_kind kind;
    size_t name_len, len;
    uint8_t bytes[]; /* user or room, P */
};
static inline struct span ingest_name(const struct ingest_entry *e)
{
    return span_of(e->bytes, e->name_len);
}
static inline struct span ingest_payload(const struct ingest_entry *e)
{
    return span_of(e->bytes + e->name_len, e->len);
}

struct ingest_cfg {
    uint64_t window_ms; /* what others own is kept this long */
    uint64_t life_ms;   /* what this node has to store and cannot is given up after this long */
    size_t max_bytes;   /* of all that is kept */
};

struct ingest *ingest_new(const struct ingest_cfg *cfg) MUST_CHECK;
void ingest_free(struct ingest *in);

/* This node's name from here on. */
void ingest_set_name(struct ingest *in, const char *name);
/* The subscription is lost: what comes next has no identity until a marker has come. */
void ingest_cut(struct ingest *in);
/* True once a marker has come since the subscription began. */
bool ingest_placed(const struct ingest *in);
/* How many nodes the last marker names. */
unsigned ingest_named(const struct ingest *in);
/* True when the last marker names this node. */
bool ingest_among(const struct ingest *in);
/* True when the last marker names all nodes of the cluster. Also for one that it does not name, since it was taken for
 * dead: what the others do not keep it must not keep either. */
bool ingest_all_read(const struct ingest *in);
/* The last marker seen; 0: none. */
uint64_t ingest_last_marker(const struct ingest *in);

/* A message or a marker has come, in the order of the subscription. */
void ingest_message(struct ingest *in, enum target_kind kind, uint8_t part, struct span name, struct span payload,
                    uint64_t now_ms);
/* One came that nobody has to store: it counts all the same. */
void ingest_count(struct ingest *in, enum target_kind kind, uint8_t part);
void ingest_marker(struct ingest *in, struct span text, uint64_t now_ms);
/* The node is dead: what it owns and has not been seen to be stored is ours too, also what still comes. */
void ingest_dead(struct ingest *in, struct span node);
/* The node has missed a part of what came before `marker`. */
void ingest_hole(struct ingest *in, struct span node, uint64_t marker);
/* Forgets what is too old. */
void ingest_tick(struct ingest *in, uint64_t now_ms);

/* The next message to be stored, NULL: none. It is `flying` until one of the two below is called. */
struct ingest_entry *ingest_take(struct ingest *in);
/* It is in its inbox, or somebody else's claim was first, or it can never be stored. */
void ingest_done(struct ingest *in, struct ingest_entry *e);
/* It was not stored, or nobody knows: it is to be tried again, in its place. */
void ingest_again(struct ingest *in, struct ingest_entry *e);

/* Which of `n` nodes owns a partition (highest hash of both); n > 0. */
unsigned ingest_owner(const struct span *nodes, unsigned n, uint8_t part);

struct ingest_stats {
    size_t bytes, entries; /* now */
    uint64_t holes;        /* said of nodes, by markers */
    uint64_t replays;      /* handed out in another node's stead */
    uint64_t unplaced;     /* came before a marker and are another node's to store */
    uint64_t lost;         /* this node's to store, and given up: memory, or too late */
    uint64_t evicted;      /* others', let go before their time since there was no room */
};
const struct ingest_stats *ingest_stats(const struct ingest *in);

#endif
