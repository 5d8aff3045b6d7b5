/*
 * tls.h - reading and writing of a connection, plain or TLS, in one vocabulary.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <sys/types.h>

#include "core/base.h"

struct conn;

/* Results of the calls below that are not byte counts. */
enum { IO_EOF = 0, IO_READ_LATER = -1, IO_WRITE_LATER = -2, IO_FAILED = -3 };

/* Server side of the handshake: 1 done, or IO_*_LATER, IO_FAILED. */
int transport_accept(struct conn *c) MUST_CHECK;
/* >0 bytes read; IO_EOF: the peer has finished (FIN or close_notify); else IO_*. */
ssize_t transport_read(struct conn *c, uint8_t *p, size_t n) MUST_CHECK;
/* One gathered write of what is queued: >0 bytes accepted by the kernel; IO_WRITE_LATER, IO_READ_LATER or IO_FAILED.
 * The bytes are to be taken off the queue by the caller. */
ssize_t transport_flush(struct conn *c) MUST_CHECK;
/* What the next write of a plain connection would carry, as one piece: its own bytes, or copied to `to`. *entries: how
 * many entries of the queue that is. Empty: it is better scattered (or `max` is too small to copy it all). */
struct span transport_piece(const struct conn *c, uint8_t *to, size_t max, unsigned *entries);
/* Bytes inside the SSL object that no EV_READ will announce. */
bool transport_pending(const struct conn *c);
/* TLS: all that has come is used up, and no more will until the socket is said to be readable. */
bool transport_spent(const struct conn *c);
/* Sends close_notify if that is possible without waiting, and FIN. */
void transport_shutdown(struct conn *c);

#endif
