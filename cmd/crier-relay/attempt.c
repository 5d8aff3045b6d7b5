/*
 * attempt.c - the way of one claim.
 *
 *   take -> choose the channel -> payload (webhook) or token (WeCom, WeChat) -> send -> note -> gone
 *                                                    ^----- refused, once -----'
 *
 * An attempt waits for exactly one thing at a time: Redis (`asking`, or the token's), the provider (fetch), the timer
 * that repeats the note (retry), or its token. Whatever goes wrong on the way becomes a verdict, and settle() is where
 * every verdict goes. The note is repeated until Redis has it or the claim is another's, since without it a message
 * that went out would go out again.
 *
 * From the claim to the last answer it takes three timeouts at most, which the lease is longer than (settings_check).
 */
#include "cmd/crier-relay/attempt.h"

#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cmd/crier-relay/fetch.h"
#include "cmd/crier-relay/policy.h"
#include "cmd/crier-relay/relay.h"
#include "cmd/crier-relay/request.h"
#include "cmd/crier-relay/token_want.h"
#include "core/buf.h"
#include "core/clock.h"

enum { RETRY_MS = 250, TIMEOUTS = 3, SHOWN_MAX = 128 };

struct attempt {
    struct list node;
    struct relay *r;
    struct claim claim;
    char *name;          /* what claim's spans lie in */
    uint64_t claimed_ms; /* monotonic */
    /* what the ledger says; new strings */
    struct span policy_text, text, hash, address, payload;
    struct policy policy;
    unsigned at; /* the step that is tried */
    /* the attempt */
    struct token_want want;
    bool refused; /* one token was, already */
    struct buf body;
    struct fetch *fetch;
    struct verdict verdict;
    struct note note;
    struct event *retry;
    bool asking; /* Redis owes an answer */
};

static void settle(struct attempt *t);
static void send_message(struct attempt *t);

/* ---- life ---- */

static void drop(struct span *s)
{
    free((void *)(uintptr_t)s->p);
    *s = span_of(NULL, 0);
}

/* A copy of its own; false when memory is out. */
static bool keep(struct span *to, const redisReply *from)
{
    to->p = (const uint8_t *)span_dup(span_of(from->str, from->len));
    to->n = from->len;
    return to->p != NULL;
}

static void attempt_free(struct attempt *t)
{
    struct relay *r = t->r;
    struct span *const own[] = {&t->policy_text, &t->text, &t->hash, &t->address, &t->payload};
    list_unlink(&t->node);
    r->counters.inflight--;
    token_want_stop(&t->want);
    if (t->fetch)
        fetch_cancel(t->fetch);
    if (t->retry)
        event_free(t->retry);
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        drop(own[i]);
    buf_fini(&t->body);
    free(t->name);
    free(t);
    relay_attempt_ended(r);
}

void attempts_cancel(struct relay *r)
{
    struct list *next;
    for (struct list *n = r->attempts.next; n != &r->attempts; n = next) {
        struct attempt *t = CONTAINER_OF(n, struct attempt, node);
        next = n->next;
        if (!t->asking && !t->want.asking)
            attempt_free(t);
    }
}

/* ---- the note ---- */

static const struct step *step_of(const struct attempt *t)
{
    return &t->policy.step[t->at];
}

static void note(struct attempt *t);

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    note(arg);
}

static void note_later(struct attempt *t)
{
    const struct timeval tv = {0, RETRY_MS * 1000};
    bool late = clock_mono_ms() - t->claimed_ms >= t->r->s->lease_ms;
    if (late || (!t->retry && !(t->retry = evtimer_new(t->r->base, on_retry, t))) || event_add(t->retry, &tv) != 0) {
        log_line(LOG_ERROR, "relay", "user=%.*s id=%.*s outcome %s could not be noted; it may go out again",
                 SPAN_ARG(t->claim.user), SPAN_ARG(t->claim.id), t->note.outcome);
        attempt_free(t);
    }
}

static void on_noted(void *owner, void *arg, const struct redisReply *reply)
{
    struct relay *r = owner;
    struct attempt *t = arg;
    t->asking = false;
    if (r->closing || redis_fault_of(reply) == REDIS_FINE) {
        if (t->note.delay_ms == 0)
            sweep_nudge(&r->sweep, ledger_part(t->claim.user));
        attempt_free(t);
        return;
    }
    relay_bad_reply(r, reply, "noting an outcome");
    note_later(t);
}

static void note(struct attempt *t)
{
    t->asking = ledger_done(t->r->ledger, &t->claim, &t->note, on_noted, t);
    if (!t->asking)
        note_later(t);
}

static void log_attempt(const struct attempt *t)
{
    enum log_level level = t->verdict.outcome == OUTCOME_FAILED ? LOG_WARN : LOG_INFO;
    log_line(level, "relay", "user=%.*s id=%.*s channel=%.*s outcome=%s detail=\"%s\" ms=%" PRIu64,
             SPAN_ARG(t->claim.user), SPAN_ARG(t->claim.id), SPAN_ARG(step_of(t)->name),
             outcome_name(t->verdict.outcome), t->verdict.detail, clock_mono_ms() - t->claimed_ms);
}

/* The verdict is there: what the ledger is to know. */
static void settle(struct attempt *t)
{
    const struct step *step = step_of(t);
    const struct settings *s = t->r->s;
    struct verdict *v = &t->verdict;
    int64_t delay = LEDGER_NO_MORE;
    if (v->outcome == OUTCOME_AGAIN && step->attempts + 1 >= s->attempts)
        v->outcome = OUTCOME_FAILED;
    if (v->outcome == OUTCOME_AGAIN) {
        unsigned wait = backoff_ms(s->backoff_ms, s->backoff_max_ms, step->attempts);
        delay = wait > v->least_ms ? wait : v->least_ms;
    } else if (v->outcome == OUTCOME_FAILED && policy_follows(&t->policy, t->at)) {
        delay = 0;
    }
    if (step->channel < RELAY_CHANNELS)
        t->r->counters.outcome[v->outcome][step->channel]++;
    log_attempt(t);
    t->note = (struct note){step->name, outcome_name(v->outcome), v->detail, delay};
    note(t);
}

static void settle_with(struct attempt *t, enum outcome o, const char *detail)
{
    verdict_set(&t->verdict, o, "%s", detail);
    settle(t);
}

/* ---- sending ---- */

static void on_token(void *arg, const char *token, const struct verdict *v)
{
    struct attempt *t = arg;
    if (t->r->closing) {
        attempt_free(t);
    } else if (token) {
        send_message(t);
    } else {
        t->verdict = *v;
        settle(t);
    }
}

static uint64_t deadline_ms(const struct attempt *t)
{
    return t->claimed_ms + (uint64_t)TIMEOUTS * t->r->s->timeout_ms;
}

static void want_token(struct attempt *t, const char *stale)
{
    uint64_t until = clock_mono_ms() + t->r->s->timeout_ms;
    t->want.r = t->r;
    t->want.channel = step_of(t)->channel;
    t->want.done = on_token;
    t->want.arg = t;
    if (!token_want_start(&t->want, stale, until < deadline_ms(t) ? until : deadline_ms(t)))
        settle_with(t, OUTCOME_AGAIN, "token: the store is away");
}

static void on_answer(void *arg, const struct answer *a)
{
    struct attempt *t = arg;
    unsigned channel = step_of(t)->channel;
    t->fetch = NULL;
    buf_fini(&t->body);
    if (channel_has_token(channel))
        answer_message(a, span_str(t->want.token.text), &t->verdict);
    else
        answer_webhook(a, t->r->s->backoff_max_ms, &t->verdict);
    if (t->verdict.refused && !t->refused) {
        t->refused = true;
        want_token(t, t->want.token.text);
    } else {
        settle(t);
    }
}

static struct errand errand_of(const struct attempt *t)
{
    return (struct errand){.name = t->claim.name,
                           .user = t->claim.user,
                           .id = t->claim.id,
                           .address = t->address,
                           .text = t->text.n ? t->text : span_str(t->r->s->text),
                           .payload = t->payload,
                           .attempt = step_of(t)->attempts + 1,
                           .due_ms = t->policy.due_ms};
}

/* Headers, in `b`, which they are borrowed from. */
static bool hook_headers(const struct attempt *t, const struct errand *e, struct buf *b, struct fetch_request *q)
{
    const char *secret = t->r->s->hook_secret;
    size_t second = 0;
    if (!request_key_header(e, b) || !buf_append_byte(b, '\0'))
        return false;
    second = b->len;
    if (secret && !request_signature_header(span_str(secret), clock_real_us() / 1000000, buf_span(&t->body), b))
        return false;
    q->header[0] = (const char *)b->data;
    q->header[1] = secret ? (const char *)b->data + second : NULL;
    return true;
}

/* Starts the request; false when it does not fit or memory is out. */
static bool start_request(struct attempt *t, unsigned timeout_ms)
{
    unsigned channel = step_of(t)->channel;
    struct relay *r = t->r;
    struct errand e = errand_of(t);
    struct buf url, headers;
    buf_init(&url, URL_MAX_BYTES);
    buf_init(&headers, URL_MAX_BYTES);
    bool hook = !channel_has_token(channel);
    bool good = request_url(r->s, channel, &e, t->want.token.text, &url) && request_body(r->s, channel, &e, &t->body);
    struct fetch_request q = {.url = (const char *)url.data,
                              .body = buf_span(&t->body),
                              .timeout_ms = timeout_ms,
                              .public_only = hook && !r->s->allow_private,
                              .header = {NULL}};
    if (good && (!hook || hook_headers(t, &e, &headers, &q)))
        t->fetch = fetch_start(r->fetcher, &q, on_answer, t);
    buf_fini(&url);
    buf_fini(&headers);
    return t->fetch != NULL;
}

static void send_message(struct attempt *t)
{
    uint64_t now = clock_mono_ms(), end = deadline_ms(t);
    unsigned timeout = t->r->s->timeout_ms;
    if (now >= end) {
        settle_with(t, OUTCOME_AGAIN, "timeout");
        return;
    }
    if (end - now < timeout)
        timeout = (unsigned)(end - now);
    if (!start_request(t, timeout))
        settle_with(t, OUTCOME_AGAIN, "the message does not fit into memory");
}

/* ---- before it ---- */

static void on_payload(void *owner, void *arg, const struct redisReply *reply)
{
    struct relay *r = owner;
    struct attempt *t = arg;
    t->asking = false;
    if (r->closing) {
        attempt_free(t);
    } else if (!reply || reply->type == REDIS_REPLY_ERROR) {
        relay_bad_reply(r, reply, "a message");
        settle_with(t, OUTCOME_AGAIN, "the store is away");
    } else if (reply->type == REDIS_REPLY_STRING && !keep(&t->payload, reply)) {
        settle_with(t, OUTCOME_AGAIN, "the message does not fit into memory");
    } else {
        send_message(t);
    }
}

static void on_forgotten(void *owner, void *arg, const struct redisReply *reply)
{
    (void)owner, (void)reply;
    attempt_free(arg);
}

/* The policy has been read: the channel to try, and what it needs first. */
static void choose(struct attempt *t)
{
    struct relay *r = t->r;
    t->at = policy_next(&t->policy);
    if (t->at == t->policy.n) {
        t->asking = ledger_forget(r->ledger, &t->claim, on_forgotten, t);
        if (!t->asking)
            attempt_free(t);
        return;
    }
    unsigned channel = step_of(t)->channel;
    if (channel == RELAY_CHANNELS || !r->s->has[channel]) {
        settle_with(t, OUTCOME_FAILED, "not configured");
    } else if (!t->address.n) {
        settle_with(t, OUTCOME_FAILED, "no address");
    } else if (!channel_takes(channel, t->address)) {
        settle_with(t, OUTCOME_FAILED, "address not allowed");
    } else if (channel_has_token(channel)) {
        want_token(t, NULL);
    } else {
        t->asking = ledger_payload(r->ledger, &t->claim, t->hash, on_payload, t);
        if (!t->asking)
            settle_with(t, OUTCOME_AGAIN, "the store is away");
    }
}

static bool is_pairs(const redisReply *r)
{
    bool good = r->type == REDIS_REPLY_ARRAY && r->elements % 2 == 0;
    for (size_t i = 0; good && i < r->elements; i++)
        good = r->element[i]->type == REDIS_REPLY_STRING;
    return good;
}

/* {1, policy, text, hash, {r:channel, note...}, {channel, address...}} */
static bool is_taken(const redisReply *r)
{
    return r->elements == 6 && r->element[1]->type == REDIS_REPLY_STRING && r->element[2]->type == REDIS_REPLY_STRING &&
           r->element[3]->type == REDIS_REPLY_STRING && is_pairs(r->element[4]) && is_pairs(r->element[5]);
}

static bool read_taken(struct attempt *t, const redisReply *r)
{
    if (!keep(&t->policy_text, r->element[1]) || !keep(&t->text, r->element[2]) || !keep(&t->hash, r->element[3]) ||
        !policy_parse(&t->policy, t->policy_text))
        return false;
    const redisReply *notes = r->element[4], *addresses = r->element[5];
    for (size_t i = 0; i < notes->elements; i += 2)
        policy_note(&t->policy, span_of(notes->element[i]->str, notes->element[i]->len),
                    span_of(notes->element[i + 1]->str, notes->element[i + 1]->len));
    unsigned next = policy_next(&t->policy);
    for (size_t i = 0; next < t->policy.n && i < addresses->elements; i += 2) {
        struct span channel = span_of(addresses->element[i]->str, addresses->element[i]->len);
        if (!t->address.p && span_eq(channel, t->policy.step[next].name) &&
            !keep(&t->address, addresses->element[i + 1]))
            return false;
    }
    return true;
}

static void on_taken(void *owner, void *arg, const struct redisReply *reply)
{
    struct relay *r = owner;
    struct attempt *t = arg;
    t->asking = false;
    bool good = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
                reply->element[0]->type == REDIS_REPLY_INTEGER;
    if (!r->closing && good && reply->element[0]->integer == 0) {
        r->counters.cancelled++;
        log_line(LOG_DEBUG, "relay", "user=%.*s id=%.*s nothing to do", SPAN_ARG(t->claim.user), SPAN_ARG(t->claim.id));
        attempt_free(t);
    } else if (!r->closing && good && is_taken(reply) && read_taken(t, reply)) {
        choose(t);
    } else {
        if (!r->closing)
            relay_bad_reply(r, reply, "an escalation");
        attempt_free(t);
    }
}

bool attempt_start(struct relay *r, struct span name, uint64_t claim)
{
    struct attempt *t = calloc(1, sizeof(*t));
    if (!t)
        return false;
    t->r = r;
    t->claimed_ms = clock_mono_ms();
    t->name = span_dup(name);
    t->claim = (struct claim){.name = span_of(t->name, name.n), .number = claim};
    bool readable = t->name && claim_name_parse(t->claim.name, &t->claim.user, &t->claim.id);
    if (t->name && !readable)
        log_limited(&r->store_noise, 1, LOG_ERROR, "relay", "%.*s waits, which is no message to a user",
                    (int)(name.n < SHOWN_MAX ? name.n : SHOWN_MAX), (const char *)name.p);
    buf_init(&t->body, REQUEST_MAX_BYTES);
    t->asking = readable && ledger_take(r->ledger, &t->claim, on_taken, t);
    if (!t->asking) {
        free(t->name);
        free(t);
        return false;
    }
    list_push(&r->attempts, &t->node);
    r->counters.inflight++;
    return true;
}
