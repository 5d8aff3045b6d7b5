/*
 * tls.h - the server's certificate (one SSL_CTX for all shards: tickets made by one are good on all) and reading and
 * writing of a connection, plain or TLS, in one vocabulary.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <sys/types.h>

#include "core/base.h"

struct conn;
struct ssl_ctx_st;
struct ssl_st;

/* TLS 1.2 and 1.3, certificate chain and key from PEM files, checked against each other. NULL with a sentence in err.
 */
struct ssl_ctx_st *tls_ctx_new(const char *cert, const char *key, char *err, size_t errlen) MUST_CHECK;
/* Another reference to it, for another thread; each is freed by its holder. */
struct ssl_ctx_st *tls_ctx_share(struct ssl_ctx_st *ctx);
/* Lets go of one reference. Connections that it has begun may outlive it. NULL is fine. */
void tls_ctx_free(struct ssl_ctx_st *ctx);
/* "2027-02-01 12:00 UTC": when the certificate's time ends; out holds at least 32 bytes. Returns the seconds until
 * then, negative when it is over. */
int64_t tls_ctx_expiry(const struct ssl_ctx_st *ctx, char *out, size_t len);
/* The server side of a connection on that socket, freed with SSL_free; NULL: memory is out. */
struct ssl_st *tls_begin(struct ssl_ctx_st *ctx, int fd) MUST_CHECK;

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
/* Sends close_notify if that is possible without waiting, and FIN. */
void transport_shutdown(struct conn *c);

#endif
