/*
 * redis_room_query.h - questions about rooms, asked of Redis. Dispatcher thread, Redis back-end.
 */
#ifndef STORE_REDIS_ROOM_QUERY_H
#define STORE_REDIS_ROOM_QUERY_H

struct op;
struct redis_store;

/* QUERY_ROOM*; the store is usable. Ends the op. */
void redis_room_query(struct redis_store *s, struct op *op);

#endif
