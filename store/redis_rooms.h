/*
 * redis_rooms.h - rooms with history that this node wants the messages of. Dispatcher thread, Redis back-end.
 */
#ifndef STORE_REDIS_ROOMS_H
#define STORE_REDIS_ROOMS_H

#include "core/op.h"

struct job_source;
struct redis_rooms;
struct redis_store;

struct redis_rooms *redis_rooms_new(void) MUST_CHECK;
void redis_rooms_free(struct redis_rooms *r);

/* Registers the node for the room and ends the op (OP_INTEREST; NULL: nobody waits) when Redis has done so. */
void redis_room_join(struct redis_store *s, struct span room, struct op *op);
void redis_room_leave(struct redis_store *s, struct span room);
/* A message of the room has come; false: this node does not want it (any more). */
bool redis_room_came(struct redis_store *s, struct span room, uint64_t seq);

/* Registers everything again and says which rooms have more than has come. */
void redis_rooms_sync(struct redis_store *s);
/* Takes all registrations back: the node leaves. */
void redis_rooms_sweep(struct redis_store *s);
/* Takes back what a node registered in one partition, page by page. dead: redis_sweep_over is called at the end. False:
 * nothing was sent. */
bool redis_rooms_sweep_part(struct redis_store *s, const char *node, uint8_t part, bool dead) MUST_CHECK;

#endif
