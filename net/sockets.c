/*
 * sockets.c - the sockets of a shard's connections.
 *
 * Idea: libevent keeps a struct event and an entry of two tables for each descriptor, some 250 bytes, which is a third
 * of what an idle connection may take. The sockets of clients need none of what those are for: there is one callback,
 * and no timeout. So they stand in an epoll set of the shard's own, whose entries point to the connections, and that
 * set's descriptor is one event of the base beside listeners, timers and the doorbell. A turn reads one batch of it;
 * what is ready beyond that keeps the set ready (it is level-triggered) for the next turn.
 *
 * A connection that is closed or moved by an earlier one of the same batch is still memory (the reaper runs at the end
 * of the turn) and has nothing armed, which is how it is passed over. Shard thread; the set dies with the shard, after
 * its connections.
 */
#include "net/sockets.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/clock.h"
#include "net/conn.h"
#include "net/shard.h"

#define BATCH 512

struct sockets {
    int fd;
    struct event *ev;
};

static void on_some(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct shard *s = arg;
    struct epoll_event ready[BATCH];
    int n = epoll_wait(fd, ready, BATCH, 0);
    s->now_ms = clock_mono_ms();
    for (int i = 0; i < n; i++) {
        struct conn *c = ready[i].data.ptr;
        unsigned can = ready[i].events & (EPOLLERR | EPOLLHUP) ? SOCKET_READ | SOCKET_WRITE : 0;
        can |= ready[i].events & EPOLLIN ? SOCKET_READ : 0;
        can |= ready[i].events & EPOLLOUT ? SOCKET_WRITE : 0;
        if (c->armed & can)
            conn_ready(c, c->armed & can);
    }
}

struct sockets *sockets_new(struct shard *s)
{
    struct sockets *k = malloc(sizeof *k);
    if (!k)
        return NULL;
    k->fd = epoll_create1(EPOLL_CLOEXEC);
    k->ev = k->fd >= 0 ? event_new(s->base, k->fd, EV_READ | EV_PERSIST, on_some, s) : NULL;
    if (k->ev && event_add(k->ev, NULL) == 0)
        return k;
    sockets_free(k);
    return NULL;
}

void sockets_free(struct sockets *k)
{
    if (!k)
        return;
    if (k->ev)
        event_free(k->ev);
    if (k->fd >= 0)
        close(k->fd);
    free(k);
}

bool socket_arm(struct conn *c, unsigned want)
{
    if (c->armed == want)
        return true;
    struct epoll_event ev = {.data.ptr = c};
    ev.events = (want & SOCKET_READ ? EPOLLIN : 0u) | (want & SOCKET_WRITE ? EPOLLOUT : 0u);
    int op = !c->armed ? EPOLL_CTL_ADD : want ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    if (epoll_ctl(c->shard->sockets->fd, op, c->fd, &ev) != 0)
        return false;
    c->armed = (uint8_t)want;
    return true;
}

void socket_forget(struct conn *c)
{
    c->armed = 0;
}
