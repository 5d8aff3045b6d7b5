/*
 * redis_conn.c - a connection to Redis, for ever.
 *
 * Idea: a state machine with one socket and one timer. WAIT (the timer ends it) -> RESOLVE (redis_addr.c) -> CONNECT ->
 * LOGIN (AUTH, SELECT, ROLE in one write) -> UP -> WAIT ... Any failure on the way goes through lose(), the one place
 * where a connection ends: it closes the socket, answers every queued callback with NULL, tells the owner and arms the
 * next try (50 ms doubling to 2 s, with jitter; back to 50 ms once the owner has praised the connection).
 *
 * Commands are formatted straight into `out`. The first one of a loop turn activates `turn`, an event that libevent
 * puts behind whatever is already active: so all commands of a turn leave in one write. Replies come in the order of
 * the commands: `queue` is a ring of callbacks. Their deadlines are in the same order, so one timer looks at the front;
 * a command past its deadline has its callback called with NULL and stays in the queue, without one, until its reply
 * has come and been thrown away. When the front makes no progress for `stall_ms` the connection is given up.
 *
 * Dispatcher thread. Callbacks run from the read, the timer and lose(); they may send and drop, not free. A drop asked
 * for in a callback is carried out by `turn`, so nothing dies under a function that is still on the stack.
 *
 * Every byte from the socket may be hostile: the reply under construction and the push buffer have ceilings.
 */
#include "store/redis_conn.h"

#include <errno.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/metrics.h"
#include "store/redis_addr.h"
#include "store/redis_url.h"

enum {
    FIRST_DELAY_MS = 50,
    LAST_DELAY_MS = 2000,
    TRY_MS = 5000, /* resolve, connect and log in, each */
    LEAST_STALL_MS = 3000,
    READ_SIZE = 64 * 1024,
    READS_A_TURN = 4,
    MAX_IN = 80 * 1024 * 1024, /* bytes of one unfinished reply or push */
    FIRST_QUEUE = 64,
};

enum conn_state { CONN_WAIT, CONN_RESOLVE, CONN_CONNECT, CONN_LOGIN, CONN_UP };

struct waiting {
    redis_reply_cb *cb; /* NULL: nobody waits (any more) */
    void *arg;
    uint64_t sent_ms;
    bool patient;
};

struct redis_conn {
    struct redis_conn_cfg cfg;
    enum conn_state state;
    unsigned stall_ms;
    /* the next try */
    unsigned tries; /* without praise */
    struct redis_addr *addr;
    /* the socket */
    int fd;
    struct event *readable, *writable, *timer, *turn;
    bool doomed;
    char why[160];
    redisReader *reader;
    struct buf in; /* bytes of a pushed-to connection; scratch of a command connection */
    struct buf out;
    size_t out_at; /* bytes of `out` already written */
    /* ring: [first, first + count) of cap (a power of two) */
    struct waiting *queue;
    unsigned qcap, qfirst, qcount, qlate; /* qlate: how many in front have had their NULL */
    uint64_t moved_ms;                    /* when the last reply came */
    struct log_limit noise;
};

/* ---- the queue of callbacks ---- */

static struct waiting *queue_at(struct redis_conn *c, unsigned i)
{
    return &c->queue[(c->qfirst + i) & (c->qcap - 1)];
}

static bool queue_push(struct redis_conn *c, struct waiting w)
{
    if (c->qcount == c->qcap) {
        unsigned cap = c->qcap ? c->qcap * 2 : FIRST_QUEUE;
        struct waiting *grown = malloc(cap * sizeof(*grown));
        if (!grown)
            return false;
        for (unsigned i = 0; i < c->qcount; i++)
            grown[i] = *queue_at(c, i);
        free(c->queue);
        c->queue = grown;
        c->qcap = cap;
        c->qfirst = 0;
    }
    c->qcount++;
    *queue_at(c, c->qcount - 1) = w;
    return true;
}

static struct waiting queue_pop(struct redis_conn *c)
{
    struct waiting w = *queue_at(c, 0);
    c->qfirst = (c->qfirst + 1) & (c->qcap - 1);
    c->qcount--;
    if (c->qlate)
        c->qlate--;
    return w;
}

/* ---- timer ---- */

static void arm(struct redis_conn *c, uint64_t ms)
{
    struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};
    event_add(c->timer, &tv);
}

static void arm_if_idle(struct redis_conn *c)
{
    if (!event_pending(c->timer, EV_TIMEOUT, NULL))
        arm(c, c->cfg.timeout_ms);
}

/* ---- losing it ---- */

static void close_socket(struct redis_conn *c)
{
    if (c->readable) {
        event_free(c->readable);
        c->readable = NULL;
    }
    if (c->writable) {
        event_free(c->writable);
        c->writable = NULL;
    }
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    if (c->reader)
        redisReaderFree(c->reader);
    c->reader = NULL;
    buf_fini(&c->in);
    buf_fini(&c->out);
    c->out_at = 0;
}

static void answer_all(struct redis_conn *c)
{
    while (c->qcount) {
        struct waiting w = queue_pop(c);
        if (w.cb)
            w.cb(c->cfg.arg, w.arg, NULL);
    }
}

/* Between half and the whole of 50 ms, doubled with every try, at most 2 s. */
static unsigned next_delay(struct redis_conn *c)
{
    unsigned shift = c->tries < 6 ? c->tries : 6;
    unsigned full = FIRST_DELAY_MS << shift;
    if (full > LAST_DELAY_MS)
        full = LAST_DELAY_MS;
    c->tries++;
    return full / 2 + (unsigned)random_below(full / 2 + 1);
}

static void lose(struct redis_conn *c, const char *why)
{
    char text[sizeof(c->why)];
    snprintf(text, sizeof(text), "%s", why);
    c->state = CONN_WAIT;
    c->doomed = false;
    redis_addr_cancel(c->addr);
    close_socket(c);
    unsigned delay = next_delay(c);
    log_limited(&c->noise, 5, LOG_WARN, "redis", "%s connection: %s; next try in %u ms", c->cfg.label, text, delay);
    answer_all(c);
    arm(c, delay);
    c->cfg.down(c->cfg.arg, text);
}

void redis_conn_drop(struct redis_conn *c, const char *why)
{
    if (c->state == CONN_WAIT || c->doomed)
        return;
    c->doomed = true;
    snprintf(c->why, sizeof(c->why), "%s", why);
    event_active(c->turn, EV_TIMEOUT, 0);
}

/* ---- writing ---- */

static void flush(struct redis_conn *c)
{
    while (c->out_at < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL);
        if (n >= 0) {
            c->out_at += (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            lose(c, strerror(errno));
            return;
        }
        event_add(c->writable, NULL);
        return;
    }
    c->out_at = 0;
    c->out.len = 0;
    if (c->out.cap > (1u << 20))
        buf_fini(&c->out);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct redis_conn *c = arg;
    if (c->doomed)
        lose(c, c->why);
    else if (c->fd >= 0 && c->state >= CONN_LOGIN)
        flush(c);
}

/* The written part is dropped once it is the larger half, so that a slow reader costs no quadratic moves. */
static void compact(struct redis_conn *c)
{
    if (c->out_at > c->out.len / 2) {
        buf_consume(&c->out, c->out_at);
        c->out_at = 0;
    }
}

static enum redis_sent enqueue(struct redis_conn *c, const struct resp_args *const *parts, unsigned nparts,
                               struct waiting w)
{
    size_t bytes = 32;
    unsigned argc = 0;
    for (unsigned i = 0; i < nparts; i++) {
        if (parts[i]->bad)
            return REDIS_TOO_MUCH;
        bytes += parts[i]->b.len;
        argc += parts[i]->n;
    }
    compact(c);
    size_t before = c->out.len;
    if (c->out.len - c->out_at + bytes > c->cfg.max_unsent || !buf_reserve(&c->out, bytes) || !resp_head(&c->out, argc))
        return REDIS_TOO_MUCH;
    for (unsigned i = 0; i < nparts; i++) {
        if (!buf_append(&c->out, parts[i]->b.data, parts[i]->b.len)) {
            c->out.len = before;
            return REDIS_TOO_MUCH;
        }
    }
    if ((!c->cfg.bytes || c->state != CONN_UP) && !queue_push(c, w)) {
        c->out.len = before;
        return REDIS_TOO_MUCH;
    }
    metric_add(c->cfg.metrics, M_REDIS_COMMANDS, 1);
    if (before == c->out_at)
        event_active(c->turn, EV_TIMEOUT, 0);
    arm_if_idle(c);
    return REDIS_SENT;
}

enum redis_sent redis_conn_send(struct redis_conn *c, const struct resp_args *const *parts, unsigned nparts,
                                redis_reply_cb *cb, void *arg, bool patient)
{
    if (c->state != CONN_UP || c->doomed)
        return REDIS_NOT_UP;
    if (c->qcount >= c->cfg.max_waiting)
        return REDIS_TOO_MUCH;
    return enqueue(c, parts, nparts, (struct waiting){cb, arg, clock_mono_ms(), patient});
}

/* ---- reading ---- */

static bool read_replies(struct redis_conn *c, struct span in)
{
    if (redisReaderFeed(c->reader, (const char *)in.p, in.n) != REDIS_OK) {
        lose(c, c->reader->errstr);
        return false;
    }
    void *reply = NULL;
    while (!c->doomed && c->reader) {
        if (redisReaderGetReply(c->reader, &reply) != REDIS_OK) {
            char why[120];
            snprintf(why, sizeof(why), "what came is not Redis: %.90s", c->reader->errstr);
            lose(c, why);
            return false;
        }
        if (!reply)
            break;
        if (c->qcount == 0) {
            freeReplyObject(reply);
            lose(c, "a reply came that nobody asked for");
            return false;
        }
        struct waiting w = queue_pop(c);
        c->moved_ms = clock_mono_ms();
        if (((redisReply *)reply)->type == REDIS_REPLY_ERROR)
            metric_add(c->cfg.metrics, M_REDIS_ERRORS, 1);
        if (w.cb)
            w.cb(c->cfg.arg, w.arg, reply);
        freeReplyObject(reply);
    }
    if (c->reader && c->reader->len - c->reader->pos > MAX_IN) {
        lose(c, "a reply is longer than anything we asked for");
        return false;
    }
    return c->fd >= 0;
}

static bool read_pushes(struct redis_conn *c)
{
    ptrdiff_t used = c->cfg.bytes(c->cfg.arg, buf_span(&c->in));
    if (used < 0) {
        lose(c, "what came is not what Redis pushes");
        return false;
    }
    buf_consume(&c->in, (size_t)used);
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct redis_conn *c = arg;
    for (unsigned i = 0; i < READS_A_TURN && !c->doomed; i++) {
        bool pushed = c->cfg.bytes && c->state == CONN_UP;
        if (!pushed)
            c->in.len = 0;
        uint8_t *room = buf_reserve(&c->in, READ_SIZE);
        if (!room) {
            lose(c, "one push is longer than the buffer, or memory is out");
            return;
        }
        ssize_t n = recv(fd, room, READ_SIZE, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            lose(c, n == 0 ? "closed by Redis" : strerror(errno));
            return;
        }
        if (pushed)
            buf_commit(&c->in, (size_t)n);
        if (!(pushed ? read_pushes(c) : read_replies(c, span_of(room, (size_t)n))) || n < READ_SIZE)
            return;
    }
}

/* ---- logging in ---- */

static void login_failed(struct redis_conn *c, const char *what, const redisReply *r)
{
    char why[150];
    snprintf(why, sizeof(why), "%s refused: %.120s", what, r->str);
    redis_conn_drop(c, why);
}

static void on_auth(void *owner, void *arg, const struct redisReply *r)
{
    (void)owner;
    if (r && r->type == REDIS_REPLY_ERROR)
        login_failed(arg, "AUTH", r);
}

static void on_select(void *owner, void *arg, const struct redisReply *r)
{
    (void)owner;
    if (r && r->type == REDIS_REPLY_ERROR)
        login_failed(arg, "SELECT", r);
}

static void on_role(void *owner, void *arg, const struct redisReply *r)
{
    (void)owner;
    struct redis_conn *c = arg;
    if (!r || c->doomed)
        return;
    if (r->type == REDIS_REPLY_ERROR) {
        login_failed(c, "ROLE", r);
        return;
    }
    bool master = r->type == REDIS_REPLY_ARRAY && r->elements > 0 && r->element[0]->type == REDIS_REPLY_STRING &&
                  strcmp(r->element[0]->str, "master") == 0;
    if (!master) {
        redis_conn_drop(c, "this Redis is a replica, not the master");
        return;
    }
    c->state = CONN_UP;
    if (c->cfg.bytes)
        c->in.len = 0; /* from here on the bytes are pushes; nothing can have come after the last reply */
    event_del(c->timer);
    metric_add(c->cfg.metrics, M_REDIS_RECONNECTS, 1);
    c->cfg.up(c->cfg.arg);
}

static bool login_send(struct redis_conn *c, redis_reply_cb *cb, unsigned n, const char *const *words)
{
    struct resp_args a;
    resp_init(&a, 4096);
    for (unsigned i = 0; i < n; i++)
        resp_str(&a, words[i]);
    const struct resp_args *parts[] = {&a};
    enum redis_sent sent = enqueue(c, parts, 1, (struct waiting){cb, c, clock_mono_ms(), true});
    resp_fini(&a);
    return sent == REDIS_SENT;
}

static void login(struct redis_conn *c)
{
    const struct redis_url *u = c->cfg.url;
    c->state = CONN_LOGIN;
    c->reader = redisReaderCreate();
    bool good = c->reader != NULL;
    if (good && u->pass && u->user)
        good = login_send(c, on_auth, 3, (const char *const[]){"AUTH", u->user, u->pass});
    else if (good && u->pass)
        good = login_send(c, on_auth, 2, (const char *const[]){"AUTH", u->pass});
    if (good && u->db) {
        char db[16];
        snprintf(db, sizeof(db), "%u", u->db);
        good = login_send(c, on_select, 2, (const char *const[]){"SELECT", db});
    }
    good = good && login_send(c, on_role, 1, (const char *const[]){"ROLE"});
    if (!good) {
        lose(c, "memory is out");
        return;
    }
    event_add(c->readable, NULL);
    arm(c, TRY_MS);
}

/* ---- connecting ---- */

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct redis_conn *c = arg;
    if (c->state != CONN_CONNECT) {
        flush(c);
        return;
    }
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error)
        lose(c, strerror(error));
    else
        login(c);
}

static bool open_socket(struct redis_conn *c, int family)
{
    c->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    int on = 1;
    if (family != AF_UNIX) {
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    }
    c->readable = event_new(c->cfg.base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(c->cfg.base, c->fd, EV_WRITE, on_writable, c);
    errno = ENOMEM;
    return c->readable && c->writable;
}

static void connect_next(struct redis_conn *c)
{
    const struct sockaddr_storage *sa;
    socklen_t len;
    redis_addr_next(c->addr, &sa, &len);
    c->state = CONN_CONNECT;
    arm(c, TRY_MS);
    if (!open_socket(c, sa->ss_family))
        lose(c, strerror(errno));
    else if (connect(c->fd, (const struct sockaddr *)sa, len) == 0)
        login(c);
    else if (errno == EINPROGRESS)
        event_add(c->writable, NULL);
    else
        lose(c, strerror(errno));
}

static void on_addresses(void *arg, const char *error)
{
    struct redis_conn *c = arg;
    if (error)
        lose(c, error);
    else
        connect_next(c);
}

static void begin(struct redis_conn *c)
{
    c->state = CONN_RESOLVE;
    arm(c, TRY_MS);
    redis_addr_resolve(c->addr, on_addresses, c);
}

/* ---- the timer ---- */

/* Since when the command in front has been waited for with nothing else coming in. */
static uint64_t stalled_since(struct redis_conn *c)
{
    uint64_t sent = queue_at(c, 0)->sent_ms;
    return c->moved_ms > sent ? c->moved_ms : sent;
}

/* Answers what is too late with NULL; gives the connection up when its front has not moved for too long. */
static void look_at_deadlines(struct redis_conn *c)
{
    uint64_t now = clock_mono_ms();
    if (c->qcount && now - stalled_since(c) >= c->stall_ms) {
        lose(c, "no reply");
        return;
    }
    while (c->state == CONN_UP && c->qlate < c->qcount) {
        struct waiting *w = queue_at(c, c->qlate);
        if (now - w->sent_ms < c->cfg.timeout_ms)
            break;
        c->qlate++;
        if (!w->patient && w->cb) {
            redis_reply_cb *cb = w->cb;
            w->cb = NULL;
            metric_add(c->cfg.metrics, M_REDIS_ERRORS, 1);
            cb(c->cfg.arg, w->arg, NULL);
        }
    }
    if (c->state != CONN_UP || c->qcount == 0)
        return;
    uint64_t due = stalled_since(c) + c->stall_ms;
    if (c->qlate < c->qcount && queue_at(c, c->qlate)->sent_ms + c->cfg.timeout_ms < due)
        due = queue_at(c, c->qlate)->sent_ms + c->cfg.timeout_ms;
    arm(c, due > now ? due - now : 1);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct redis_conn *c = arg;
    switch (c->state) {
    case CONN_WAIT:
        begin(c);
        break;
    case CONN_RESOLVE:
        lose(c, "the name server does not answer");
        break;
    case CONN_CONNECT:
        lose(c, "cannot be reached");
        break;
    case CONN_LOGIN:
        lose(c, "does not answer");
        break;
    case CONN_UP:
        look_at_deadlines(c);
        break;
    }
}

/* ---- life ---- */

struct redis_conn *redis_conn_new(const struct redis_conn_cfg *cfg)
{
    struct redis_conn *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->cfg = *cfg;
    c->fd = -1;
    c->stall_ms = cfg->timeout_ms * 3 > LEAST_STALL_MS ? cfg->timeout_ms * 3 : LEAST_STALL_MS;
    buf_init(&c->in, MAX_IN);
    buf_init(&c->out, cfg->max_unsent * 2);
    c->timer = evtimer_new(cfg->base, on_timer, c);
    c->turn = event_new(cfg->base, -1, 0, on_turn, c);
    c->addr = redis_addr_new(cfg->base, cfg->url);
    if (!c->timer || !c->turn || !c->addr) {
        redis_conn_free(c);
        return NULL;
    }
    arm(c, 0);
    return c;
}

void redis_conn_free(struct redis_conn *c)
{
    if (!c)
        return;
    c->state = CONN_WAIT;
    close_socket(c);
    answer_all(c);
    redis_addr_free(c->addr);
    if (c->timer)
        event_free(c->timer);
    if (c->turn)
        event_free(c->turn);
    free(c->queue);
    free(c);
}

bool redis_conn_is_up(const struct redis_conn *c)
{
    return c->state == CONN_UP && !c->doomed;
}

unsigned redis_conn_waiting(const struct redis_conn *c)
{
    return c->qcount;
}

void redis_conn_praise(struct redis_conn *c)
{
    c->tries = 0;
}
