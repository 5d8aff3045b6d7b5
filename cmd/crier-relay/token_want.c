/*
 * token_want.c - one wish for an access token.
 *
 * Idea: tokens live in Redis, where a lock says who makes the next one (crier_token_get). Whoever gets the lock asks
 * the provider and puts the token there for all; the others go on with the old one while it is good, or ask Redis again
 * every 200 ms. A holder that dies loses the lock when it ends by itself.
 *
 * It waits for exactly one thing at a time: Redis (asking), the provider (fetch) or the timer (again).
 */
#include "cmd/crier-relay/token_want.h"

#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>

#include "cmd/crier-relay/fetch.h"
#include "cmd/crier-relay/relay.h"
#include "cmd/crier-relay/request.h"
#include "core/clock.h"

enum { AGAIN_MS = 200, EARLY_MS = 300000, LOCK_MARGIN_MS = 2000 };

void token_want_stop(struct token_want *w)
{
    if (w->fetch)
        fetch_cancel(w->fetch);
    if (w->again)
        event_free(w->again);
    w->fetch = NULL;
    w->again = NULL;
}

static void give(struct token_want *w, const char *token)
{
    token_want_stop(w);
    w->done(w->arg, token, NULL);
}

static void fail(struct token_want *w, const struct verdict *v)
{
    token_want_stop(w);
    w->done(w->arg, NULL, v);
}

static void fail_with(struct token_want *w, const char *why)
{
    struct verdict v;
    verdict_set(&v, OUTCOME_AGAIN, "token: %s", why);
    fail(w, &v);
}

/* Gives the lock back, with the token or without. When that does not arrive, the lock ends by itself. */
static void put(struct token_want *w, const struct token *t)
{
    struct span text = span_str(t ? t->text : "");
    if (!ledger_token_set(w->r->ledger, relay_channels[w->channel], w->lock, text, t ? t->life_ms : 1, EARLY_MS, NULL,
                          NULL))
        log_limited(&w->r->store_noise, 5, LOG_WARN, "redis", "a token could not be put into Redis");
}

static struct span secret_of(const struct token_want *w)
{
    const struct settings *s = w->r->s;
    return span_str(strcmp(relay_channels[w->channel], "wecom") == 0 ? s->corp_secret : s->app_secret);
}

/* None could be made: the old one may do. */
static void not_made(struct token_want *w, const struct verdict *v)
{
    log_limited(&w->r->token_noise, 5, LOG_ERROR, "relay", "channel=%s no new access token: %s",
                relay_channels[w->channel], v->detail);
    put(w, NULL);
    if (w->token.text[0])
        give(w, w->token.text);
    else
        fail(w, v);
}

static void on_answer(void *arg, const struct answer *a)
{
    struct token_want *w = arg;
    struct verdict v;
    struct token fresh;
    w->fetch = NULL;
    if (!answer_token(a, secret_of(w), &fresh, &v)) {
        not_made(w, &v);
        return;
    }
    w->token = fresh;
    w->r->counters.token_refreshes[w->channel]++;
    log_line(LOG_INFO, "relay", "channel=%s new access token, good for %" PRIu64 " s", relay_channels[w->channel],
             fresh.life_ms / 1000);
    put(w, &fresh);
    give(w, w->token.text);
}

static void make(struct token_want *w)
{
    struct buf url;
    uint64_t now = clock_mono_ms();
    unsigned left = now < w->until_ms ? (unsigned)(w->until_ms - now) : 0;
    buf_init(&url, URL_MAX_BYTES);
    if (left > 0 && request_token_url(w->r->s, w->channel, &url)) {
        struct fetch_request q = {.url = (const char *)url.data,
                                  .timeout_ms = left < w->r->s->timeout_ms ? left : w->r->s->timeout_ms};
        w->fetch = fetch_start(w->r->fetcher, &q, on_answer, w);
    }
    buf_fini(&url);
    if (!w->fetch) {
        struct verdict v;
        verdict_set(&v, OUTCOME_AGAIN, "token: %s", left ? "memory is out" : "timeout");
        not_made(w, &v);
    }
}

static bool ask(struct token_want *w);

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    struct token_want *w = arg;
    (void)fd, (void)what;
    if (!ask(w))
        fail_with(w, "the store is away");
}

static void wait_for_other(struct token_want *w)
{
    const struct timeval tv = {0, AGAIN_MS * 1000};
    if (clock_mono_ms() + AGAIN_MS >= w->until_ms)
        fail_with(w, "another worker makes one, and it takes too long");
    else if ((!w->again && !(w->again = evtimer_new(w->r->base, on_again, w))) || event_add(w->again, &tv) != 0)
        fail_with(w, "memory is out");
}

/* {code, token}: the token into w->token. */
static void keep_token(struct token_want *w, const redisReply *reply)
{
    const redisReply *t = reply->elements > 1 ? reply->element[1] : NULL;
    bool fits = t && t->type == REDIS_REPLY_STRING && t->len <= TOKEN_MAX_BYTES;
    size_t n = fits ? t->len : 0;
    if (n)
        memcpy(w->token.text, t->str, n);
    w->token.text[n] = '\0';
}

static void on_token(void *owner, void *arg, const struct redisReply *reply)
{
    struct token_want *w = arg;
    (void)owner;
    w->asking = false;
    if (w->r->closing) {
        fail_with(w, "stopping");
        return;
    }
    bool good = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
                reply->element[0]->type == REDIS_REPLY_INTEGER;
    if (!good) {
        relay_bad_reply(w->r, reply, "an access token");
        fail_with(w, "the store is away");
        return;
    }
    keep_token(w, reply);
    long long code = reply->element[0]->integer;
    if (code == 1 && w->token.text[0])
        give(w, w->token.text);
    else if (code == 2)
        make(w);
    else
        wait_for_other(w);
}

static bool ask(struct token_want *w)
{
    w->asking = ledger_token_get(w->r->ledger, relay_channels[w->channel], w->lock,
                                 w->r->s->timeout_ms + LOCK_MARGIN_MS, w->stale, on_token, w);
    return w->asking;
}

bool token_want_start(struct token_want *w, const char *stale, uint64_t until_ms)
{
    size_t n = stale ? strlen(stale) : 0;
    assert(n <= TOKEN_MAX_BYTES);
    if (n)
        memmove(w->stale_text, stale, n + 1); /* it may be w->token's */
    w->stale = span_of(w->stale_text, n);
    w->until_ms = until_ms;
    w->token.text[0] = '\0';
    snprintf(w->lock, sizeof(w->lock), "%s.%" PRIu64, w->r->worker, ++w->r->locks);
    return ask(w);
}
