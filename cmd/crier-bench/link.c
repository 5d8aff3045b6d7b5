/*
 * link.c - the transport of a subscriber. One process, one thread. What a subscriber writes (an upgrade request, a
 * subscription, a pong) always fits into an empty socket buffer, so a short write is an error and not a state.
 */
#include "link.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORTS_PER_ADDRESS 10000u

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct link_ctx *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    if (!c->resume || c->session)
        return 0;
    c->session = SSL_SESSION_dup(session);
    return 0;
}

int link_ctx_init(struct link_ctx *c, bool secure, const char *tls, bool resume)
{
    memset(c, 0, sizeof *c);
    c->resume = resume;
    if (!secure)
        return 0;
    c->ssl = SSL_CTX_new(TLS_client_method());
    if (!c->ssl)
        return -1;
    SSL_CTX_set_app_data(c->ssl, c);
    SSL_CTX_set_verify(c->ssl, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ssl, keep_session);
    if (tls) {
        int v = strcmp(tls, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
        SSL_CTX_set_min_proto_version(c->ssl, v);
        SSL_CTX_set_max_proto_version(c->ssl, v);
    }
    return 0;
}

void link_ctx_fini(struct link_ctx *c)
{
    SSL_SESSION_free(c->session);
    SSL_CTX_free(c->ssl);
}

int link_dial(struct link *l, const struct sockaddr_in *to, unsigned index)
{
    int one = 1;
    l->ssl = NULL;
    l->why = NULL;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return -1;
    (void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (ntohl(to->sin_addr.s_addr) >> 24 == 127) {
        uint32_t from = 0x7f000002u + index / PORTS_PER_ADDRESS;
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(from)}};
        (void)setsockopt(l->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(l->fd, (struct sockaddr *)&sa, sizeof sa) != 0)
            return -1;
    }
    if (connect(l->fd, (const struct sockaddr *)to, sizeof *to) != 0 && errno != EINPROGRESS)
        return -1;
    return 0;
}

/* After SSL_get_error: errno is meant only when the system failed. */
static void note_error(struct link *l, int e)
{
    if (e != SSL_ERROR_SYSCALL)
        errno = 0;
    l->why = e == SSL_ERROR_SSL ? ERR_reason_error_string(ERR_peek_error()) : NULL;
}

static int start_tls(struct link *l, struct link_ctx *c)
{
    l->ssl = SSL_new(c->ssl);
    if (!l->ssl || !SSL_set_fd(l->ssl, l->fd))
        return -1;
    SSL_SESSION *copy = c->session ? SSL_SESSION_dup(c->session) : NULL;
    if (copy) {
        SSL_set_session(l->ssl, copy);
        SSL_SESSION_free(copy);
    }
    SSL_set_connect_state(l->ssl);
    return 0;
}

enum link_step link_shake(struct link *l, struct link_ctx *c)
{
    if (!l->ssl) {
        int err = 0;
        socklen_t len = sizeof err;
        if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err) {
            errno = err;
            return LINK_FAILED;
        }
        if (!c->ssl)
            return LINK_DONE;
        if (start_tls(l, c) < 0)
            return LINK_FAILED;
    }
    ERR_clear_error();
    int r = SSL_do_handshake(l->ssl);
    if (r == 1)
        return LINK_DONE;
    int e = SSL_get_error(l->ssl, r);
    if (e == SSL_ERROR_WANT_READ)
        return LINK_WANT_READ;
    if (e == SSL_ERROR_WANT_WRITE)
        return LINK_WANT_WRITE;
    note_error(l, e);
    return LINK_FAILED;
}

ssize_t link_read(struct link *l, void *p, size_t n)
{
    if (!l->ssl) {
        ssize_t r = recv(l->fd, p, n, 0);
        if (r > 0)
            return r;
        if (r == 0)
            errno = 0;
        return r < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    size_t got = 0;
    ERR_clear_error();
    /* A record at a time: fill the buffer, so that the caller parses once. */
    while (got + 16384 <= n) {
        errno = 0;
        int r = SSL_read(l->ssl, (char *)p + got, (int)(n - got));
        if (r > 0) {
            got += (size_t)r;
            continue;
        }
        int e = SSL_get_error(l->ssl, r);
        if (e == SSL_ERROR_WANT_READ)
            break;
        note_error(l, e);
        return got ? (ssize_t)got : -1;
    }
    return (ssize_t)got;
}

int link_write(struct link *l, const void *p, size_t n)
{
    if (!l->ssl)
        return send(l->fd, p, n, MSG_NOSIGNAL) == (ssize_t)n ? 0 : -1;
    ERR_clear_error();
    return SSL_write(l->ssl, p, (int)n) == (int)n ? 0 : -1;
}

bool link_resumed(const struct link *l)
{
    return l->ssl && SSL_session_reused(l->ssl);
}

void link_close(struct link *l)
{
    if (l->ssl)
        SSL_free(l->ssl);
    if (l->fd >= 0)
        close(l->fd);
    l->ssl = NULL;
    l->fd = -1;
}
