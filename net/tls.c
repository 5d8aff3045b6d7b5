/*
 * tls.c - the server's certificate, and one vocabulary for reading and writing plain and TLS connections.
 *
 * An SSL_CTX is made by main, immutable and shared: session tickets made by one shard are good on all. A renewed
 * certificate is another one, which main hands to the shards; OpenSSL frees the old one with its last connection.
 *
 * Buffers of an SSL object are released while it is idle (SSL_MODE_RELEASE_BUFFERS). The suites with SHA-256 and
 * AES-128 come first: SHA-384 has no instructions of its own on most processors, and a handshake of TLS 1.3 hashes a
 * lot. Output is gathered: small entries of a queue are copied into the shard's staging buffer and leave in one send()
 * or SSL_write(); large ones leave by writev(). What SSL_write was offered and did not take must be offered again
 * unchanged: those entries are pinned in the queue and gathered again. Runs on the shard's thread.
 */
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "core/clock.h"
#include "net/conn.h"
#include "net/shard.h"

#define GATHER_MAX      512  /* entries looked at in one write */
#define GATHER_PIECE    64   /* entries that one piece of a batch may consist of */
#define GATHER_SMALL    2048 /* mean entry size up to which copying beats scattering */
#define TLS_CIPHERS     "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"
#define TLS13_CIPHERS   "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define SESSION_CONTEXT "crier"

static bool fail(SSL_CTX *ctx, char *err, size_t errlen, const char *what, const char *file)
{
    unsigned long e = ERR_peek_error(); /* the first: what came of it says less */
    const char *reason = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : e ? ERR_reason_error_string(e) : NULL;
    snprintf(err, errlen, "%s %s: %s", what, file, reason ? reason : "not usable");
    ERR_clear_error();
    SSL_CTX_free(ctx);
    return false;
}

static bool load_keys(SSL_CTX *ctx, const char *cert, const char *key, char *err, size_t errlen)
{
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        return fail(ctx, err, errlen, "cannot use the TLS certificate", cert);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return fail(ctx, err, errlen, "cannot use the TLS key", key);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return fail(ctx, err, errlen, "the TLS certificate does not belong to the key", key);
    return true;
}

struct ssl_ctx_st *tls_ctx_new(const char *cert, const char *key, char *err, size_t errlen)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        snprintf(err, errlen, "out of memory for TLS");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1); /* one recv() for all records that have come, not two for each */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 1);
    if (SSL_CTX_set_cipher_list(ctx, TLS_CIPHERS) != 1 || SSL_CTX_set_ciphersuites(ctx, TLS13_CIPHERS) != 1 ||
        SSL_CTX_set_session_id_context(ctx, (const unsigned char *)SESSION_CONTEXT, sizeof SESSION_CONTEXT - 1) != 1) {
        (void)fail(ctx, err, errlen, "cannot set up TLS with", cert);
        return NULL;
    }
    return load_keys(ctx, cert, key, err, errlen) ? ctx : NULL;
}

struct ssl_ctx_st *tls_ctx_share(struct ssl_ctx_st *ctx)
{
    SSL_CTX_up_ref(ctx);
    return ctx;
}

void tls_ctx_free(struct ssl_ctx_st *ctx)
{
    SSL_CTX_free(ctx);
}

int64_t tls_ctx_expiry(const struct ssl_ctx_st *ctx, char *out, size_t len)
{
    struct tm end = {.tm_mday = 1};
    (void)ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(ctx)), &end);
    (void)strftime(out, len, "%Y-%m-%d %H:%M UTC", &end);
    return (int64_t)timegm(&end) - (int64_t)(clock_real_us() / 1000000);
}

struct ssl_st *tls_begin(struct ssl_ctx_st *ctx, int fd)
{
    SSL *ssl = SSL_new(ctx);
    if (ssl && SSL_set_fd(ssl, fd) == 1)
        return ssl;
    SSL_free(ssl);
    return NULL;
}

/* What an unfinished OpenSSL call waits for. */
static int ssl_result(SSL *ssl, int r)
{
    switch (SSL_get_error(ssl, r)) {
    case SSL_ERROR_WANT_READ:
        return IO_READ_LATER;
    case SSL_ERROR_WANT_WRITE:
        return IO_WRITE_LATER;
    case SSL_ERROR_ZERO_RETURN:
        return IO_EOF;
    default:
        ERR_clear_error();
        return IO_FAILED;
    }
}

int transport_accept(struct conn *c)
{
    ERR_clear_error();
    int r = SSL_accept(c->ssl);
    return r == 1 ? 1 : ssl_result(c->ssl, r);
}

ssize_t transport_read(struct conn *c, uint8_t *p, size_t n)
{
    if (c->ssl) {
        ERR_clear_error();
        int r = SSL_read(c->ssl, p, (int)n);
        return r > 0 ? r : ssl_result(c->ssl, r);
    }
    ssize_t r;
    do
        r = recv(c->fd, p, n, 0);
    while (r < 0 && errno == EINTR);
    if (r >= 0)
        return r;
    return errno == EAGAIN || errno == EWOULDBLOCK ? IO_READ_LATER : IO_FAILED;
}

bool transport_pending(const struct conn *c)
{
    return c->ssl && SSL_has_pending(c->ssl);
}

/* Copies the head of the queue into the staging buffer, up to its size. */
static size_t gather(uint8_t *to, size_t max, const struct iovec *iov, unsigned n, unsigned *used)
{
    size_t len = 0;
    unsigned i = 0;
    for (; i < n && len < max; i++) {
        size_t take = iov[i].iov_len < max - len ? iov[i].iov_len : max - len;
        memcpy(to + len, iov[i].iov_base, take);
        len += take;
    }
    *used = i;
    return len;
}

static ssize_t sys_result(ssize_t r)
{
    if (r >= 0)
        return r;
    return errno == EAGAIN || errno == EWOULDBLOCK ? IO_WRITE_LATER : IO_FAILED;
}

static ssize_t flush_plain(struct conn *c, struct iovec *iov, unsigned n)
{
    int fd = c->fd;
    ssize_t r;
    if (n > 1 && c->out.bytes / n <= GATHER_SMALL) {
        unsigned used;
        iov[0].iov_len = gather(c->shard->staging, SHARD_RX_BYTES, iov, n, &used);
        iov[0].iov_base = c->shard->staging;
        n = 1;
    }
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
    do
        r = n == 1 ? send(fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL) : sendmsg(fd, &m, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    return sys_result(r);
}

struct span transport_piece(const struct conn *c, uint8_t *to, size_t max, unsigned *entries)
{
    struct iovec iov[GATHER_PIECE];
    unsigned n = outq_peek(&c->out, iov, GATHER_PIECE, entries);
    if (n == 1)
        return span_of(iov[0].iov_base, iov[0].iov_len);
    if (n < c->out.count || c->out.bytes > max || c->out.bytes / n > GATHER_SMALL)
        return span_of(NULL, 0);
    return span_of(to, gather(to, max, iov, n, entries));
}

static ssize_t flush_tls(struct conn *c, const struct iovec *iov, unsigned n)
{
    const void *from = iov[0].iov_base;
    size_t len = iov[0].iov_len;
    unsigned used = 1;
    if (n > 1 && len < SHARD_RX_BYTES) {
        len = gather(c->shard->staging, SHARD_RX_BYTES, iov, n, &used);
        from = c->shard->staging;
    }
    ERR_clear_error();
    int r = SSL_write(c->ssl, from, (int)(len < INT32_MAX ? len : INT32_MAX));
    if (r > 0)
        return r;
    outq_pin(&c->out, used);
    int why = ssl_result(c->ssl, r);
    return why == IO_EOF ? IO_FAILED : why;
}

ssize_t transport_flush(struct conn *c)
{
    struct iovec iov[GATHER_MAX];
    unsigned entries, n = outq_peek(&c->out, iov, GATHER_MAX, &entries);
    return c->ssl ? flush_tls(c, iov, n) : flush_plain(c, iov, n);
}

void transport_shutdown(struct conn *c)
{
    if (c->ssl && SSL_is_init_finished(c->ssl)) {
        ERR_clear_error();
        (void)SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    (void)shutdown(c->fd, SHUT_WR);
}
