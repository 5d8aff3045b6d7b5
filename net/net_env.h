/*
 * net_env.h - what every shard is given at start: built by cmd/crier, shared by reference, immutable (but for the
 * atomics).
 */
#ifndef NET_NET_ENV_H
#define NET_NET_ENV_H

#include <stdatomic.h>

#include "core/base.h"

struct addr_table;
struct auth;
struct config;
struct inbox;
struct metrics;
struct tls;

/* A file served by GET, embedded in the binary. */
struct net_asset {
    const char *path; /* "/console/", "/console/console.js" */
    const char *type; /* Content-Type */
    const char *etag; /* with its double quotes; NULL: none */
    const unsigned char *bytes;
    size_t len;
};

struct net_env {
    const struct config *cfg;
    const char *node; /* with incarnation */
    const char *version;
    unsigned nshards;
    /* In every inbox: lane i < nshards is shard i's, lane nshards the dispatcher's, lane nshards + 1 main's. */
    struct inbox *dispatcher;
    struct inbox *const *shards;
    struct inbox *main;
    struct metrics *const *metrics; /* [nmetrics]: all blocks, for /metrics */
    unsigned nmetrics;
    const uint64_t *owner_key; /* owner(user) = siphash13(owner_key, user) % nshards */
    struct tls *tls;           /* what shards begin with; NULL: no TLS listener */
    struct addr_table *addrs;  /* NULL: no limit of connections an address */
    const struct auth *auth;   /* JWT and API keys, origins (net/auth.h) */
    const struct net_asset *assets;
    size_t nassets;
    _Atomic bool *ready; /* /readyz; the dispatcher writes it */
    uint64_t started_us; /* clock_real_us() */
};

static inline unsigned net_lane_dispatcher(const struct net_env *e)
{
    return e->nshards;
}
static inline unsigned net_lane_main(const struct net_env *e)
{
    return e->nshards + 1;
}

#endif
