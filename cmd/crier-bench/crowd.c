/*
 * crowd.c - a client process. Connects its share with a bounded number of handshakes under way, reports each ready one
 * on the board, and reads until the first process says PHASE_END. With a quota on the board (churn) the oldest
 * connection is closed and another user dials in its place until the quota is used up. Peers die with the process.
 */
#include "crowd.h"

#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS  512
#define LOOK_MS 50 /* how often an idle process looks at the phase */
/* Users of churn are numbered from here: all their names are of one length, since a longer one takes more memory. */
#define CHURN_FIRST 1000000000u

struct crowd {
    struct peer_env env;
    struct peer *peers;
    unsigned n, dialed, flight, under_way;
    unsigned number; /* of this process */
    bool churn;
    int ep;
};

static bool settled(const struct peer *p)
{
    return p->state == PEER_READY || p->state == PEER_GONE;
}

static void watch(struct crowd *c, struct peer *p, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = p};
    (void)epoll_ctl(c->ep, op, p->link.fd, &ev);
}

/* The peer that dials next, or NULL: none for now. */
static struct peer *next_dial(struct crowd *c)
{
    struct peer_env *e = &c->env;
    if (e->tls.resume && !e->tls.session && c->dialed > 0)
        return NULL; /* the others wait for the session of the first */
    if (!c->churn)
        return c->dialed < c->n ? &c->peers[c->dialed++] : NULL;
    if (c->dialed >= board_get(&e->board->quota) / e->board->procs)
        return NULL;
    struct peer *p = &c->peers[c->dialed % c->n];
    if (c->dialed >= c->n) {
        if (p->state != PEER_READY)
            return NULL;
        atomic_fetch_sub_explicit(&e->slot->ready, 1, memory_order_relaxed);
        peer_close(p);
    }
    p->index = CHURN_FIRST + c->dialed++ * e->board->procs + c->number;
    return p;
}

static void dial_more(struct crowd *c)
{
    while (c->under_way < c->flight) {
        struct peer *p = next_dial(c);
        if (!p)
            return;
        if (peer_dial(p, &c->env) < 0)
            continue;
        c->under_way++;
        watch(c, p, EPOLL_CTL_ADD, EPOLLOUT);
    }
}

static void on_event(struct crowd *c, struct peer *p)
{
    bool was_settled = settled(p), dialing = p->state == PEER_DIAL;
    if (p->state == PEER_GONE)
        return;
    bool want_write = peer_event(p, &c->env);
    if (!was_settled && settled(p))
        c->under_way--;
    if (dialing && p->state != PEER_GONE)
        watch(c, p, EPOLL_CTL_MOD, want_write ? EPOLLOUT : EPOLLIN);
}

static int crowd_loop(struct crowd *c)
{
    struct epoll_event events[EVENTS];
    enum phase phase;
    while ((phase = board_phase(c->env.board)) != PHASE_END) {
        dial_more(c);
        for (unsigned i = 0; phase == PHASE_DRAIN && c->env.hold_acks && i < c->n; i++)
            peer_ack(&c->peers[i], &c->env);
        int n = epoll_wait(c->ep, events, EVENTS, LOOK_MS);
        for (int i = 0; i < n; i++)
            on_event(c, events[i].data.ptr);
    }
    return 0;
}

static enum peer_kind kind_of(const char *protocol)
{
    static const char *const names[] = {"crier", "plain", "sse", "poll", "tls"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(protocol, names[i]) == 0)
            return (enum peer_kind)i;
    return KIND_CRIER;
}

static int parse_ports(struct peer_env *e, const char *text)
{
    while (text && *text) {
        char *end = NULL;
        unsigned long v = strtoul(text, &end, 10);
        if (end == text || v == 0 || v > 65535 || (*end && *end != ',') || e->nports == ARRAY_LEN(e->ports)) {
            fprintf(stderr, "crier-bench: '%s' is no list of ports\n", text);
            return -1;
        }
        e->ports[e->nports++] = (uint16_t)v;
        text = *end ? end + 1 : end;
    }
    return 0;
}

static int crowd_init(struct crowd *c, const struct options *o, struct board *b, unsigned n, unsigned run)
{
    struct peer_env *e = &c->env;
    struct slot *s = &b->slots[n];
    *e = (struct peer_env){.room = o->room, .user_prefix = o->user_prefix, .board = b, .slot = s, .noisy = true};
    e->rooms = o->spread ? 1 : o->rooms;
    e->spread = o->spread ? o->rooms : 0;
    e->hold_acks = strstr(o->url, "ack=explicit") != NULL;
    e->kind = kind_of(o->protocol);
    unsigned every = o->sample ? o->sample : o->rate ? 1 : 16;
    for (e->sample = 1; e->sample < every;)
        e->sample *= 2;
    e->sample--;
    stamp_init(&e->stamp, run);
    if (url_parse(&e->url, o->url))
        return -1;
    bool secure = e->url.scheme == URL_WSS || e->url.scheme == URL_HTTPS;
    if (e->url.scheme > URL_HTTPS || (e->kind == KIND_TLS && !secure)) {
        fprintf(stderr, "crier-bench: --url wants ws://, wss://, http:// or https:// (--protocol tls: wss://)\n");
        return -1;
    }
    if (link_ctx_init(&e->tls, secure, o->tls, o->resume) || parse_ports(e, o->ports))
        return -1;
    c->number = n;
    c->churn = board_get(&b->quota) > 0;
    c->n = (unsigned)s->conns;
    c->flight = o->flight / b->procs ? o->flight / b->procs : 1;
    c->peers = calloc(c->n, sizeof *c->peers);
    e->buf = malloc(PEER_BUF);
    c->ep = epoll_create1(EPOLL_CLOEXEC);
    if (!c->peers || !e->buf || c->ep < 0)
        return -1;
    for (unsigned i = 0; i < c->n; i++)
        c->peers[i] = (struct peer){.index = (unsigned)s->first + i, .link = {.fd = -1}};
    return 0;
}

static void crowd_fini(struct crowd *c)
{
    for (unsigned i = 0; i < c->n && c->peers; i++)
        if (c->peers[i].state != PEER_IDLE && c->peers[i].state != PEER_GONE)
            peer_close(&c->peers[i]);
    free(c->peers);
    free(c->env.buf);
    link_ctx_fini(&c->env.tls);
    if (c->ep >= 0)
        close(c->ep);
}

int crowd_run(const struct options *o, struct board *b, unsigned n, unsigned run)
{
    struct crowd c = {.ep = -1};
    int status = 1;
    if (crowd_init(&c, o, b, n, run) == 0)
        status = crowd_loop(&c);
    else
        fprintf(stderr, "crier-bench: a client process could not start\n");
    crowd_fini(&c);
    return status;
}
