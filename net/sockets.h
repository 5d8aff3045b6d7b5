/*
 * sockets.h - which sockets of connections a shard waits for: an epoll set of its own, one event of the shard's base.
 * Shard thread.
 */
#ifndef NET_SOCKETS_H
#define NET_SOCKETS_H

#include "core/base.h"

struct conn;
struct shard;
struct sockets;

enum { SOCKET_READ = 1, SOCKET_WRITE = 2 };

/* NULL: out of memory or fds. */
struct sockets *sockets_new(struct shard *s) MUST_CHECK;
void sockets_free(struct sockets *k); /* NULL is fine */

/* From now on conn_ready is called while any of `want` is possible; 0: never, and the socket is in no set (it may go to
 * another shard). c->armed says what is waited for. False: memory is out. */
bool socket_arm(struct conn *c, unsigned want) MUST_CHECK;
/* The same with 0 for a socket that is to be closed: leaves it to close() to take it out. */
void socket_forget(struct conn *c);

#endif
