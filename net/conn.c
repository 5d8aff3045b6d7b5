/*
 * conn.c - the life of a connection: accept, TLS handshake, bytes in to its proto, bytes out from its queue, moving to
 * another shard, finishing, closing.
 *
 * Runs on the thread of the shard that owns it. Legal states and moves are in one table (set_state). A connection ends
 * in conn_close alone: it is taken off every list, its proto lets go of what hangs on it, and the reaper (shard.c, end
 * of the turn) frees it, so that a pointer on the stack stays valid until then. Its socket is always waited
 * for to be readable, but for paused connections, and to be writable only while something is left over, which has a
 * deadline.
 */
#include "net/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/inbox.h"
#include "core/msg.h"
#include "core/owner.h"
#include "net/addr_table.h"
#include "net/shard.h"
#include "net/sockets.h"
#include "net/tls.h"
#include "net/tls_ctx.h"
#include "net/track.h"

#define READ_BUDGET   4            /* full buffers read in one event, so that one sender does not starve the others */
#define FINISH_MS     5000         /* what is queued may take this long to leave */
#define LINGER_MS     2000         /* and the peer this long to close its side */
#define TLS_BYTES     (15 * 1024)  /* of memory, about */
#define TLS_AHEAD     (256 * 1024) /* fetched at a time */
#define INPUT_CEILING (17u << 20)  /* protos keep their own, lower bounds */

static void set_state(struct conn *c, enum conn_state to)
{
    static const uint8_t legal[] = {
        [CONN_HANDSHAKE] = 1 << CONN_OPEN | 1 << CONN_DEAD,
        [CONN_OPEN] = 1 << CONN_MOVING | 1 << CONN_FINISHING | 1 << CONN_DEAD,
        [CONN_MOVING] = 1 << CONN_OPEN | 1 << CONN_DEAD,
        [CONN_FINISHING] = 1 << CONN_DEAD,
        [CONN_DEAD] = 0,
    };
    assert(legal[c->state] & 1 << to);
    (void)legal;
    c->state = to;
}

static uint32_t now32(const struct conn *c)
{
    return (uint32_t)c->shard->now_ms;
}

uint32_t conn_silent_ms(const struct conn *c)
{
    return now32(c) - c->last_rx_ms;
}

bool conn_sent_all(const struct conn *c)
{
    int left = 1;
    return outq_empty(&c->out) && ioctl(c->fd, TIOCOUTQ, &left) == 0 && left == 0;
}

void conn_peer_timeout(struct conn *c, unsigned ms)
{
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

const char *conn_peer(const struct conn *c, char *out, size_t len)
{
    char ip[INET6_ADDRSTRLEN] = "?";
    inet_ntop(c->peer_family == 6 ? AF_INET6 : AF_INET, c->peer_addr, ip, sizeof ip);
    snprintf(out, len, c->peer_family == 6 ? "[%s]:%u" : "%s:%u", ip, (unsigned)c->peer_port);
    return out;
}

static void learn_peer(struct conn *c, const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)ss;
        c->peer_family = 6;
        memcpy(c->peer_addr, &a->sin6_addr, 16);
        c->peer_port = ntohs(a->sin6_port);
    } else if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)ss;
        c->peer_family = 4;
        memcpy(c->peer_addr, &a->sin_addr, 4);
        c->peer_port = ntohs(a->sin_port);
    }
}

/* Waits for what there is to wait for in its present state. False: memory is out. */
static bool arm(struct conn *c)
{
    bool in_hand = c->state != CONN_MOVING && c->state != CONN_DEAD;
    bool reads = in_hand && !c->paused, writes = in_hand && c->want_write;
    return socket_arm(c, (reads ? SOCKET_READ : 0) | (writes ? SOCKET_WRITE : 0));
}

static bool register_here(struct conn *c)
{
    struct shard *s = c->shard;
    c->id = ((uint64_t)(s->index + 1) << 44) | ++s->next_conn;
    if (!idmap_put(&s->conns, c))
        return false;
    metric_add(s->m, M_CONNS_OPEN, 1);
    return true;
}

static struct span addr_of(const struct conn *c)
{
    return span_of(c->peer_addr, c->peer_family == 6 ? 16 : 4);
}

/* False: its address has too many connections. */
static bool enter(struct conn *c)
{
    struct shard *s = c->shard;
    char peer[64];
    if (!s->env->addrs || addr_enter(s->env->addrs, addr_of(c)))
        return true;
    metric_add(s->m, M_CONNS_REFUSED, 1);
    log_limited(&s->log_http, 5, LOG_WARN, "accept", "peer=%s refused: its address has as many connections as allowed",
                conn_peer(c, peer, sizeof peer));
    return false;
}

static void leave(const struct conn *c)
{
    if (c->shard->env->addrs)
        addr_leave(c->shard->env->addrs, addr_of(c));
}

/* A wave of TLS clients makes the heap grow all the time, and page faults are a tenth of what each costs. Plain ones
 * take little, and what is fetched too much would count beside it. */
static void fetch_memory(struct shard *s)
{
    if (s->heap_ahead < TLS_BYTES) {
        s->heap_ahead = TLS_AHEAD;
        heap_ahead(TLS_AHEAD);
    }
    s->heap_ahead -= TLS_BYTES;
}

struct conn *conn_new(struct shard *s, int fd, const struct sockaddr_storage *peer, bool tls, bool public,
                      bool (*begin)(struct conn *c))
{
    if (tls)
        fetch_memory(s);
    struct conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return NULL;
    }
    c->shard = s;
    c->fd = fd;
    c->public = public;
    c->state = tls ? CONN_HANDSHAKE : CONN_OPEN;
    c->last_rx_ms = now32(c);
    outq_init(&c->out);
    learn_peer(c, peer);
    if (!enter(c)) {
        free(c);
        close(fd);
        return NULL;
    }
    c->ssl = tls ? tls_begin(s->env->tls, s->tls, c) : NULL;
    if ((tls && !c->ssl) || !register_here(c)) {
        SSL_free(c->ssl);
        leave(c);
        free(c);
        close(fd);
        return NULL;
    }
    metric_add(s->m, M_CONNS_ACCEPTED, 1);
    if (!begin(c))
        return NULL;
    if (!tls) { /* its request may be there already: then its socket is never waited for here if it is to move */
        conn_resume(c);
    } else if (!arm(c)) {
        conn_close(c, CLOSE_MEMORY);
        return NULL;
    }
    return c;
}

/* ---- input ---- */

/* Keeps what the proto has not used: p is either the shard's buffer or c->in's own bytes. */
static void keep_rest(struct conn *c, const uint8_t *p, size_t n, size_t used)
{
    if (c->in && p == c->in->data) {
        buf_consume(c->in, used);
    } else if (n > used) {
        if (!c->in) {
            c->in = malloc(sizeof *c->in);
            if (!c->in) {
                conn_close(c, CLOSE_MEMORY);
                return;
            }
            buf_init(c->in, INPUT_CEILING);
        }
        if (!buf_append(c->in, p + used, n - used)) {
            conn_close(c, CLOSE_TOO_BIG);
            return;
        }
    }
    if (c->in && c->in->len == 0) {
        buf_fini(c->in);
        free(c->in);
        c->in = NULL;
    }
}

/* Gives bytes to the proto (whichever it is by then) as long as it uses some. */
static void feed(struct conn *c, uint8_t *p, size_t n)
{
    size_t used = 0;
    while (used < n && c->state == CONN_OPEN && !c->paused) {
        size_t k = c->proto->input(c, p + used, n - used);
        used += k;
        if (k == 0)
            break;
    }
    if (c->state == CONN_FINISHING)
        used = n;
    if (c->state != CONN_DEAD)
        keep_rest(c, p, n, used);
}

static void feed_kept(struct conn *c)
{
    if (c->in)
        feed(c, c->in->data, c->in->len);
}

/* Reads behind what is kept, or, when nothing is, into the shard's buffer: an idle connection owns no input memory. */
static ssize_t read_some(struct conn *c)
{
    uint8_t *to = c->shard->rx;
    size_t room = SHARD_RX_BYTES;
    if (c->in) {
        room = 16 * 1024;
        to = buf_reserve(c->in, room);
        if (!to) {
            conn_close(c, CLOSE_TOO_BIG);
            return IO_FAILED;
        }
    }
    ssize_t n = transport_read(c, to, room);
    if (n <= 0)
        return n;
    c->last_rx_ms = now32(c);
    metric_add(c->shard->m, M_BYTES_IN, (uint64_t)n);
    if (!c->in) {
        feed(c, to, (size_t)n);
    } else {
        buf_commit(c->in, (size_t)n);
        feed_kept(c);
    }
    return (size_t)n < room && !c->ssl ? IO_READ_LATER : n;
}

static void finish_handshake(struct conn *c)
{
    int r = transport_accept(c);
    c->last_rx_ms = now32(c);
    if (r == IO_WRITE_LATER) {
        conn_mark_dirty(c);
    } else if (r == IO_EOF || r == IO_FAILED) {
        metric_add(c->shard->m, M_HANDSHAKE_TLS_FAILED, 1);
        conn_close(c, CLOSE_TLS);
    } else if (r == 1) {
        set_state(c, CONN_OPEN);
    }
}

static void read_all(struct conn *c)
{
    for (int i = 0; i < READ_BUDGET; i++) {
        if ((c->state != CONN_OPEN && c->state != CONN_FINISHING) || c->paused || transport_spent(c))
            return;
        ssize_t n = read_some(c);
        if (c->state == CONN_DEAD || n == IO_READ_LATER)
            return;
        if (n == IO_WRITE_LATER) {
            conn_mark_dirty(c);
            return;
        }
        if (n == IO_EOF || n == IO_FAILED) {
            conn_close(c, CLOSE_PEER_GONE);
            return;
        }
    }
    if (transport_pending(c))
        conn_resume(c);
}

static void on_readable(struct conn *c)
{
    if (c->state == CONN_HANDSHAKE)
        finish_handshake(c);
    read_all(c);
}

void conn_pause(struct conn *c)
{
    if (c->paused)
        return;
    c->paused = true;
    (void)arm(c);
}

/* Looks at the input again from the loop: kept bytes first, then the socket. */
void conn_resume(struct conn *c)
{
    if (c->paused) {
        c->paused = false;
        if (c->state == CONN_DEAD || !arm(c))
            return;
    }
    if (!c->resuming) {
        c->resuming = true;
        c->next_resumed = c->shard->resumed;
        c->shard->resumed = c;
    }
}

void conn_resumed(struct conn *c)
{
    bool fresh = !c->armed && !c->paused;
    c->resuming = false;
    if (c->state == CONN_OPEN && !c->paused)
        feed_kept(c);
    if (c->state != CONN_DEAD && (c->ssl || fresh))
        read_all(c);
    if (fresh && !arm(c))
        conn_close(c, CLOSE_MEMORY);
}

/* ---- output ---- */

static struct outq_limits limits_of(const struct conn *c)
{
    const struct config *cfg = c->shard->cfg;
    return (struct outq_limits){
        .soft_bytes = cfg->outq_soft, .hard_bytes = cfg->outq_hard, .soft_count = cfg->outq_count};
}

bool conn_backlogged(const struct conn *c)
{
    struct outq_limits lim = limits_of(c);
    return outq_over_soft(&c->out, &lim);
}

void conn_mark_dirty(struct conn *c)
{
    if (c->dirty || c->state == CONN_DEAD || c->state == CONN_MOVING)
        return;
    c->dirty = true;
    c->next_dirty = c->shard->dirty;
    c->shard->dirty = c;
}

static struct session *session_on(struct conn *c)
{
    return c->proto && c->proto->session ? c->proto->session(c) : NULL;
}

static void tell_dropped(void *arg, const struct frame *f, const char *why)
{
    struct conn *c = arg;
    track_dropped(c->shard, session_on(c), f->tracked, why);
}

/* What is still queued will not be written. Its session may be over. */
static void tell_unsent(void *arg, const struct frame *f)
{
    struct conn *c = arg;
    track_dropped(c->shard, NULL, f->tracked, "closed");
}

enum out_result conn_push(struct conn *c, struct frame *f, enum out_class cls)
{
    struct outq_limits lim = limits_of(c);
    struct outq_drops drops = {.tell = tell_dropped, .arg = c};
    struct metrics *m = c->shard->m;
    uint32_t before = c->out.bytes;
    enum out_result r = outq_push(&c->out, f, cls, &lim, &drops);
    metric_add(m, M_OUTQ_BYTES, (uint64_t)c->out.bytes - before);
    if (drops.low | drops.normal | drops.collapsed) {
        metric_add(m, M_DROP_LOW, drops.low);
        metric_add(m, M_DROP_NORMAL, drops.normal);
        metric_add(m, M_DROP_COLLAPSED, drops.collapsed);
    }
    if (r == OUT_OK && !c->want_write)
        conn_mark_dirty(c);
    return r;
}

bool conn_join(struct conn *c, struct joint *j, const struct frame *f, enum out_class cls)
{
    struct outq_limits lim = limits_of(c);
    struct frame *before = c->want_write ? NULL : outq_only(&c->out, cls);
    struct frame *both = before ? joint_get(j, before, f) : NULL;
    if (!both || !outq_extend(&c->out, both, &lim))
        return false;
    metric_add(c->shard->m, M_OUTQ_BYTES, f->len);
    return true;
}

bool conn_write(struct conn *c, struct span bytes)
{
    if (c->state == CONN_DEAD || c->shut)
        return false;
    struct frame *f = frame_copy(bytes);
    enum out_result r = f ? conn_push(c, f, OUT_CONTROL) : OUT_NO_MEMORY;
    frame_unref(f);
    if (r == OUT_OK)
        return true;
    conn_close(c, r == OUT_OVER ? CLOSE_SLOW : CLOSE_MEMORY);
    return false;
}

void conn_drop_queued(struct conn *c)
{
    uint32_t before = c->out.bytes;
    outq_walk_tracked(&c->out, c->out.pinned, tell_unsent, c);
    outq_drop_unpinned(&c->out);
    metric_sub(c->shard->m, M_OUTQ_BYTES, (uint64_t)before - c->out.bytes);
}

void conn_cork(struct conn *c, bool on)
{
    c->corked = on;
    if (!on && !outq_empty(&c->out))
        conn_mark_dirty(c);
}

static void written_message(void *arg, const struct frame *f)
{
    struct conn *c = arg;
    struct shard *s = c->shard;
    if (f->tracked)
        track_written(s, session_on(c), f);
    if (s->latency_sampled)
        return;
    s->latency_sampled = true;
    if (!s->written_us)
        s->written_us = clock_mono_us();
    metric_latency(s->m, s->written_us > f->born_us ? s->written_us - f->born_us : 0);
}

static void on_overdue(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct conn *c = arg;
    c->shard->now_ms = clock_mono_ms();
    conn_close(c, c->state == CONN_HANDSHAKE ? CLOSE_HANDSHAKE_TIMEOUT : CLOSE_WRITE_TIMEOUT);
}

/* What is left over must begin to move within the write timeout; each time some of it has moved that begins anew. */
static bool begin_waiting(struct conn *c)
{
    unsigned ms = c->shard->cfg->write_ms;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    if (!c->overdue)
        c->overdue = event_new(c->shard->base, -1, 0, on_overdue, c);
    return c->overdue && event_add(c->overdue, &tv) == 0;
}

static void want_writable(struct conn *c)
{
    if (c->want_write)
        return;
    c->want_write = true;
    if (!begin_waiting(c) || !arm(c))
        conn_close(c, CLOSE_MEMORY);
}

static void no_longer_waiting(struct conn *c)
{
    c->want_write = false;
    if (c->overdue)
        event_free(c->overdue);
    c->overdue = NULL;
}

static void unwant_writable(struct conn *c)
{
    no_longer_waiting(c);
    (void)arm(c);
}

static void output_done(struct conn *c)
{
    if (c->want_write)
        unwant_writable(c);
    outq_trim(&c->out);
    if (c->state == CONN_FINISHING && !c->shut) {
        c->shut = true;
        transport_shutdown(c);
        wheel_arm(&c->shard->wheel, &c->timer, c->shard->now_ms, LINGER_MS);
    } else if (c->state == CONN_OPEN && c->proto->drained) {
        c->proto->drained(c);
    }
}

static void written(struct conn *c, size_t n)
{
    struct shard *s = c->shard;
    c->last_tx_ms = (uint32_t)s->now_ms;
    metric_add(s->m, M_WRITES, 1);
    metric_add(s->m, M_BYTES_OUT, (uint64_t)n);
    metric_sub(s->m, M_OUTQ_BYTES, (uint64_t)n);
    outq_written(&c->out, n, written_message, c);
}

void conn_flush(struct conn *c)
{
    c->dirty = false;
    if (c->state == CONN_HANDSHAKE) {
        want_writable(c);
        return;
    }
    if (c->state == CONN_DEAD || c->state == CONN_MOVING || c->corked)
        return;
    c->shard->latency_sampled = false;
    c->shard->written_us = 0;
    for (int turns = 0; !outq_empty(&c->out); turns++) {
        ssize_t n = turns < READ_BUDGET ? transport_flush(c) : IO_WRITE_LATER;
        if (n == IO_WRITE_LATER || n == IO_READ_LATER) {
            if (n == IO_WRITE_LATER)
                want_writable(c);
            return;
        }
        if (n < 0) {
            conn_close(c, CLOSE_PEER_GONE);
            return;
        }
        written(c, (size_t)n);
    }
    output_done(c);
}

bool conn_may_batch(const struct conn *c)
{
    return !c->ssl && !c->corked && (c->state == CONN_OPEN || c->state == CONN_FINISHING) && !outq_empty(&c->out);
}

void conn_batch_sent(struct conn *c, ssize_t n)
{
    if (c->state == CONN_DEAD)
        return;
    outq_unpin(&c->out);
    c->shard->latency_sampled = false;
    if (n > 0)
        written(c, (size_t)n);
    if (n == -EAGAIN)
        want_writable(c);
    else if (n < 0 && n != -EINTR)
        conn_close(c, CLOSE_PEER_GONE);
    else if (outq_empty(&c->out))
        output_done(c);
    else
        conn_flush(c);
}

static void on_writable(struct conn *c)
{
    if (c->state == CONN_HANDSHAKE) {
        unwant_writable(c);
        finish_handshake(c);
        read_all(c);
    } else if (outq_empty(&c->out)) {
        unwant_writable(c); /* SSL_read wanted to write */
        read_all(c);
    } else {
        (void)begin_waiting(c);
        conn_flush(c);
    }
}

void conn_ready(struct conn *c, unsigned can)
{
    ASSERT_OWNER((int)c->shard->index);
    if (can & SOCKET_READ) {
        c->dry = false;
        on_readable(c);
    }
    if (can & c->armed & SOCKET_WRITE)
        on_writable(c);
}

/* ---- the end ---- */

void conn_timer(struct conn *c, uint32_t delay_ms)
{
    c->timer_due = false; /* whoever arms it last decides: it may be for another purpose now */
    if (c->state != CONN_FINISHING && c->state != CONN_DEAD && c->state != CONN_MOVING)
        wheel_arm(&c->shard->wheel, &c->timer, c->shard->now_ms, delay_ms);
}

void conn_timer_at_flush(struct conn *c)
{
    if (c->want_write) { /* nothing leaves with this turn */
        conn_timer(c, 1);
        return;
    }
    c->timer_due = true;
    conn_mark_dirty(c);
}

void conn_before_flush(struct conn *c)
{
    if (!c->timer_due || c->corked)
        return;
    c->timer_due = false;
    if (c->state == CONN_OPEN)
        c->proto->timer(c);
}

void conn_timer_fired(struct conn *c)
{
    if (c->state == CONN_FINISHING)
        conn_close(c, c->reason);
    else if (c->state != CONN_DEAD)
        c->proto->timer(c);
}

void conn_ending(struct conn *c, enum close_reason why)
{
    c->ending = true;
    c->reason = why;
}

void conn_finish(struct conn *c, enum close_reason why)
{
    if (c->state == CONN_HANDSHAKE || c->state == CONN_MOVING) {
        conn_close(c, why);
        return;
    }
    if (c->state != CONN_OPEN)
        return;
    set_state(c, CONN_FINISHING);
    if (!c->ending)
        c->reason = why;
    c->corked = false;
    wheel_arm(&c->shard->wheel, &c->timer, c->shard->now_ms, FINISH_MS);
    if (c->paused)
        conn_resume(c);
    conn_mark_dirty(c);
}

static void log_end(struct conn *c, enum close_reason why)
{
    char peer[64];
    if (c->shard->cfg->access_log || log_enabled(LOG_DEBUG))
        log_line(c->shard->cfg->access_log ? LOG_INFO : LOG_DEBUG, "conn", "conn=%llu peer=%s proto=%s closed: %s",
                 (unsigned long long)c->id, conn_peer(c, peer, sizeof peer), c->proto ? c->proto->name : "-",
                 close_reason_text(why));
}

/* Off the event base, the wheel and the table of this shard. */
static void unregister_here(struct conn *c)
{
    struct shard *s = c->shard;
    socket_forget(c);
    no_longer_waiting(c);
    wheel_cancel(&c->timer, &s->wheel);
    (void)idmap_remove(&s->conns, c->id);
    metric_sub(s->m, M_CONNS_OPEN, 1);
    metric_sub(s->m, M_OUTQ_BYTES, c->out.bytes);
}

void conn_close(struct conn *c, enum close_reason why)
{
    if (c->state == CONN_DEAD)
        return;
    bool moving = c->state == CONN_MOVING;
    struct shard *s = c->shard;
    if (c->ending || c->state == CONN_FINISHING)
        why = c->reason;
    set_state(c, CONN_DEAD);
    c->reason = why;
    metric_add(s->m, close_reason_metric(why), 1);
    log_end(c, why);
    unregister_here(c);
    if (c->proto)
        c->proto->gone(c);
    if (!moving) { /* a moving one is on the list of moves; handed over to the graveyard there */
        c->next = s->graveyard;
        s->graveyard = c;
    }
}

void conn_free(struct conn *c)
{
    if (c->ssl && !c->shut && c->reason != CLOSE_TLS && c->reason != CLOSE_PEER_GONE)
        transport_shutdown(c);
    SSL_free(c->ssl);
    outq_walk_tracked(&c->out, 0, tell_unsent, c);
    outq_fini(&c->out);
    if (c->in) {
        buf_fini(c->in);
        free(c->in);
    }
    leave(c);
    close(c->fd);
    free(c->ext);
    free(c);
}

/* ---- moving to the owner ---- */

void conn_move(struct conn *c, unsigned to)
{
    struct shard *s = c->shard;
    set_state(c, CONN_MOVING);
    c->move_to = (uint8_t)to;
    no_longer_waiting(c);
    (void)arm(c);
    wheel_cancel(&c->timer, &s->wheel);
    c->next = s->moves;
    s->moves = c;
}

bool conn_hand_over(struct conn *c)
{
    struct shard *s = c->shard;
    if (c->resuming)
        return false;
    unregister_here(c);
    if (inbox_push(s->env->shards[c->move_to], s->index, (struct item){.kind = MSG_MOVE, .ptr = c})) {
        metric_add(s->m, M_CONNS_MOVED, 1);
        return true; /* it is the other thread's now */
    }
    metric_add(s->m, M_LANE_FULL, 1);
    metric_add(s->m, M_OUTQ_BYTES, c->out.bytes);
    if (!register_here(c))
        conn_close(c, CLOSE_MEMORY);
    return false;
}

void conn_adopt(struct shard *s, struct conn *c)
{
    c->shard = s;
    c->dirty = c->resuming = c->paused = c->timer_due = false;
    set_state(c, CONN_OPEN);
    metric_add(s->m, M_OUTQ_BYTES, c->out.bytes);
    if (!register_here(c) || !arm(c)) {
        conn_close(c, CLOSE_MEMORY);
        return;
    }
    c->proto->adopted(c);
    feed_kept(c);
    if (transport_pending(c))
        read_all(c);
}
