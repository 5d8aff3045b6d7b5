/*
 * redis_sub.h - the subscription connection: which channels are wanted, which are confirmed, and what arrives on them.
 * Dispatcher thread. What is wanted survives the connection: after a loss everything is subscribed again.
 */
#ifndef STORE_REDIS_SUB_H
#define STORE_REDIS_SUB_H

#include "core/base.h"

struct event_base;
struct metrics;
struct redis_sub;
struct redis_url;

#define REDIS_SUB_AHEAD 16

struct redis_sub_cfg {
    struct event_base *base;
    const struct redis_url *url; /* borrowed */
    struct metrics *metrics;
    unsigned timeout_ms;
    size_t max_payload; /* a longer message drops the connection */
    void *arg;
    /* Messages on these channels (at most REDIS_SUB_AHEAD) follow at once: what they need may be asked for. */
    void (*coming)(void *arg, const struct span *channels, unsigned n);
    /* Both spans are borrowed until return. by_pattern: a pattern brought it; a channel that is wanted by its name too
     * brings it again. */
    void (*message)(void *arg, struct span channel, struct span payload, bool by_pattern);
    /* The channel delivers from here on (again, after a loss). */
    void (*confirmed)(void *arg, struct span channel);
    void (*down)(void *arg, const char *why);
};

struct redis_sub *redis_sub_new(const struct redis_sub_cfg *cfg) MUST_CHECK;
void redis_sub_free(struct redis_sub *s);

/* Wants a channel (or pattern) from now on; fine if it is wanted already. False: memory is out. */
bool redis_sub_add(struct redis_sub *s, struct span channel, bool pattern) MUST_CHECK;
/* Wants patterns, all asked for by one command: what they bring begins at the same message. */
bool redis_sub_add_patterns(struct redis_sub *s, const struct span *patterns, unsigned n) MUST_CHECK;
void redis_sub_remove(struct redis_sub *s, struct span channel);
bool redis_sub_confirmed(const struct redis_sub *s, struct span channel);
/* Gives the connection up (it seems deaf) and makes a new one. */
void redis_sub_restart(struct redis_sub *s, const char *why);
void redis_sub_praise(struct redis_sub *s);

#endif
