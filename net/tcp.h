/*
 * tcp.h - clients without HTTP: JSON lines or length-prefixed msgpack on a bare TCP or TLS connection, the same
 * session.
 */
#ifndef NET_TCP_H
#define NET_TCP_H

#include "core/base.h"

struct conn;

/* Begins on a new connection (sets proto, ext, the deadline of the first frame). False: no memory, closed. */
bool tcp_start(struct conn *c);

#endif
