/*
 * tls_ctx.c - what TLS connections begin with.
 *
 * Idea: each shard has an OSSL_LIB_CTX of its own. OpenSSL looks its algorithms up hundreds of times in a handshake,
 * each time under a lock and with a reference counted; when shards share those, their processors take the same cache
 * lines from each other all the time: up to a tenth of a handshake with two. It costs some 300 KiB a shard. All
 * SSL_CTX of one certificate have the same ticket keys.
 *
 * An SSL_CTX is made by main and immutable. A renewed certificate is another one for each shard, which main hands out;
 * OpenSSL frees the old one with its last connection. A connection that moves takes its SSL_CTX along, so library
 * contexts live until all shards have ended.
 *
 * Chosen for speed: the chain is what the file says, and OpenSSL does not look for more of it at each handshake (there
 * is no store to find it in). The suites with SHA-256 and AES-128 come first: SHA-384 has no instructions of its own on
 * most processors, and a handshake of TLS 1.3 hashes a lot. Buffers of an SSL object are released while it is idle.
 */
#include "net/tls_ctx.h"

#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/clock.h"
#include "net/tls_bio.h"

#define TLS_CIPHERS     "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"
#define TLS13_CIPHERS   "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define SESSION_CONTEXT "crier"
#define TICKET_KEYS     80 /* a name, a key to encrypt, a key to authenticate */

struct tls_part {
    OSSL_LIB_CTX *lib;
    SSL_CTX *ctx; /* NULL: nothing was loaded yet */
};

struct tls {
    BIO_METHOD *bio; /* of all connections */
    unsigned n;
    struct tls_part part[]; /* one a shard */
};

/* ---- one context ---- */

static bool fail(char *err, size_t errlen, const char *what, const char *file)
{
    unsigned long e = ERR_peek_error(); /* the first: what came of it says less */
    const char *reason = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : e ? ERR_reason_error_string(e) : NULL;
    snprintf(err, errlen, "%s %s: %s", what, file, reason ? reason : "not usable");
    ERR_clear_error();
    return false;
}

static bool load_keys(SSL_CTX *ctx, const char *cert, const char *key, char *err, size_t errlen)
{
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        return fail(err, errlen, "cannot use the TLS certificate", cert);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return fail(err, errlen, "cannot use the TLS key", key);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return fail(err, errlen, "the TLS certificate does not belong to the key", key);
    return true;
}

static bool set_up(SSL_CTX *ctx)
{
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ctx, 1); /* one recv() for all records that have come, not two for each */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 1);
    return SSL_CTX_set_cipher_list(ctx, TLS_CIPHERS) == 1 && SSL_CTX_set_ciphersuites(ctx, TLS13_CIPHERS) == 1 &&
           SSL_CTX_set_session_id_context(ctx, (const unsigned char *)SESSION_CONTEXT, sizeof SESSION_CONTEXT - 1) == 1;
}

static SSL_CTX *make_ctx(OSSL_LIB_CTX *lib, const char *cert, const char *key, char *err, size_t errlen)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(lib, NULL, TLS_server_method());
    if (ctx && set_up(ctx) && load_keys(ctx, cert, key, err, errlen))
        return ctx;
    if (!err[0])
        (void)fail(err, errlen, "cannot set up TLS with", cert);
    SSL_CTX_free(ctx);
    return NULL;
}

/* ---- all of them ---- */

static void free_contexts(SSL_CTX **ctx, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        SSL_CTX_free(ctx[i]);
    free(ctx);
}

static bool make_contexts(const struct tls *t, SSL_CTX **ctx, const char *cert, const char *key, char *err,
                          size_t errlen)
{
    unsigned char keys[TICKET_KEYS];
    for (unsigned i = 0; i < t->n; i++) {
        ctx[i] = make_ctx(t->part[i].lib, cert, key, err, errlen);
        if (!ctx[i])
            return false;
        if (i == 0)
            SSL_CTX_get_tlsext_ticket_keys(ctx[i], keys, sizeof keys);
        else
            SSL_CTX_set_tlsext_ticket_keys(ctx[i], keys, sizeof keys);
    }
    OPENSSL_cleanse(keys, sizeof keys);
    return true;
}

bool tls_load(struct tls *t, const char *cert, const char *key, char *err, size_t errlen)
{
    SSL_CTX **ctx = calloc(t->n, sizeof(SSL_CTX *));
    err[0] = '\0';
    if (!ctx)
        snprintf(err, errlen, "out of memory for TLS");
    bool good = ctx && make_contexts(t, ctx, cert, key, err, errlen);
    for (unsigned i = 0; good && i < t->n; i++) {
        SSL_CTX *before = t->part[i].ctx;
        t->part[i].ctx = ctx[i];
        ctx[i] = before;
    }
    if (ctx)
        free_contexts(ctx, t->n);
    return good;
}

/* A library context, set up by the system's openssl.cnf as OpenSSL's own is (providers, which may hold keys). */
static OSSL_LIB_CTX *make_lib(void)
{
    OSSL_LIB_CTX *lib = OSSL_LIB_CTX_new();
    char *file = lib ? CONF_get1_default_config_file() : NULL;
    if (file)
        (void)OSSL_LIB_CTX_load_config(lib, file); /* there need not be one */
    OPENSSL_free(file);
    ERR_clear_error();
    return lib;
}

struct tls *tls_new(unsigned nshards)
{
    struct tls *t = calloc(1, sizeof *t + nshards * sizeof t->part[0]);
    if (!t)
        return NULL;
    t->bio = tls_bio_method();
    while (t->bio && t->n < nshards && (t->part[t->n].lib = make_lib()))
        t->n++;
    if (t->bio && t->n == nshards)
        return t;
    tls_free(t);
    return NULL;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < t->n; i++) {
        SSL_CTX_free(t->part[i].ctx);
        OSSL_LIB_CTX_free(t->part[i].lib);
    }
    BIO_meth_free(t->bio);
    free(t);
}

int64_t tls_expiry(const struct tls *t, char *out, size_t len)
{
    struct tm end = {.tm_mday = 1};
    (void)ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(t->part[0].ctx)), &end);
    (void)strftime(out, len, "%Y-%m-%d %H:%M UTC", &end);
    return (int64_t)timegm(&end) - (int64_t)(clock_real_us() / 1000000);
}

struct ssl_ctx_st *tls_ctx_of(const struct tls *t, unsigned shard)
{
    SSL_CTX *ctx = t->part[shard].ctx;
    SSL_CTX_up_ref(ctx);
    return ctx;
}

void tls_ctx_free(struct ssl_ctx_st *ctx)
{
    SSL_CTX_free(ctx);
}

struct ssl_st *tls_begin(const struct tls *t, struct ssl_ctx_st *ctx, struct conn *c)
{
    SSL *ssl = SSL_new(ctx);
    if (ssl && tls_bio_attach(ssl, t->bio, c))
        return ssl;
    SSL_free(ssl);
    return NULL;
}
