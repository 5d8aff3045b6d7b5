/*
 * tls_bio.h - how OpenSSL reads from and writes to a connection's socket. Shard thread.
 */
#ifndef NET_TLS_BIO_H
#define NET_TLS_BIO_H

#include "core/base.h"

struct bio_method_st;
struct conn;
struct ssl_st;

/* One for the process; outlives the connections. NULL: memory is out. */
struct bio_method_st *tls_bio_method(void) MUST_CHECK;
/* Lets `ssl` read and write c's socket. False: memory is out. */
bool tls_bio_attach(struct ssl_st *ssl, const struct bio_method_st *m, struct conn *c) MUST_CHECK;

#endif
