/*
 * tls_server.c - the context of the floors' TLS servers: what decides the cost of a handshake and of a connection at
 * rest is set as in the broker (net/tls.c), the rest is OpenSSL's own default. Whoever made the context frees it.
 */
#include "tls_server.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>

void tls_pin_version(struct ssl_ctx_st *ctx, const char *tls)
{
    int v = TLS1_3_VERSION;
    if (!tls)
        return;
    if (strcmp(tls, "1.2") == 0)
        v = TLS1_2_VERSION;
    SSL_CTX_set_min_proto_version(ctx, v);
    SSL_CTX_set_max_proto_version(ctx, v);
}

struct ssl_ctx_st *tls_server_ctx(const struct options *o)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx || SSL_CTX_use_certificate_chain_file(ctx, o->cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
        fprintf(stderr, "crier-bench: %s and %s are no certificate and key: %s\n", o->cert, o->key,
                ERR_reason_error_string(ERR_peek_error()));
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"floor", 5);
    tls_pin_version(ctx, o->tls);
    return ctx;
}
