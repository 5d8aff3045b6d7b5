/*
 * relay.h - one worker: what its parts (sweep.c, attempt.c, token_want.c) share. One thread, one event loop.
 */
#ifndef CMD_CRIER_RELAY_RELAY_H
#define CMD_CRIER_RELAY_RELAY_H

#include "cmd/crier-relay/counters.h"
#include "cmd/crier-relay/ledger.h"
#include "cmd/crier-relay/settings.h"
#include "cmd/crier-relay/sweep.h"
#include "core/list.h"
#include "core/log.h"
#include "store/redis_url.h"

struct event;
struct event_base;
struct fetcher;
struct metrics_http;

struct relay {
    const struct settings *s;
    struct event_base *base;
    char worker[96];
    struct worker_info info;
    char host[65];
    struct redis_url url;
    struct ledger *ledger;
    struct fetcher *fetcher;
    struct metrics_http *metrics_http; /* NULL: off */
    struct event *poll, *beat, *stop_timer;
    struct sweep sweep;
    struct list attempts;
    struct counters counters;
    uint64_t locks; /* names for holders of a token's lock: each is another */
    bool ready;     /* said so */
    bool has_library;
    bool stopping; /* claims nothing any more */
    bool closing;  /* being freed: callbacks tidy up and start nothing */
    struct log_limit library_noise, token_noise, store_noise;
};

/* New; false with a sentence in err. s is borrowed. */
bool relay_start(struct relay *r, const struct settings *s, struct event_base *base, char *err,
                 size_t errlen) MUST_CHECK;
/* Not from the loop. */
void relay_free(struct relay *r);

/* Finishes what is under way, for one timeout and a second at most, and then ends the loop. The second call ends it at
 * once. */
void relay_stop(struct relay *r);
/* How many more claims there is room for. */
unsigned relay_room(const struct relay *r);
/* An attempt has ended, or a claim brought none: room for another, or the end. */
void relay_attempt_ended(struct relay *r);
/* A reply that is no good: logs why, and remembers that the library is away where it is. */
void relay_bad_reply(struct relay *r, const struct redisReply *reply, const char *what);

#endif
