/*
 * net_io.c - blocking sockets; SO_RCVTIMEO and SO_SNDTIMEO are the timeouts, under TLS as well (OpenSSL then reports
 * that it wants to read or write again).
 */
#include "cmd/crierctl/net_io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void set_timeout(int fd, int which, unsigned ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    (void)setsockopt(fd, SOL_SOCKET, which, &tv, sizeof(tv));
}

/* connect() with a limit: the socket is non-blocking only meanwhile. 0 or an errno. */
static int connect_within(int fd, const struct addrinfo *a, unsigned ms)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return errno;
    }
    if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
        if (errno != EINPROGRESS) {
            return errno;
        }
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int n = poll(&p, 1, (int)ms);
        if (n <= 0) {
            return n ? errno : ETIMEDOUT;
        }
        int failure = 0;
        socklen_t len = sizeof(failure);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &len) < 0 || failure) {
            return failure ? failure : errno;
        }
    }
    return fcntl(fd, F_SETFL, flags) < 0 ? errno : 0;
}

static int try_address(const struct addrinfo *a, unsigned ms, int *failure)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0) {
        *failure = errno;
        return -1;
    }
    *failure = connect_within(fd, a, ms);
    if (*failure) {
        close(fd);
        return -1;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    set_timeout(fd, SO_RCVTIMEO, ms);
    set_timeout(fd, SO_SNDTIMEO, ms);
    return fd;
}

static int connect_any(const struct url *u, unsigned ms, char *err, size_t errlen)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(u->host, u->port, &hints, &list);
    if (rc) {
        snprintf(err, errlen, "cannot find %s: %s", u->host, gai_strerror(rc));
        return -1;
    }
    int fd = -1, failure = 0;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = try_address(a, ms, &failure);
    }
    freeaddrinfo(list);
    if (fd < 0) {
        snprintf(err, errlen, "cannot connect to %s port %s: %s; is the broker running there? (--url, CRIER_URL)",
                 u->host, u->port, strerror(failure));
    }
    return fd;
}

static const char *tls_reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "the connection ended";
}

static bool tls_prepare(struct link *l, const struct url *u, const struct server *s, char *err, size_t errlen)
{
    l->ctx = SSL_CTX_new(TLS_client_method());
    if (!l->ctx || !SSL_CTX_set_min_proto_version(l->ctx, TLS1_2_VERSION)) {
        snprintf(err, errlen, "cannot set up TLS: %s", tls_reason());
        return false;
    }
    if (s->ca ? !SSL_CTX_load_verify_file(l->ctx, s->ca) : !SSL_CTX_set_default_verify_paths(l->ctx)) {
        snprintf(err, errlen, "--ca %s: %s", s->ca ? s->ca : "(the system's certificates)", tls_reason());
        return false;
    }
    SSL_CTX_set_verify(l->ctx, s->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    l->ssl = SSL_new(l->ctx);
    struct in6_addr number;
    bool is_number = inet_pton(AF_INET, u->host, &number) == 1 || inet_pton(AF_INET6, u->host, &number) == 1;
    bool ok = l->ssl && (is_number ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(l->ssl), u->host)
                                   : SSL_set1_host(l->ssl, u->host) && SSL_set_tlsext_host_name(l->ssl, u->host));
    if (!ok || !SSL_set_fd(l->ssl, l->fd)) {
        snprintf(err, errlen, "cannot set up TLS: %s", tls_reason());
        return false;
    }
    return true;
}

static bool tls_connect(struct link *l, const struct url *u, const struct server *s, char *err, size_t errlen)
{
    if (!tls_prepare(l, u, s, err, errlen)) {
        return false;
    }
    ERR_clear_error();
    if (SSL_connect(l->ssl) == 1) {
        return true;
    }
    long verdict = SSL_get_verify_result(l->ssl);
    if (verdict != X509_V_OK && !s->insecure) {
        snprintf(err, errlen,
                 "the certificate of %s port %s is not trusted (%s); name its authority with --ca FILE, or use "
                 "--insecure for a test",
                 u->host, u->port, X509_verify_cert_error_string(verdict));
    } else {
        snprintf(err, errlen, "no TLS with %s port %s: %s; is that the broker's TLS port?", u->host, u->port,
                 tls_reason());
    }
    return false;
}

bool link_open(struct link *l, const struct url *u, const struct server *s, char *err, size_t errlen)
{
    *l = (struct link){.fd = -1};
    l->fd = connect_any(u, (unsigned)s->timeout_s * 1000, err, errlen);
    if (l->fd < 0) {
        return false;
    }
    if (u->tls && !tls_connect(l, u, s, err, errlen)) {
        link_close(l);
        return false;
    }
    return true;
}

void link_close(struct link *l)
{
    if (l->fd < 0) {
        return;
    }
    if (l->ssl) {
        if (SSL_is_init_finished(l->ssl)) {
            (void)SSL_shutdown(l->ssl);
        }
        SSL_free(l->ssl);
    }
    SSL_CTX_free(l->ctx);
    close(l->fd);
    *l = (struct link){.fd = -1};
}

static ptrdiff_t tls_read(struct link *l, void *out, size_t cap)
{
    size_t got = 0;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_read_ex(l->ssl, out, cap, &got);
    if (rc == 1) {
        return (ptrdiff_t)got;
    }
    switch (SSL_get_error(l->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return LINK_TIMEOUT;
    case SSL_ERROR_ZERO_RETURN:
        return LINK_EOF;
    default:
        return LINK_FAILED;
    }
}

ptrdiff_t link_read(struct link *l, void *out, size_t cap, unsigned timeout_ms)
{
    if (l->fd < 0) {
        return LINK_FAILED;
    }
    set_timeout(l->fd, SO_RCVTIMEO, timeout_ms ? timeout_ms : 1);
    if (l->ssl) {
        return tls_read(l, out, cap);
    }
    ssize_t n;
    do {
        n = recv(l->fd, out, cap, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? LINK_TIMEOUT : LINK_FAILED;
    }
    return n;
}

bool link_write(struct link *l, struct span bytes)
{
    while (bytes.n > 0) {
        size_t done = 0;
        if (l->fd < 0) {
            return false;
        }
        if (l->ssl) {
            ERR_clear_error();
            if (SSL_write_ex(l->ssl, bytes.p, bytes.n, &done) != 1) {
                return false;
            }
        } else {
            ssize_t n = send(l->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n < 0) {
                return false;
            }
            done = (size_t)n;
        }
        bytes = span_of(bytes.p + done, bytes.n - done);
    }
    return true;
}

bool link_pending(const struct link *l)
{
    return l->ssl && SSL_pending(l->ssl) > 0;
}
