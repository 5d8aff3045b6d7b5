/*
 * floor_tls.c - what OpenSSL takes by itself: an epoll loop that accepts, shakes hands, and holds the connection. One
 * thread; the settings are those that decide the cost of a handshake and of a connection at rest (versions, one ticket,
 * no session cache, buffers given back), the same as the broker's. Everything dies with the process.
 */
#include "floor.h"
#include "tls_server.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256

struct line {
    int fd;
    SSL *ssl; /* NULL: the listener */
    bool up;
};

static void line_free(struct line *l)
{
    SSL_free(l->ssl);
    close(l->fd);
    free(l);
}

static void accept_all(int ep, int listener, SSL_CTX *ctx)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct line *l = calloc(1, sizeof *l);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = l};
        if (l)
            *l = (struct line){.fd = fd, .ssl = SSL_new(ctx)};
        if (!l || !l->ssl || !SSL_set_fd(l->ssl, fd) || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev)) {
            if (l)
                line_free(l);
            else
                close(fd);
            continue;
        }
        SSL_set_accept_state(l->ssl);
    }
}

static bool on_event(struct line *l)
{
    char sink[4096];
    ERR_clear_error();
    int r = l->up ? SSL_read(l->ssl, sink, sizeof sink) : SSL_do_handshake(l->ssl);
    if (r > 0) {
        l->up = true;
        return true;
    }
    int e = SSL_get_error(l->ssl, r);
    return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE;
}

static void serve(struct board *b, int ep, int listener, SSL_CTX *ctx)
{
    struct epoll_event events[EVENTS];
    while (board_phase(b) != PHASE_END) {
        int n = epoll_wait(ep, events, EVENTS, 50);
        for (int i = 0; i < n; i++) {
            struct line *l = events[i].data.ptr;
            if (!l)
                accept_all(ep, listener, ctx);
            else if (!on_event(l))
                line_free(l);
        }
    }
}

int floor_tls_serve(struct board *b, const struct options *o)
{
    unsigned port = 0;
    int ep = epoll_create1(EPOLL_CLOEXEC), listener = floor_listen(&port);
    struct ssl_ctx_st *ctx = tls_server_ctx(o);
    struct epoll_event ev = {.events = EPOLLIN};
    int status = 1;
    if (ep >= 0 && listener >= 0 && ctx && epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev) == 0) {
        atomic_store_explicit(&b->floor_port, (int)port, memory_order_release);
        serve(b, ep, listener, ctx);
        status = 0;
    } else {
        perror("crier-bench: the TLS floor cannot start");
    }
    SSL_CTX_free(ctx);
    return status;
}
