/*
 * tls_server.h - the server side of TLS as the floors have it.
 */
#ifndef BENCH_TLS_SERVER_H
#define BENCH_TLS_SERVER_H

#include "options.h"

struct ssl_ctx_st;

/* New, from --cert and --key, for --tls; NULL after a sentence on standard error. */
struct ssl_ctx_st *tls_server_ctx(const struct options *o) MUST_CHECK;
/* 1.2 or 1.3 alone, when asked to. */
void tls_pin_version(struct ssl_ctx_st *ctx, const char *tls);

#endif
