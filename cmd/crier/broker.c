/*
 * broker.c - puts net and store together: inboxes, metrics, listeners, the dispatcher, the shards.
 *
 * Runs on the main thread. Everything shared is built here before the first thread exists and freed after the last one
 * was joined, so no thread sees it change. Threads are started dispatcher first and ended shards first: what shards
 * give away last (acks, detaches) still finds a dispatcher that reads.
 *
 * Lanes of every inbox: shard i writes to lane i, the dispatcher to lane nshards, main to lane nshards + 1.
 */
#include "cmd/crier/broker.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/crier/console_assets.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/inbox.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/msg.h"
#include "net/addr_table.h"
#include "net/auth.h"
#include "net/net_env.h"
#include "net/shard.h"
#include "net/tls_ctx.h"
#include "store/dispatcher.h"

#define MAX_SHARDS     64
#define MAX_LISTENERS  (4 * CONFIG_MAX_LIST)
#define LANE_ITEMS     4096
#define LANE_ITEMS_BIG 1024 /* with more than MANY shards: lanes grow with their square */
#define MANY_SHARDS    8
#define BOUND_BYTES    80
#define TRIM_DELAY_MS  2000         /* a trim stops every core for the pages it gives back */
#define EXPIRES_SOON_S (14 * 86400) /* certificates are renewed a month before their end as a rule */

struct broker {
    const struct config *cfg;
    const char *node;
    unsigned nshards;

    struct inbox *in_main, *in_dispatcher, *in_shards[MAX_SHARDS];
    struct metrics *metrics[MAX_SHARDS + 1]; /* the dispatcher's last */
    struct auth *auth;
    struct addr_table *addrs; /* NULL: addresses are not counted */
    struct tls *tls;          /* NULL: no TLS listener */
    struct net_asset *assets;
    size_t nassets;
    uint64_t owner_key[2];
    _Atomic bool ready;

    unsigned nlisteners;
    struct listen_socket socks[MAX_SHARDS][MAX_LISTENERS];
    char bound[MAX_LISTENERS][BOUND_BYTES];
    char address[MAX_LISTENERS * (BOUND_BYTES + 1)]; /* all of them, for the other nodes */
    bool sockets_given[MAX_SHARDS];                  /* they are the shard's now */

    struct net_env net_env;
    struct dispatcher_env dispatcher_env;
    struct dispatcher *dispatcher;
    struct shard *shards[MAX_SHARDS];

    bool store_known;
    unsigned nstopped;
    uint64_t trim_at_ms; /* clients have left: when the heap is to be trimmed; 0: nothing to trim */
};

void broker_node_name(const struct config *cfg, char *out, size_t len)
{
    char host[65] = "";
    char incarnation[9];
    uint32_t now = (uint32_t)(clock_real_us() / 1000000);

    if (!cfg->node && (gethostname(host, sizeof(host) - 1) != 0 || !host[0]))
        snprintf(host, sizeof(host), "crier");
    random_hex(incarnation, 3);
    snprintf(out, len, "%s.%08x%s", cfg->node ? cfg->node : host, now, incarnation);
}

/* ---- what threads share ---- */

static bool make_inboxes(struct broker *b)
{
    unsigned n = b->nshards, lanes = n + 2;
    unsigned items = n > MANY_SHARDS ? LANE_ITEMS_BIG : LANE_ITEMS;
    struct inbox *producers[MAX_SHARDS + 2];
    bool ok = (b->in_main = inbox_new(lanes, 256)) && (b->in_dispatcher = inbox_new(lanes, items));

    for (unsigned i = 0; ok && i < n; i++)
        ok = (b->in_shards[i] = inbox_new(lanes, items)) != NULL;
    if (!ok)
        return false;
    for (unsigned i = 0; i < n; i++)
        producers[i] = b->in_shards[i];
    producers[n] = b->in_dispatcher;
    producers[n + 1] = b->in_main;
    for (unsigned lane = 0; lane < lanes; lane++) {
        for (unsigned i = 0; i < lanes; i++)
            inbox_set_wake(producers[i], lane, producers[lane]);
    }
    return true;
}

static bool make_metrics(struct broker *b)
{
    for (unsigned i = 0; i <= b->nshards; i++) {
        char name[16];
        b->metrics[i] = aligned_alloc(_Alignof(struct metrics), sizeof(struct metrics));
        if (!b->metrics[i])
            return false;
        if (i < b->nshards)
            snprintf(name, sizeof(name), "shard-%u", i % MAX_SHARDS);
        else
            snprintf(name, sizeof(name), "dispatcher");
        metrics_init(b->metrics[i], name);
    }
    return true;
}

static bool wants_tls(const struct config *cfg)
{
    return cfg->tls_listen.n + cfg->tcp_tls_listen.n > 0;
}

static void say_expiry(const struct broker *b)
{
    char when[40];
    int64_t left = tls_expiry(b->tls, when, sizeof(when));
    const char *what = left < 0 ? "was good until" : left < EXPIRES_SOON_S ? "is good only until" : "is good until";

    log_line(left < EXPIRES_SOON_S ? LOG_WARN : LOG_INFO, "tls", "the certificate %s %s %s", b->cfg->tls_cert, what,
             when);
}

static struct tls *load_tls(const struct config *cfg, unsigned nshards, char *err, size_t errlen)
{
    struct tls *t = tls_new(nshards);

    if (!t)
        snprintf(err, errlen, "out of memory for TLS");
    else if (tls_load(t, cfg->tls_cert, cfg->tls_key, err, errlen))
        return t;
    tls_free(t);
    return NULL;
}

static bool make_shared(struct broker *b, char *err, size_t errlen)
{
    random_bytes(b->owner_key, sizeof(b->owner_key));
    if (!make_inboxes(b) || !make_metrics(b) || !(b->assets = console_assets_new(&b->nassets))) {
        snprintf(err, errlen, "out of memory or file descriptors for %u shards", b->nshards);
        return false;
    }
    if (b->cfg->max_addr_conns && !(b->addrs = addr_table_new(b->cfg->max_addr_conns))) {
        snprintf(err, errlen, "out of memory for the table of addresses");
        return false;
    }
    if (!(b->auth = auth_new(b->cfg, err, errlen)))
        return false;
    if (!wants_tls(b->cfg))
        return true;
    if (!(b->tls = load_tls(b->cfg, b->nshards, err, errlen)))
        return false;
    say_expiry(b);
    return true;
}

static bool is_public(const char *spec)
{
    const char *comma = strchr(spec, ',');

    return comma && strcmp(comma, ",public") == 0;
}

static bool bind_one(struct broker *b, const char *spec, bool tls, bool raw, char *err, size_t errlen)
{
    int fds[MAX_SHARDS];
    unsigned k = b->nlisteners;

    if (!listener_bind(spec, b->nshards, fds, b->bound[k], sizeof(b->bound[k]), err, errlen))
        return false;
    for (unsigned i = 0; i < b->nshards; i++)
        b->socks[i][k] = (struct listen_socket){.fd = fds[i], .tls = tls, .public = is_public(spec), .raw = raw};
    b->nlisteners++;
    return true;
}

static bool bind_list(struct broker *b, const struct strlist *l, bool tls, bool raw, char *err, size_t errlen)
{
    for (unsigned i = 0; i < l->n; i++) {
        if (!bind_one(b, l->v[i], tls, raw, err, errlen))
            return false;
    }
    return true;
}

static bool bind_listeners(struct broker *b, char *err, size_t errlen)
{
    const struct config *cfg = b->cfg;

    return bind_list(b, &cfg->listen, false, false, err, errlen) &&
           bind_list(b, &cfg->tls_listen, true, false, err, errlen) &&
           bind_list(b, &cfg->tcp_listen, false, true, err, errlen) &&
           bind_list(b, &cfg->tcp_tls_listen, true, true, err, errlen);
}

/* ---- threads ---- */

/* "ADDR:PORT,ADDR:PORT": one word. */
static void write_address(struct broker *b)
{
    size_t at = 0;

    for (unsigned k = 0; k < b->nlisteners; k++)
        at += (size_t)snprintf(b->address + at, sizeof(b->address) - at, "%s%s", k ? "," : "", b->bound[k]);
}

static void fill_envs(struct broker *b)
{
    write_address(b);
    b->net_env = (struct net_env){
        .cfg = b->cfg,
        .node = b->node,
        .version = CRIER_VERSION,
        .nshards = b->nshards,
        .dispatcher = b->in_dispatcher,
        .shards = b->in_shards,
        .main = b->in_main,
        .metrics = b->metrics,
        .nmetrics = b->nshards + 1,
        .owner_key = b->owner_key,
        .tls = b->tls,
        .addrs = b->addrs,
        .auth = b->auth,
        .assets = b->assets,
        .nassets = b->nassets,
        .ready = &b->ready,
        .started_us = clock_real_us(),
    };
    b->dispatcher_env = (struct dispatcher_env){
        .cfg = b->cfg,
        .node = b->node,
        .nshards = b->nshards,
        .inbox = b->in_dispatcher,
        .shards = b->in_shards,
        .main = b->in_main,
        .metrics = b->metrics[b->nshards],
        .address = b->address,
        .started_ms = b->net_env.started_us / 1000,
        .all = b->metrics,
        .nall = b->nshards + 1,
        .owner_key = b->owner_key,
        .ready = &b->ready,
    };
}

static bool start_threads(struct broker *b, char *err, size_t errlen)
{
    b->dispatcher = dispatcher_start(&b->dispatcher_env, err, errlen);
    for (unsigned i = 0; b->dispatcher && i < b->nshards; i++) {
        b->sockets_given[i] = true;
        b->shards[i] =
            shard_start(&b->net_env, i, b->in_shards[i], b->metrics[i], b->socks[i], b->nlisteners, err, errlen);
        if (!b->shards[i])
            return false;
    }
    return b->dispatcher != NULL;
}

static unsigned shard_count(const struct config *cfg)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = cfg->shards ? cfg->shards : cores > 0 ? (unsigned)cores : 1;

    return n > MAX_SHARDS ? MAX_SHARDS : n;
}

struct broker *broker_start(const struct config *cfg, const char *node, char *err, size_t errlen)
{
    struct broker *b = calloc(1, sizeof(*b));

    if (!b) {
        snprintf(err, errlen, "out of memory");
        return NULL;
    }
    b->cfg = cfg;
    b->node = node;
    b->nshards = shard_count(cfg);
    atomic_init(&b->ready, false);
    if (make_shared(b, err, errlen) && bind_listeners(b, err, errlen)) {
        fill_envs(b);
        if (start_threads(b, err, errlen))
            return b;
    }
    broker_free(b);
    return NULL;
}

bool broker_check(const struct config *cfg, char *err, size_t errlen)
{
    struct auth *auth = auth_new(cfg, err, errlen);
    struct tls *tls = NULL;
    bool ok = auth && (!wants_tls(cfg) || (tls = load_tls(cfg, 1, err, errlen)));

    auth_free(auth);
    tls_free(tls);
    return ok;
}

/* ---- while it runs ---- */

int broker_fd(const struct broker *b)
{
    return inbox_fd(b->in_main);
}

static void take(void *arg, struct item it)
{
    struct broker *b = arg;

    switch ((enum msg_kind)it.kind) {
    case MSG_STORE_STATE:
        b->store_known = true;
        break;
    case MSG_STOPPED:
        b->nstopped++;
        break;
    case MSG_FREED:
        if (!b->trim_at_ms)
            b->trim_at_ms = clock_mono_ms() + TRIM_DELAY_MS;
        break;
    case MSG_JOB:
    case MSG_BEHIND:
    case MSG_ROOM_BEHIND:
    case MSG_PRESENCE:
    case MSG_OP:
    case MSG_CENSUS:
    case MSG_NODE:
    case MSG_CALL:
    case MSG_MOVE:
    case MSG_CERTIFICATE:
    case MSG_STOP:
        msg_drop(NULL, it);
        break;
    }
}

void broker_read(struct broker *b)
{
    (void)inbox_drain(b->in_main, 256, take, b);
}

uint64_t broker_due_ms(const struct broker *b)
{
    return b->trim_at_ms;
}

void broker_tend(struct broker *b)
{
    if (!b->trim_at_ms || clock_mono_ms() < b->trim_at_ms)
        return;
    heap_trim();
    b->trim_at_ms = 0;
}

/* Main's lanes carry a handful of messages in a broker's life: they are never full. */
static bool post(const struct broker *b, struct inbox *to, struct item it)
{
    if (inbox_push(to, b->nshards + 1, it))
        return true;
    log_line(LOG_ERROR, "main", "a thread's lane is full of messages that only main writes");
    return false;
}

void broker_renew(struct broker *b)
{
    char err[512];

    if (!b->tls) {
        log_line(LOG_INFO, "tls", "SIGHUP: there is no certificate to read again; all options are read at start alone");
        return;
    }
    if (!tls_load(b->tls, b->cfg->tls_cert, b->cfg->tls_key, err, sizeof(err))) {
        log_line(LOG_ERROR, "tls", "SIGHUP: %s; the certificate of before stays in use", err);
        return;
    }
    for (unsigned i = 0; i < b->nshards; i++) {
        struct ssl_ctx_st *ctx = tls_ctx_of(b->tls, i);
        if (!post(b, b->in_shards[i], (struct item){.kind = MSG_CERTIFICATE, .ptr = ctx}))
            tls_ctx_free(ctx);
    }
    say_expiry(b);
}

bool broker_store_known(const struct broker *b)
{
    return b->store_known;
}

/* "ADDR:PORT,ADDR:PORT", or "-". */
static void print_bound(const struct broker *b, bool tls, bool raw)
{
    unsigned n = 0;

    for (unsigned k = 0; k < b->nlisteners; k++) {
        if (b->socks[0][k].tls == tls && b->socks[0][k].raw == raw)
            printf("%s%s", n++ ? "," : "", b->bound[k]);
    }
    if (n == 0)
        printf("-");
}

void broker_print_ready(const struct broker *b)
{
    printf("crier ready node=%s plain=", b->node);
    print_bound(b, false, false);
    printf(" tls=");
    print_bound(b, true, false);
    printf(" store=%s shards=%u", b->cfg->redis ? "redis" : "memory", b->nshards);
    if (b->cfg->tcp_listen.n) {
        printf(" tcp=");
        print_bound(b, false, true);
    }
    if (b->cfg->tcp_tls_listen.n) {
        printf(" tcp-tls=");
        print_bound(b, true, true);
    }
    printf("\n");
    (void)fflush(stdout);
}

/* ---- the end ---- */

static void post_stop(const struct broker *b, struct inbox *to, enum stop_phase phase)
{
    (void)post(b, to, (struct item){.kind = MSG_STOP, .arg = (uint32_t)phase});
}

void broker_drain(struct broker *b)
{
    atomic_store_explicit(&b->ready, false, memory_order_release);
    post_stop(b, b->in_dispatcher, STOP_DRAIN);
    for (unsigned i = 0; i < b->nshards; i++)
        post_stop(b, b->in_shards[i], STOP_DRAIN);
}

bool broker_drained(const struct broker *b)
{
    return b->nstopped >= b->nshards;
}

static void stop_threads(struct broker *b)
{
    for (unsigned i = 0; i < b->nshards; i++) {
        if (b->shards[i])
            post_stop(b, b->in_shards[i], STOP_NOW);
    }
    for (unsigned i = 0; i < b->nshards; i++) {
        if (b->shards[i])
            shard_join(b->shards[i]);
    }
    for (unsigned i = 0; i < b->nshards; i++) {
        if (b->shards[i])
            shard_free(b->shards[i]);
    }
    if (b->dispatcher) {
        post_stop(b, b->in_dispatcher, STOP_NOW);
        dispatcher_join(b->dispatcher);
    }
}

static void free_inbox(struct inbox *in)
{
    if (in)
        inbox_free(in, msg_drop, NULL);
}

void broker_free(struct broker *b)
{
    stop_threads(b);
    for (unsigned i = 0; i < b->nshards; i++) {
        for (unsigned k = 0; k < b->nlisteners && !b->sockets_given[i]; k++)
            close(b->socks[i][k].fd);
        free_inbox(b->in_shards[i]);
    }
    free_inbox(b->in_dispatcher);
    free_inbox(b->in_main);
    for (unsigned i = 0; i <= b->nshards; i++)
        free(b->metrics[i]);
    console_assets_free(b->assets, b->nassets);
    auth_free(b->auth);
    addr_table_free(b->addrs);
    tls_free(b->tls);
    free(b);
}
