/*
 * tls_bio.c - the socket under an SSL object. OpenSSL's own BIO would do; this one saves two system calls a handshake
 * and one with every read:
 *
 * A recv() that brought less than was asked for has emptied the socket (conn.dry). OpenSSL, and whoever reads until
 * there is nothing, is told to come again later without asking the kernel once more; epoll, which is level-triggered,
 * says when there is more, and then conn.dry is taken back (conn_ready).
 *
 * The ticket of TLS 1.3 is the last thing of a handshake, and nobody waits for it. It is sent with MSG_MORE: the kernel
 * lets it leave with what is written next, the answer to the client's first request as a rule, or by itself after
 * 200 ms. A segment, and waking the client, are saved.
 */
#include "net/tls_bio.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "net/conn.h"

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK;
}

static int bio_read(BIO *b, char *p, int n)
{
    struct conn *c = BIO_get_data(b);
    ssize_t r = -1;
    BIO_clear_retry_flags(b);
    if (c->dry) {
        BIO_set_retry_read(b);
        return -1;
    }
    do
        r = recv(c->fd, p, (size_t)n, 0);
    while (r < 0 && errno == EINTR);
    c->dry = (r > 0 && r < n) || (r < 0 && would_block());
    if (r == 0)
        BIO_set_flags(b, BIO_FLAGS_IN_EOF);
    else if (r < 0 && c->dry)
        BIO_set_retry_read(b);
    return (int)r;
}

static bool is_ticket(const struct conn *c)
{
    return c->state == CONN_HANDSHAKE && SSL_get_state(c->ssl) == TLS_ST_SW_SESSION_TICKET &&
           SSL_version(c->ssl) == TLS1_3_VERSION; /* before, Finished comes behind it */
}

static int bio_write(BIO *b, const char *p, int n)
{
    struct conn *c = BIO_get_data(b);
    int flags = MSG_NOSIGNAL | (is_ticket(c) ? MSG_MORE : 0);
    ssize_t r;
    BIO_clear_retry_flags(b);
    do
        r = send(c->fd, p, (size_t)n, flags);
    while (r < 0 && errno == EINTR);
    if (r < 0 && would_block())
        BIO_set_retry_write(b);
    return (int)r;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)num, (void)ptr;
    switch (cmd) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0;
    default:
        return 0;
    }
}

struct bio_method_st *tls_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "connection");
    if (m && BIO_meth_set_read(m, bio_read) && BIO_meth_set_write(m, bio_write) && BIO_meth_set_ctrl(m, bio_ctrl))
        return m;
    BIO_meth_free(m);
    return NULL;
}

bool tls_bio_attach(struct ssl_st *ssl, const struct bio_method_st *m, struct conn *c)
{
    BIO *b = BIO_new(m);
    if (!b)
        return false;
    BIO_set_data(b, c);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl, b, b);
    return true;
}
