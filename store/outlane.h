/*
 * outlane.h - the dispatcher's side of its lane to one shard: what is said when the lane is full. Dispatcher thread.
 */
#ifndef STORE_OUTLANE_H
#define STORE_OUTLANE_H

#include "core/inbox.h"
#include "core/list.h"
#include "core/map.h"

struct census;
struct job;
struct metrics;
struct op;
struct presence;

#define OUTLANE_URGENT   1024 /* live messages of high priority that wait for room */
#define OUTLANE_CONTROLS 1024 /* ops that nobody here asked for, that wait for room */
#define OUTLANE_UNRUNG   64   /* items after which the shard is woken though the turn goes on */

struct outlane {
    struct inbox *inbox;
    unsigned lane;
    struct metrics *metrics;
    struct list replies; /* ops on their way back */
    struct map behind;   /* user -> struct behind */
    struct map rooms_behind;
    struct list changes;     /* of presence; the last one of each room and user */
    struct map last_changes; /* room, user -> its place in `changes` */
    struct job **urgent;     /* ring of OUTLANE_URGENT, made when first needed */
    unsigned first, count;
    unsigned controls; /* of the replies: OP_CONTROL */
    unsigned unrung;   /* items put into the lane since its doorbell was rung */
    bool state_pending, state;
    char *node;            /* a new name of the node */
    struct census *census; /* the page to be filled */
};

void outlane_init(struct outlane *l, struct inbox *inbox, unsigned lane, struct metrics *m);
/* Frees what still waits. */
void outlane_fini(struct outlane *l);

/* Each takes what it is given: a reference, the op. None waits. */
/* False: the message was dropped. */
bool outlane_job(struct outlane *l, struct job *j);
void outlane_reply(struct outlane *l, struct op *op);
void outlane_control(struct outlane *l, struct op *op);
void outlane_behind(struct outlane *l, struct span user, uint64_t seq);
void outlane_room_behind(struct outlane *l, struct span room, uint64_t seq);
/* Takes it. */
void outlane_presence(struct outlane *l, struct presence *p);
void outlane_state(struct outlane *l, bool ready);
/* The newer name wins. Borrows it. */
void outlane_node(struct outlane *l, const char *name);
/* Takes the page; there is one at a time. */
void outlane_census(struct outlane *l, struct census *page);

/* Sends what waits, as far as there is room. */
void outlane_flush(struct outlane *l);
bool outlane_waiting(const struct outlane *l);
/* At the end of a turn of the loop: tells the shard of what was put into its lane. */
void outlane_ring(struct outlane *l);

#endif
