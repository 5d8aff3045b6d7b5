/*
 * tls_ctx.h - the broker's certificate, as each shard begins TLS connections with it.
 */
#ifndef NET_TLS_CTX_H
#define NET_TLS_CTX_H

#include "core/base.h"

struct conn;
struct ssl_ctx_st;
struct ssl_st;
struct tls;

/* Main's, for as long as any shard or connection lives. NULL: memory is out. */
struct tls *tls_new(unsigned nshards) MUST_CHECK;
void tls_free(struct tls *t);
/* TLS 1.2 and 1.3, certificate chain and key from PEM files, checked against each other. False with a sentence in err:
 * what there was before stays. Main alone. */
bool tls_load(struct tls *t, const char *cert, const char *key, char *err, size_t errlen) MUST_CHECK;
/* "2027-02-01 12:00 UTC": when the certificate's time ends; out holds at least 32 bytes. Returns the seconds until
 * then, negative when it is over. */
int64_t tls_expiry(const struct tls *t, char *out, size_t len);

/* Another reference to what that shard begins connections with, for it to free. A ticket made by one shard is good on
 * all. */
struct ssl_ctx_st *tls_ctx_of(const struct tls *t, unsigned shard);
/* Lets go of one reference. Connections that it has begun may outlive it. NULL is fine. */
void tls_ctx_free(struct ssl_ctx_st *ctx);
/* The server side of that connection on its socket, freed with SSL_free; NULL: memory is out. */
struct ssl_st *tls_begin(const struct tls *t, struct ssl_ctx_st *ctx, struct conn *c) MUST_CHECK;

#endif
