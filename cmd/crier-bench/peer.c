/*
 * peer.c - a subscriber's life. One process, one thread; runs once a delivery beside the server it measures, so it
 * reads as much as there is into one big buffer, parses frames in place, and keeps only what is left of a cut frame.
 *
 * A peer dies in peer_fail (counted) or peer_close; both release socket, TLS and the kept piece.
 */
#include "peer.h"

#include "proto/ws_frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void peer_close(struct peer *p)
{
    link_close(&p->link);
    free(p->rest);
    free(p->mark);
    free(p->nexts);
    p->rest = NULL;
    p->nexts = NULL;
    p->mark = NULL;
    p->rest_n = 0;
    p->state = PEER_GONE;
}

void peer_fail(struct peer *p, struct peer_env *env, const char *what, struct span said)
{
    if (env->noisy && board_phase(env->board) != PHASE_END) {
        size_t n = said.n < 160 ? said.n : 160;
        const char *why = p->link.why ? p->link.why : errno ? strerror(errno) : "";
        fprintf(stderr, "crier-bench: connection %u: %s%s%.*s%s%s\n", p->index, what, n ? ": " : "", (int)n,
                n ? (const char *)said.p : "", *why ? ": " : "", why);
        env->noisy = false;
    }
    if (p->state == PEER_READY)
        atomic_fetch_sub_explicit(&env->slot->ready, 1, memory_order_relaxed);
    board_add(&env->slot->gone, 1);
    peer_close(p);
}

int peer_dial(struct peer *p, struct peer_env *env)
{
    struct sockaddr_in to = env->url.addr;
    if (env->nports)
        to.sin_port = htons(env->ports[p->index % env->nports]);
    p->state = PEER_DIAL;
    p->next = p->joined = 0;
    if (link_dial(&p->link, &to, p->index) == 0)
        return 0;
    peer_fail(p, env, "cannot connect", (struct span){0});
    return -1;
}

/* ---- towards READY ---- */

#define JOIN_AT_ONCE 32

void peer_ready(struct peer *p, struct peer_env *env)
{
    p->state = PEER_READY;
    board_add(&env->slot->resumed, link_resumed(&p->link));
    board_add(&env->slot->connects, 1);
    atomic_fetch_add_explicit(&env->slot->ready, 1, memory_order_relaxed);
}

int peer_path(const struct peer *p, const struct peer_env *env, char *out, size_t n)
{
    char user[64];
    snprintf(user, sizeof user, "%s%u", env->user_prefix, p->index);
    return url_fill(out, n, env->url.path, user);
}

static int send_upgrade(struct peer *p, struct peer_env *env)
{
    char path[600], head[1024];
    int at = peer_path(p, env, path, sizeof path);
    if (at < 0)
        return -1;
    if (env->kind == KIND_CRIER && !strstr(env->url.path, "{}"))
        snprintf(path + at, sizeof path - (size_t)at, "%cuser=%s%u", strchr(path, '?') ? '&' : '?', env->user_prefix,
                 p->index);
    int n = snprintf(head, sizeof head,
                     "GET %s HTTP/1.1\r\nHost: %s:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                     path, env->url.host, env->url.port,
                     env->kind == KIND_CRIER ? "Sec-WebSocket-Protocol: crier.v1.json\r\n" : "");
    if (n < 0 || (size_t)n >= sizeof head)
        return -1;
    return link_write(&p->link, head, (size_t)n);
}

static int send_frame(struct peer *p, enum ws_opcode op, const void *payload, size_t n)
{
    static const uint8_t no_mask[4] = {0};
    uint8_t out[WS_MAX_HEAD + 512];
    if (n > 512)
        return -1;
    unsigned head = ws_head_write(out, true, false, op, n, no_mask);
    memcpy(out + head, payload, n);
    return link_write(&p->link, out, head + n);
}

static int subscribe(struct peer *p, struct peer_env *env, unsigned room)
{
    char text[256], number[16] = "";
    if (env->rooms > 1 || env->spread)
        snprintf(number, sizeof number, "%u", room);
    int n = snprintf(text, sizeof text, "{\"type\":\"subscribe\",\"ref\":1,\"room\":\"%s%s\"}", env->room, number);
    return n > 0 && (size_t)n < sizeof text ? send_frame(p, WS_TEXT, text, (size_t)n) : -1;
}

/* The first rooms, or the next ones when those are confirmed: a few at a time, so that they fit the socket. */
static int send_subscribe(struct peer *p, struct peer_env *env)
{
    if (env->spread)
        return subscribe(p, env, p->index % env->spread);
    if (env->rooms > 1 && !p->nexts && !(p->nexts = calloc(env->rooms, sizeof *p->nexts)))
        return -1;
    for (unsigned i = p->joined; i < env->rooms && i < p->joined + JOIN_AT_ONCE; i++)
        if (subscribe(p, env, i) < 0)
            return -1;
    return 0;
}

void peer_ack(struct peer *p, struct peer_env *env)
{
    char text[64];
    if (p->state != PEER_READY || p->seq == 0)
        return;
    int n = snprintf(text, sizeof text, "{\"type\":\"ack\",\"seq\":%llu}", (unsigned long long)p->seq);
    p->seq = 0;
    if (send_frame(p, WS_TEXT, text, (size_t)n) < 0)
        peer_fail(p, env, "cannot acknowledge", (struct span){0});
}

/* A text frame before READY: the welcome, then the answer to the subscription. */
static bool on_greeting(struct peer *p, struct peer_env *env, struct span text)
{
    bool welcome = memmem(text.p, text.n, "\"welcome\"", 9) != NULL;
    bool ok = memmem(text.p, text.n, "\"ok\"", 4) != NULL && memmem(text.p, text.n, "\"ref\"", 5) != NULL;
    if (memmem(text.p, text.n, "\"error\"", 7)) {
        errno = 0;
        peer_fail(p, env, "the server answered", text);
        return false;
    }
    bool joined = p->state == PEER_SUBSCRIBE && ok, first = p->state == PEER_WELCOME && welcome;
    if (joined)
        p->joined++;
    if (first && env->room)
        p->state = PEER_SUBSCRIBE;
    if ((first && !env->room) || (joined && p->joined == env->rooms))
        peer_ready(p, env);
    else if ((first || (joined && p->joined % JOIN_AT_ONCE == 0)) && send_subscribe(p, env) < 0)
        peer_fail(p, env, "cannot subscribe", (struct span){0});
    return p->state != PEER_GONE;
}

/* The answer to the upgrade. Bytes used, 0: more wanted, -1: refused (the peer is gone). */
static ptrdiff_t on_upgrade(struct peer *p, struct peer_env *env, struct span in)
{
    const uint8_t *end = memmem(in.p, in.n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (in.n < 12 || memcmp(in.p, "HTTP/1.1 101", 12) != 0) {
        errno = 0;
        peer_fail(p, env, "upgrade refused", in);
        return -1;
    }
    if (env->kind == KIND_CRIER)
        p->state = PEER_WELCOME;
    else
        peer_ready(p, env);
    return end + 4 - in.p;
}

/* ---- messages ---- */

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void peer_stamp(struct peer *p, struct peer_env *env, const char *at, struct batch *b)
{
    uint64_t seq = stamp_seq(at), room = seq >> 32, next = p->next;
    if (p->nexts && room < env->rooms)
        next = stamp_number((unsigned)room, p->nexts[room]);
    if (seq < next) {
        b->duplicates++;
        return;
    }
    b->deliveries++;
    b->lost += seq - next;
    if (p->nexts)
        p->nexts[room] = (uint32_t)seq + 1;
    else
        p->next = seq + 1;
    if (b->measuring && ((seq + p->index) & env->sample) == 0) {
        if (!b->now)
            b->now = now_ns();
        uint64_t sent = stamp_ns(at);
        hist_add(&env->slot->latency[board_stage(env->board)], b->now > sent ? b->now - sent : 0);
    }
}

static void keep_seq(struct peer *p, const uint8_t *payload, size_t n)
{
    const uint8_t *at = memmem(payload, n, "\"seq\":", 6);
    uint64_t seq = 0;
    for (at = at ? at + 6 : payload + n; at < payload + n && *at >= '0' && *at <= '9'; at++)
        seq = seq * 10 + (*at - '0');
    if (seq > p->seq)
        p->seq = seq;
}

static void on_data(struct peer *p, struct peer_env *env, const uint8_t *payload, size_t n, struct batch *b)
{
    const char *at = stamp_find(&env->stamp, payload, n);
    if (at) {
        peer_stamp(p, env, at, b);
        return;
    }
    b->others++;
    if (env->hold_acks)
        keep_seq(p, payload, n);
}

/* A control frame; false: the peer is gone. */
static bool on_control(struct peer *p, struct peer_env *env, enum ws_opcode op, struct span payload)
{
    if (op == WS_PING && send_frame(p, WS_PONG, payload.p, payload.n) < 0) {
        peer_fail(p, env, "cannot answer a ping", (struct span){0});
        return false;
    }
    if (op != WS_CLOSE)
        return true;
    char code[40];
    unsigned c = payload.n >= 2 ? (unsigned)payload.p[0] << 8 | payload.p[1] : 1005u;
    struct span reason = payload.n > 2 ? span_of(payload.p + 2, payload.n - 2) : (struct span){0};
    snprintf(code, sizeof code, "closed with code %u", c);
    errno = 0;
    peer_fail(p, env, code, reason);
    return false;
}

/* Frames in place. Bytes used, or -1: the peer is gone. */
static ptrdiff_t on_frames(struct peer *p, struct peer_env *env, struct span in, struct batch *b)
{
    size_t used = 0;
    while (used < in.n) {
        struct ws_head h;
        enum ws_fault f = ws_head_parse(span_of(in.p + used, in.n - used), false, false, &h);
        if (f == WS_NEED_MORE)
            break;
        if (f != WS_OK || !h.fin || h.opcode == WS_CONT || h.length > PEER_REST - WS_MAX_HEAD) {
            errno = 0;
            peer_fail(p, env, f != WS_OK ? ws_fault_text(f) : "a frame of a kind this tool does not read",
                      (struct span){0});
            return -1;
        }
        if (in.n - used < h.size + h.length)
            break;
        const uint8_t *payload = in.p + used + h.size;
        used += h.size + (size_t)h.length;
        if (h.opcode >= WS_CLOSE) {
            if (!on_control(p, env, h.opcode, span_of(payload, (size_t)h.length)))
                return -1;
        } else if (p->state == PEER_READY) {
            on_data(p, env, payload, (size_t)h.length, b);
        } else if (p->state == PEER_SUBSCRIBE && stamp_find(&env->stamp, payload, (size_t)h.length)) {
            on_data(p, env, payload, (size_t)h.length, b); /* messages may come before the answer */
        } else if (!on_greeting(p, env, span_of(payload, (size_t)h.length))) {
            return -1;
        }
    }
    return (ptrdiff_t)used;
}

static void publish_counts(struct peer_env *env, const struct batch *b, size_t bytes)
{
    struct slot *s = env->slot;
    board_add(&s->deliveries, b->deliveries);
    board_add(&s->bytes, bytes);
    board_add(&s->reads, 1);
    if (b->lost)
        board_add(&s->lost, b->lost);
    if (b->duplicates)
        board_add(&s->duplicates, b->duplicates);
    if (b->others)
        board_add(&s->others, b->others);
    if (b->answers)
        board_add(&s->answers, b->answers);
}

/* Keeps what was not used for the next read. */
static void keep_rest(struct peer *p, struct peer_env *env, const uint8_t *at, size_t n)
{
    if (n == 0) {
        free(p->rest);
        p->rest = NULL;
        p->rest_n = 0;
        return;
    }
    uint8_t *copy = realloc(p->rest, n);
    if (!copy || n > PEER_REST) {
        p->rest = copy ? copy : p->rest;
        peer_fail(p, env, "a message longer than this tool's buffer", (struct span){0});
        return;
    }
    memcpy(copy, at, n);
    p->rest = copy;
    p->rest_n = (uint32_t)n;
}

/* Everything behind the answer to an upgrade. Bytes used, or -1: the peer is gone. */
static ptrdiff_t on_input(struct peer *p, struct peer_env *env, struct span in, struct batch *b)
{
    switch (env->kind) {
    case KIND_CRIER:
    case KIND_PLAIN:
        return on_frames(p, env, in, b);
    case KIND_SSE:
        return peer_stream(p, env, in, b);
    case KIND_POLL:
        return peer_answer(p, env, in, b);
    case KIND_TLS:
        return (ptrdiff_t)in.n;
    }
    return -1;
}

/* One read. True when the buffer was filled: there may be more. */
static bool read_once(struct peer *p, struct peer_env *env)
{
    size_t held = p->rest_n;
    if (held)
        memcpy(env->buf, p->rest, held);
    size_t room = PEER_BUF - held;
    ssize_t r = link_read(&p->link, env->buf + held, room);
    if (r < 0) {
        peer_fail(p, env, errno || p->link.why ? "connection failed" : "connection closed by the server",
                  (struct span){0});
        return false;
    }
    if (r == 0)
        return false;
    struct batch b = {.measuring = board_phase(env->board) == PHASE_MEASURE};
    size_t have = held + (size_t)r, used = 0;
    if (p->state == PEER_UPGRADE && env->kind <= KIND_PLAIN) {
        ptrdiff_t n = on_upgrade(p, env, span_of(env->buf, have));
        if (n < 0)
            return false;
        used = (size_t)n;
    }
    if (p->state != PEER_UPGRADE || env->kind > KIND_PLAIN) {
        ptrdiff_t n = on_input(p, env, span_of(env->buf + used, have - used), &b);
        publish_counts(env, &b, (size_t)r);
        if (n < 0)
            return false;
        used += (size_t)n;
    }
    keep_rest(p, env, env->buf + used, have - used);
    return p->state != PEER_GONE && (size_t)r + 16384 > room;
}

/* Connected, and TLS is up. 0 or -1. */
static int start(struct peer *p, struct peer_env *env)
{
    p->state = PEER_UPGRADE;
    switch (env->kind) {
    case KIND_CRIER:
    case KIND_PLAIN:
        return send_upgrade(p, env);
    case KIND_SSE:
        return peer_ask(p, env);
    case KIND_POLL:
        if (peer_ask(p, env) < 0)
            return -1;
        break;
    case KIND_TLS:
        break;
    }
    peer_ready(p, env);
    return 0;
}

bool peer_event(struct peer *p, struct peer_env *env)
{
    if (p->state == PEER_DIAL) {
        enum link_step step = link_shake(&p->link, &env->tls);
        if (step == LINK_WANT_READ || step == LINK_WANT_WRITE)
            return step == LINK_WANT_WRITE;
        if (step == LINK_FAILED) {
            peer_fail(p, env, "cannot connect", (struct span){0});
            return false;
        }
        if (start(p, env) < 0) {
            peer_fail(p, env, "cannot ask", (struct span){0});
            return false;
        }
    }
    while (p->state != PEER_GONE && read_once(p, env))
        ;
    return false;
}
