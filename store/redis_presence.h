/*
 * redis_presence.h - who is in which room: what this node has registered (redis_presence.c), and the rooms whose
 * changes somebody here wants to hear (redis_watch.c). Dispatcher thread, Redis back-end.
 */
#ifndef STORE_REDIS_PRESENCE_H
#define STORE_REDIS_PRESENCE_H

#include "core/op.h"

struct redis_presence;
struct redis_store;
struct redis_watch;

/* NULL: memory is out. */
struct redis_presence *redis_presence_new(struct redis_store *s) MUST_CHECK;
void redis_presence_free(struct redis_presence *p);
/* The user is in the room on this node, or no longer is: written by the end of the turn, or once Redis is back. */
void redis_presence_set(struct redis_store *s, struct op *op);
/* Writes everything again: the connection, or what Redis knew, may have been lost. */
void redis_presence_sync(struct redis_store *s);
/* What could not be written is tried again. */
void redis_presence_flush(struct redis_store *s);
/* Takes all of it back: the node leaves. */
void redis_presence_sweep(struct redis_store *s);
/* Takes back what a node registered in one partition, page by page. dead: redis_sweep_over is called at the end. False:
 * nothing was sent. */
bool redis_presence_sweep_part(struct redis_store *s, const char *node, uint8_t part, bool dead) MUST_CHECK;

struct redis_watch *redis_watch_new(void) MUST_CHECK;
void redis_watch_free(struct redis_watch *w);
void redis_watch_start(struct redis_store *s, struct span room, struct op *op);
void redis_watch_stop(struct redis_store *s, struct span room);
/* Answers all who wait: the end has come. */
void redis_watch_stop_all(struct redis_store *s);
/* The room's presence channel delivers. */
void redis_watch_confirmed(struct redis_store *s, struct span room);
/* Something came on it. */
void redis_watch_came(struct redis_store *s, struct span room, struct span text);
/* Changes may have been missed. */
void redis_watch_sync(struct redis_store *s);
void redis_watch_tick(struct redis_store *s);

#endif
