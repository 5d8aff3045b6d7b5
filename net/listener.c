/*
 * listener.c - listening sockets: bound by main before the threads start (one a shard and address, SO_REUSEPORT, so
 * that the kernel spreads connections), accepted from on each shard.
 *
 * SO_REUSEPORT hides a port that another process of the same user has taken, so a plain probe bind looks first. When
 * fds run out, accepting pauses for a moment instead of spinning on a socket that stays readable.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "net/conn.h"
#include "net/http.h"
#include "net/shard.h"
#include "net/tcp.h"

#define BACKLOG         4096
#define ACCEPT_BATCH    64
#define ACCEPT_PAUSE_MS 100

struct listener {
    struct listener *next;
    struct shard *shard;
    struct event *ev, *pause;
    struct log_limit log;
    int fd;
    bool tls, public, raw;
};

/* "ADDR:PORT" or "[ADDR]:PORT", without what follows a comma. */
static bool split(const char *spec, char *host, size_t hostlen, char *port, size_t portlen)
{
    const char *end = spec + strcspn(spec, ",");
    const char *colon = memrchr(spec, ':', (size_t)(end - spec));
    if (!colon)
        return false;
    const char *from = spec, *to = colon;
    if (*from == '[' && to > from && to[-1] == ']') {
        from++;
        to--;
    }
    int h = snprintf(host, hostlen, "%.*s", (int)(to - from), from);
    int p = snprintf(port, portlen, "%.*s", (int)(end - colon - 1), colon + 1);
    return h >= 0 && (size_t)h < hostlen && p > 0 && (size_t)p < portlen;
}

static int open_socket(const struct addrinfo *ai, bool share, const struct sockaddr *at, socklen_t atlen)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* what is accepted inherits it */
    if ((share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0) || bind(fd, at, atlen) != 0) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

static void describe(const struct sockaddr_storage *ss, char *out, size_t len)
{
    char host[64] = "?", port[16] = "0";
    (void)getnameinfo((const struct sockaddr *)ss, sizeof *ss, host, sizeof host, port, sizeof port,
                      NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, len, ss->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static bool bind_all(const struct addrinfo *ai, unsigned n, int *fds, struct sockaddr_storage *at)
{
    socklen_t len = ai->ai_addrlen;
    memcpy(at, ai->ai_addr, len);
    int probe = open_socket(ai, false, (const struct sockaddr *)at, len);
    if (probe < 0)
        return false;
    close(probe);
    for (unsigned i = 0; i < n; i++) {
        fds[i] = open_socket(ai, true, (const struct sockaddr *)at, len);
        if (fds[i] < 0 || listen(fds[i], BACKLOG) != 0 ||
            (i == 0 && getsockname(fds[i], (struct sockaddr *)at, &len) != 0)) {
            int e = errno;
            for (unsigned j = 0; j <= i; j++) {
                if (fds[j] >= 0)
                    close(fds[j]);
            }
            errno = e;
            return false;
        }
    }
    return true;
}

bool listener_bind(const char *spec, unsigned n, int *fds, char *bound, size_t boundlen, char *err, size_t errlen)
{
    char host[256], port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *ai = NULL;
    struct sockaddr_storage at = {0};
    if (!split(spec, host, sizeof host, port, sizeof port)) {
        snprintf(err, errlen, "cannot listen on \"%s\": write ADDR:PORT, for example 127.0.0.1:8080", spec);
        return false;
    }
    int r = getaddrinfo(host[0] ? host : NULL, port, &hints, &ai);
    if (r != 0) {
        snprintf(err, errlen, "cannot listen on %s: %s", spec, gai_strerror(r));
        return false;
    }
    bool ok = bind_all(ai, n, fds, &at);
    if (!ok)
        snprintf(err, errlen, "cannot listen on %s: %s", spec,
                 errno == EADDRINUSE ? "another process has this port (choose another one, or 0)" : strerror(errno));
    else
        describe(&at, bound, boundlen);
    freeaddrinfo(ai);
    return ok;
}

static void accept_pause(struct listener *l)
{
    struct timeval tv = {.tv_usec = ACCEPT_PAUSE_MS * 1000};
    log_limited(&l->log, 1, LOG_ERROR, "accept",
                "cannot accept a connection: %s; raise the limit of open files (ulimit -n) or spread the clients",
                strerror(errno));
    (void)event_del(l->ev);
    (void)event_add(l->pause, &tv);
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct listener *l = arg;
    l->shard->now_ms = clock_mono_ms(); /* the shard may have slept for long: deadlines begin now */
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof peer;
        int c = accept4(fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (c >= 0) {
            (void)conn_new(l->shard, c, &peer, l->tls, l->public, l->raw ? tcp_start : http_start);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            accept_pause(l);
            return;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        }
    }
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct listener *l = arg;
    (void)event_add(l->ev, NULL);
}

bool listeners_start(struct shard *s, const struct listen_socket *socks, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct listener *l = calloc(1, sizeof *l);
        if (!l)
            return false;
        *l = (struct listener){.shard = s, .fd = socks[i].fd, .tls = socks[i].tls, .public = socks[i].public};
        l->raw = socks[i].raw;
        l->next = s->listeners;
        s->listeners = l;
        l->ev = event_new(s->base, l->fd, EV_READ | EV_PERSIST, on_acceptable, l);
        l->pause = event_new(s->base, -1, 0, on_pause_over, l);
        if (!l->ev || !l->pause || event_add(l->ev, NULL) != 0)
            return false;
    }
    return true;
}

void listeners_stop(struct shard *s)
{
    while (s->listeners) {
        struct listener *l = s->listeners;
        s->listeners = l->next;
        if (l->ev)
            event_free(l->ev);
        if (l->pause)
            event_free(l->pause);
        close(l->fd);
        free(l);
    }
}
