/*
 * relay.c - one worker's life: Redis comes and goes, rounds are due, the worker says that it lives, and it ends.
 *
 * Idea: all that must survive a worker is in Redis. A worker claims what is due (sweep.c), makes one attempt with each
 * claim (attempt.c) and notes what came of it; one that dies leaves claims whose lease ends. So a stop only has to wait
 * for the attempts under way.
 *
 * The function library is loaded by brokers. While it is not there, or older than this program needs, nothing is
 * claimed, and each round asks for it.
 */
#include "cmd/crier-relay/relay.h"

#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "cmd/crier-relay/attempt.h"
#include "cmd/crier-relay/fetch.h"
#include "cmd/crier-relay/metrics_http.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/hash.h"

enum { BEAT_MS = 5000, BEAT_LIFE_MS = 15000, STOP_MARGIN_MS = 1000, STATUS_MAX = 1024 };

static bool arm(struct event *e, unsigned ms)
{
    struct timeval tv = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};
    return event_add(e, &tv) == 0;
}

/* ---- rounds ---- */

static void on_version(void *owner, void *arg, const struct redisReply *reply)
{
    struct relay *r = owner;
    (void)arg;
    if (r->closing)
        return;
    if (redis_fault_of(reply) != REDIS_FINE || reply->type != REDIS_REPLY_INTEGER) {
        relay_bad_reply(r, reply, "the version of the function library");
        return;
    }
    r->has_library = reply->integer >= LEDGER_VERSION;
    if (r->has_library)
        sweep_tick(&r->sweep);
    else
        log_limited(&r->library_noise, 1, LOG_WARN, "redis",
                    "the function library in Redis is version %lld, %d is needed: waiting for a newer broker",
                    reply->integer, LEDGER_VERSION);
}

static void on_poll(evutil_socket_t fd, short what, void *arg)
{
    struct relay *r = arg;
    (void)fd, (void)what;
    if (!ledger_is_up(r->ledger) || r->stopping)
        return;
    if (r->has_library)
        sweep_tick(&r->sweep);
    else if (!ledger_version(r->ledger, on_version, NULL))
        log_limited(&r->store_noise, 1, LOG_WARN, "redis", "too many commands wait");
}

void relay_bad_reply(struct relay *r, const struct redisReply *reply, const char *what)
{
    switch (redis_fault_of(reply)) {
    case REDIS_NO_FUNCTION:
        r->has_library = false;
        log_limited(&r->library_noise, 1, LOG_WARN, "redis",
                    "the function library is not in Redis: waiting for a broker to load it");
        return;
    case REDIS_GONE: /* the connection says so itself */
        return;
    case REDIS_FINE:
        log_limited(&r->store_noise, 5, LOG_ERROR, "redis", "asked for %s: the reply is of no form we know", what);
        return;
    case REDIS_UNAVAILABLE:
    case REDIS_OUT_OF_MEMORY:
    case REDIS_REJECTED:
        log_limited(&r->store_noise, 5, LOG_ERROR, "redis", "asked for %s: %s", what, redis_error_text(reply));
        return;
    }
}

unsigned relay_room(const struct relay *r)
{
    uint64_t taken = r->counters.inflight + r->sweep.reserved;
    return taken < r->s->parallel ? r->s->parallel - (unsigned)taken : 0;
}

/* ---- the worker's line ---- */

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    struct relay *r = arg;
    struct buf b;
    (void)fd, (void)what;
    if (!ledger_is_up(r->ledger))
        return;
    buf_init(&b, STATUS_MAX);
    if (!counters_status(&r->counters, &r->info, &b) || !ledger_beat(r->ledger, buf_span(&b), BEAT_LIFE_MS))
        log_limited(&r->store_noise, 1, LOG_WARN, "redis", "the worker's own line could not be written");
    buf_fini(&b);
}

/* ---- Redis ---- */

static void on_up(void *arg)
{
    struct relay *r = arg;
    char at[80] = "";
    if (!r->ready) {
        if (r->metrics_http)
            metrics_http_address(r->metrics_http, at, sizeof(at));
        printf("crier-relay ready worker=%s%s%s\n", r->worker, at[0] ? " metrics=" : "", at);
        fflush(stdout);
    }
    r->ready = true;
    log_line(LOG_INFO, "redis", "connected");
    event_active(r->poll, EV_TIMEOUT, 0);
    event_active(r->beat, EV_TIMEOUT, 0);
}

static void on_down(void *arg, const char *why)
{
    struct relay *r = arg;
    (void)why; /* in the log already */
    r->has_library = false;
}

/* ---- the end ---- */

static void end_loop(struct relay *r)
{
    event_base_loopbreak(r->base);
}

static void on_left(void *owner, void *arg, const struct redisReply *reply)
{
    struct relay *r = owner;
    (void)arg, (void)reply;
    if (!r->closing)
        end_loop(r);
}

static void on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
    struct relay *r = arg;
    (void)fd, (void)what;
    log_line(LOG_WARN, "main", "stopping with %" PRIu64 " attempts under way", r->counters.inflight);
    end_loop(r);
}

void relay_attempt_ended(struct relay *r)
{
    if (r->closing)
        return;
    if (!r->stopping)
        sweep_more(&r->sweep);
    else if (r->counters.inflight + r->sweep.reserved == 0 && !ledger_leave(r->ledger, on_left, NULL))
        end_loop(r);
}

void relay_stop(struct relay *r)
{
    if (r->stopping) {
        end_loop(r);
        return;
    }
    r->stopping = true;
    log_line(LOG_INFO, "main", "stopping: %" PRIu64 " attempts under way", r->counters.inflight);
    event_del(r->poll);
    event_del(r->beat);
    if (!arm(r->stop_timer, r->s->timeout_ms + STOP_MARGIN_MS))
        end_loop(r);
    relay_attempt_ended(r);
}

/* ---- start ---- */

static void name_worker(struct relay *r)
{
    char incarnation[7];
    uint64_t now_ms = clock_real_us() / 1000;
    if (gethostname(r->host, sizeof(r->host) - 1) != 0 || !r->host[0])
        snprintf(r->host, sizeof(r->host), "relay");
    random_hex(incarnation, 3);
    snprintf(r->worker, sizeof(r->worker), "%s.%08x%s", r->host, (unsigned)(now_ms / 1000), incarnation);
    r->info = (struct worker_info){.host = r->host, .pid = (long)getpid(), .started_ms = now_ms};
}

static bool make_parts(struct relay *r)
{
    struct ledger_cfg cfg = {.base = r->base,
                             .url = &r->url,
                             .prefix = r->s->prefix,
                             .worker = r->worker,
                             .arg = r,
                             .up = on_up,
                             .down = on_down};
    r->poll = event_new(r->base, -1, EV_PERSIST, on_poll, r);
    r->beat = event_new(r->base, -1, EV_PERSIST, on_beat, r);
    r->stop_timer = evtimer_new(r->base, on_stop_timer, r);
    r->fetcher = fetcher_new(r->base);
    r->ledger = ledger_new(&cfg);
    return r->poll && r->beat && r->stop_timer && r->fetcher && r->ledger && arm(r->poll, r->s->poll_ms) &&
           arm(r->beat, BEAT_MS);
}

bool relay_start(struct relay *r, const struct settings *s, struct event_base *base, char *err, size_t errlen)
{
    *r = (struct relay){.s = s, .base = base};
    list_init(&r->attempts);
    sweep_init(&r->sweep, r);
    name_worker(r);
    if (!redis_url_parse(s->redis, &r->url, err, errlen))
        return false;
    bool good = !s->metrics_listen ||
                (r->metrics_http = metrics_http_new(base, s->metrics_listen, &r->counters, err, errlen)) != NULL;
    if (good && !make_parts(r)) {
        snprintf(err, errlen, "out of memory");
        good = false;
    }
    if (!good)
        relay_free(r);
    return good;
}

static void free_event(struct event *e)
{
    if (e)
        event_free(e);
}

/* Attempts that wait for Redis end with its connection; the others before it. */
void relay_free(struct relay *r)
{
    r->closing = true;
    attempts_cancel(r);
    ledger_free(r->ledger);
    assert(list_empty(&r->attempts));
    fetcher_free(r->fetcher);
    metrics_http_free(r->metrics_http);
    free_event(r->poll);
    free_event(r->beat);
    free_event(r->stop_timer);
    redis_url_fini(&r->url);
}
