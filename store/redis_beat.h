/*
 * redis_beat.h - being a node among nodes: heartbeat, joining, fencing, sweeping the dead, the goodbye. Private to the
 * Redis back-end; dispatcher thread.
 */
#ifndef STORE_REDIS_BEAT_H
#define STORE_REDIS_BEAT_H

#include "core/base.h"

struct redis_store;
struct redis_sweep;

/* Commands work and the subscription stands: heartbeat, registrations, probe. */
void redis_join(struct redis_store *s);
/* A heartbeat out of turn, since what it says has changed. */
void redis_beat_now(struct redis_store *s);
/* Once a REDIS_TICK_MS. */
void redis_tick(struct redis_store *s);
void redis_on_probe(struct redis_store *s, struct span text);
/* How long ago a probe of this node was sent, in µs; false: it is none, or too old to tell anything. */
bool redis_probe_age(struct span text, uint64_t *us) MUST_CHECK;

/* Begins the goodbye; redis_gone_for_good tells when it has been written. */
void redis_goodbye(struct redis_store *s);
/* A marker has come: the goodbye may wait for it. */
void redis_goodbye_look(struct redis_store *s);

/* ---- redis_sweep.c: what dead nodes had registered ---- */
struct redis_sweep *redis_sweep_new(void) MUST_CHECK;
void redis_sweep_free(struct redis_sweep *w);
/* A node is dead and its registrations may still be there. One node at a time; the others are told of again.
 * late: it has been swept before. */
void redis_sweep_heard(struct redis_store *s, struct span node, bool late);
/* A part of the sweep that others do (rooms, presence) is over. */
void redis_sweep_over(struct redis_store *s, bool good);

#endif
