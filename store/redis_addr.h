/*
 * redis_addr.h - the addresses behind the URL of a Redis server, without blocking the loop. Dispatcher thread.
 */
#ifndef STORE_REDIS_ADDR_H
#define STORE_REDIS_ADDR_H

#include <sys/socket.h>

#include "core/base.h"

struct event_base;
struct redis_addr;
struct redis_url;

/* url: borrowed. NULL when memory is out. */
struct redis_addr *redis_addr_new(struct event_base *base, const struct redis_url *url) MUST_CHECK;
void redis_addr_free(struct redis_addr *a);

/* Looks the host up (again, names move); calls `done` once, maybe before it returns, with NULL or a sentence. */
void redis_addr_resolve(struct redis_addr *a, void (*done)(void *arg, const char *error), void *arg);
/* The running look-up's `done` is not called any more. */
void redis_addr_cancel(struct redis_addr *a);
/* After a good look-up: the next of the addresses in turn, each try another. */
void redis_addr_next(struct redis_addr *a, const struct sockaddr_storage **sa, socklen_t *len);

#endif
