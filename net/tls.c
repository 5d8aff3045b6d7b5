/*
 * tls.c - one vocabulary for reading and writing plain and TLS connections.
 *
 * Output is gathered: small entries of a queue are copied into the shard's staging buffer and leave in one send()
 * or SSL_write() (one record); large ones leave by writev(). What SSL_write was offered and did not take must be
 * offered again unchanged: those entries are pinned in the queue and gathered again. Runs on the shard's thread.
 */
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "net/conn.h"
#include "net/shard.h"

#define GATHER_MAX   512   /* entries looked at in one write */
#define GATHER_PIECE 64    /* entries that one piece of a batch may consist of */
#define GATHER_SMALL 2048  /* mean entry size up to which copying beats scattering */
#define TLS_RECORD   16384 /* bytes that one SSL_write takes at most: what is copied beyond is copied again */

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

bool transport_spent(const struct conn *c)
{
    return c->dry && !SSL_has_pending(c->ssl);
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
    if (n > 1 && len < TLS_RECORD) {
        len = gather(c->shard->staging, TLS_RECORD, iov, n, &used);
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
