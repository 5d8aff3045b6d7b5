/*
 * floor.c - the bare floor. One thread, one port: a connection that begins with "FEED" brings messages (wire.h), each a
 * finished WebSocket frame with the index of its subscriber; any other is a subscriber, answered with the upgrade and
 * never parsed again. What a socket does not take at once is kept and sent when it has room: a floor that loses
 * messages would be no floor. There is no user, no room, no policy, no metric, and no timer but that of the pings (a
 * list in the order of their moments, since all wait equally long): what is left is what any server must pay.
 * Everything dies with the process.
 */
#include "floor.h"

#include "core/list.h"
#include "proto/ws_frame.h"
#include "wire.h"

#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FEED_BUF (64u * 1024)
#define HEAD_MAX 2048u
#define LATE_MAX (16u * 1024 * 1024)
#define EVENTS   256
#define RING     4096u
#define PHASE_MS 50 /* how often it looks whether the measurement is over */

enum role { ROLE_LISTENER, ROLE_NEW, ROLE_SUBSCRIBER, ROLE_FEED };

struct line {
    int fd;
    enum role role;
    uint32_t index;
    uint8_t *late; /* what the socket had no room for */
    size_t late_n, late_at;
    struct list beat; /* in floor.beats once it is a subscriber */
    uint64_t due_ms;
};

struct floor {
    struct board *board;
    struct line listener;
    struct line **subs; /* by index */
    unsigned nsubs;
    bool joined;
    bool uring; /* all sends of a batch in one system call */
    struct io_uring ring;
    unsigned beat_ms; /* 0: no pings */
    struct list beats;
    int ep;
    uint8_t feed[FEED_BUF + 65536];
    size_t feed_n;
    uint8_t batch[FEED_BUF + 65536];
};

static void watch(struct floor *f, struct line *l, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = l};
    (void)epoll_ctl(f->ep, op, l->fd, &ev);
}

static void line_free(struct floor *f, struct line *l)
{
    list_unlink(&l->beat);
    if (l->role == ROLE_SUBSCRIBER && f->subs[l->index] == l)
        f->subs[l->index] = NULL;
    close(l->fd);
    free(l->late);
    free(l);
}

static void keep_late(struct floor *f, struct line *l, const uint8_t *p, size_t n)
{
    memmove(l->late, l->late + l->late_at, l->late_n - l->late_at);
    l->late_n -= l->late_at;
    l->late_at = 0;
    uint8_t *more = l->late_n + n <= LATE_MAX ? realloc(l->late, l->late_n + n) : NULL;
    if (!more)
        return; /* the client counts it as lost */
    memcpy(more + l->late_n, p, n);
    l->late = more;
    if (l->late_n == 0)
        watch(f, l, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    l->late_n += n;
}

/* All results are there when it returns: sends that do not wait are over when they are submitted. A short one cannot be
 * mended: later bytes of the same socket may be out already. */
static void ring_run(struct floor *f)
{
    const struct io_uring_cqe *c;
    unsigned head, done = 0, n = io_uring_sq_ready(&f->ring);
    bool whole = n == 0 || io_uring_submit_and_wait(&f->ring, n) == (int)n;
    io_uring_for_each_cqe(&f->ring, head, c)
    {
        whole = whole && c->res >= 0 && (uint64_t)c->res == c->user_data;
        done++;
    }
    io_uring_cq_advance(&f->ring, done);
    if (whole && done == n)
        return;
    fprintf(stderr, "crier-bench: a socket had no room for a send of the ring: a smaller --window is needed\n");
    _exit(1);
}

static void deliver(struct floor *f, struct line *l, const uint8_t *p, size_t n)
{
    if (f->uring) {
        struct io_uring_sqe *e = io_uring_get_sqe(&f->ring);
        if (!e) { /* full */
            ring_run(f);
            e = io_uring_get_sqe(&f->ring);
        }
        io_uring_prep_send(e, l->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        io_uring_sqe_set_data64(e, n);
        return;
    }
    ssize_t r = l->late_n ? 0 : send(l->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (r < 0)
        r = 0;
    if ((size_t)r < n)
        keep_late(f, l, p + r, n - (size_t)r);
}

static void send_late(struct floor *f, struct line *l)
{
    ssize_t r = send(l->fd, l->late + l->late_at, l->late_n - l->late_at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (r > 0)
        l->late_at += (size_t)r;
    if (l->late_at < l->late_n)
        return;
    free(l->late);
    l->late = NULL;
    l->late_n = l->late_at = 0;
    watch(f, l, EPOLL_CTL_MOD, EPOLLIN);
}

static void deliver_all(struct floor *f, const uint8_t *p, size_t n)
{
    for (unsigned i = 0; i < f->nsubs; i++)
        if (f->subs[i])
            deliver(f, f->subs[i], p, n);
}

/* All whole messages of the feed's buffer. */
static void hand_out(struct floor *f)
{
    size_t used = 0, batched = 0;
    struct feed_head h;
    while (f->feed_n - used >= sizeof h) {
        memcpy(&h, f->feed + used, sizeof h);
        if (f->feed_n - used - sizeof h < h.length)
            break;
        const uint8_t *frame = f->feed + used + sizeof h;
        used += sizeof h + h.length;
        if (h.target != FEED_ALL) {
            if (h.target < f->nsubs && f->subs[h.target])
                deliver(f, f->subs[h.target], frame, h.length);
        } else if (f->joined) {
            memcpy(f->batch + batched, frame, h.length);
            batched += h.length;
        } else {
            deliver_all(f, frame, h.length);
        }
    }
    if (batched)
        deliver_all(f, f->batch, batched);
    if (f->uring)
        ring_run(f);
    memmove(f->feed, f->feed + used, f->feed_n - used);
    f->feed_n -= used;
}

static bool read_feed(struct floor *f, struct line *l)
{
    ssize_t r = recv(l->fd, f->feed + f->feed_n, sizeof f->feed - f->feed_n, MSG_DONTWAIT);
    if (r == 0 || (r < 0 && errno != EAGAIN))
        return false;
    if (r > 0) {
        f->feed_n += (size_t)r;
        hand_out(f);
    }
    return true;
}

/* ---- pings ---- */

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static struct line *line_of(struct list *beat)
{
    return (struct line *)(void *)((char *)beat - offsetof(struct line, beat));
}

static void beat_later(struct floor *f, struct line *l)
{
    l->due_ms = now_ms() + f->beat_ms;
    list_push(&f->beats, &l->beat);
}

/* Pings whoever is due. Milliseconds until the next is. */
static int beat_due(struct floor *f)
{
    static const uint8_t ping[] = {0x89, 0};
    while (!list_empty(&f->beats)) {
        struct line *l = line_of(f->beats.next);
        uint64_t now = now_ms();
        if (l->due_ms > now)
            return l->due_ms - now < PHASE_MS ? (int)(l->due_ms - now) : PHASE_MS;
        list_unlink(&l->beat);
        (void)!send(l->fd, ping, sizeof ping, MSG_NOSIGNAL | MSG_DONTWAIT);
        beat_later(f, l);
    }
    return PHASE_MS;
}

/* The index out of "GET /?user=b12 ...": the digits before the next space. */
static bool find_index(const char *head, unsigned limit, uint32_t *out)
{
    const char *p = strstr(head, "user=");
    if (!p)
        return false;
    p += strcspn(p, "0123456789 ");
    *out = (uint32_t)strtoul(p, NULL, 10);
    return *out < limit;
}

static bool read_new(struct floor *f, struct line *l)
{
    char head[HEAD_MAX + 1], answer[256], accept[29];
    ssize_t r = recv(l->fd, head, HEAD_MAX, MSG_DONTWAIT | MSG_PEEK);
    if (r <= 0)
        return r < 0 && errno == EAGAIN;
    head[r] = '\0';
    size_t hello = strlen(FEED_HELLO);
    if ((size_t)r >= hello && memcmp(head, FEED_HELLO, hello) == 0) {
        l->role = ROLE_FEED;
        return recv(l->fd, head, hello, 0) == (ssize_t)hello;
    }
    const char *end = strstr(head, "\r\n\r\n"), *key = strstr(head, "Sec-WebSocket-Key: ");
    if (!end)
        return r < (ssize_t)HEAD_MAX;
    if (!key || !find_index(head, f->nsubs, &l->index) || recv(l->fd, head, (size_t)r, 0) != r)
        return false;
    key += strlen("Sec-WebSocket-Key: ");
    ws_accept_key(span_of(key, strcspn(key, "\r")), accept);
    int n = snprintf(answer, sizeof answer,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %s\r\n\r\n",
                     accept);
    if (send(l->fd, answer, (size_t)n, MSG_NOSIGNAL) != n)
        return false;
    l->role = ROLE_SUBSCRIBER;
    f->subs[l->index] = l;
    if (f->beat_ms)
        beat_later(f, l);
    return true;
}

static bool read_subscriber(struct line *l)
{
    char sink[4096];
    ssize_t r = recv(l->fd, sink, sizeof sink, MSG_DONTWAIT);
    return r > 0 || (r < 0 && errno == EAGAIN);
}

static void accept_all(struct floor *f)
{
    for (;;) {
        int one = 1, fd = accept4(f->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct line *l = calloc(1, sizeof *l);
        if (!l) {
            close(fd);
            return;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        *l = (struct line){.fd = fd, .role = ROLE_NEW};
        watch(f, l, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void on_event(struct floor *f, struct line *l, uint32_t events)
{
    bool alive = true;
    if ((events & EPOLLOUT) && l->late_n)
        send_late(f, l);
    if (!(events & ~(uint32_t)EPOLLOUT))
        return;
    switch (l->role) {
    case ROLE_LISTENER:
        accept_all(f);
        break;
    case ROLE_NEW:
        alive = read_new(f, l);
        break;
    case ROLE_SUBSCRIBER:
        alive = read_subscriber(l);
        break;
    case ROLE_FEED:
        alive = read_feed(f, l);
        break;
    }
    if (!alive)
        line_free(f, l);
}

int floor_listen(unsigned *port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&sa, &len)) {
        close(fd);
        return -1;
    }
    *port = ntohs(sa.sin_port);
    return fd;
}

static int start(struct floor *f)
{
    unsigned port = 0;
    f->ep = epoll_create1(EPOLL_CLOEXEC);
    f->listener.fd = floor_listen(&port);
    f->subs = calloc(f->nsubs, sizeof *f->subs);
    if (f->ep < 0 || f->listener.fd < 0 || !f->subs)
        return -1;
    watch(f, &f->listener, EPOLL_CTL_ADD, EPOLLIN);
    atomic_store_explicit(&f->board->floor_port, (int)port, memory_order_release);
    return 0;
}

static void serve(struct floor *f)
{
    struct epoll_event events[EVENTS];
    while (board_phase(f->board) != PHASE_END) {
        int n = epoll_wait(f->ep, events, EVENTS, beat_due(f));
        for (int i = 0; i < n; i++)
            on_event(f, events[i].data.ptr, events[i].events);
    }
}

int floor_serve(struct board *b, const struct options *o)
{
    if (strcmp(o->mode, "tls") == 0)
        return floor_tls_serve(b, o);
    struct floor *f = calloc(1, sizeof *f);
    if (!f)
        return 1;
    f->board = b;
    f->nsubs = o->subs;
    f->joined = strcmp(o->mode, "joined") == 0;
    f->beat_ms = strcmp(o->mode, "beat") == 0 ? o->beat * 1000 : 0;
    list_init(&f->beats);
    f->uring = strcmp(o->mode, "uring") == 0;
    int status = 1, ring = f->uring ? io_uring_queue_init(RING, &f->ring, 0) : 0;
    if (ring < 0) {
        fprintf(stderr, "crier-bench: no io_uring here: %s\n", strerror(-ring));
    } else if (start(f) < 0) {
        perror("crier-bench: the floor server cannot start");
    } else {
        serve(f);
        status = 0;
    }
    if (f->uring && ring == 0)
        io_uring_queue_exit(&f->ring);
    free(f->subs);
    free(f);
    return status;
}
