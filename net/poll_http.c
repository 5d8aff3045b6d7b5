/*
 * poll_http.c - GET /poll: the asking side of a poll, on the shard of the request.
 *
 * The connection does not move: proxies share it among users. The question goes to the owner as a call and its answer
 * comes back as one; how long to wait is this side's business. When the time is over, or the client has gone, the owner
 * is told so by a second call, which is made at the start so that it cannot fail then.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/config.h"
#include "net/admit.h"
#include "net/auth.h"
#include "net/call.h"
#include "net/http.h"
#include "net/limits.h"
#include "net/poll.h"
#include "net/shard.h"
#include "proto/room_rules.h"
#include "proto/sse_id.h"

#define DEVICE "poll" /* of clients that name none: they are all the same one */

static const char no_store[] = "Cache-Control: no-store\r\n";

/* Tells the owner something about the poll that waits; once. arg is the call for it, or NULL when it was used. */
struct word {
    struct call *call;
};

static void tell(struct conn *c, struct word *w, enum call_kind kind)
{
    if (!w->call)
        return;
    w->call->kind = kind;
    call_send(c->shard, w->call);
    w->call = NULL;
}

static void word_free(struct word *w)
{
    call_free(w->call);
    free(w);
}

static void done(struct conn *c, void *arg, struct call *call)
{
    char headers[96];
    int n = snprintf(headers, sizeof headers, "%s", no_store);
    if (call->retry_after_s && n > 0)
        snprintf(headers + n, sizeof headers - (size_t)n, "Retry-After: %u\r\n", call->retry_after_s);
    word_free(arg);
    http_answer(c, call->status, "application/json", span_of(call->body, call->body_len), headers);
    call_free(call);
}

static void late(struct conn *c, void *arg)
{
    tell(c, arg, CALL_HURRY);
}

static void left(struct conn *c, void *arg)
{
    tell(c, arg, CALL_FORGET);
    word_free(arg);
}

static const struct http_waiter waiter = {.done = done, .late = late, .left = left};

/* ---- the request ---- */

static bool refuse(struct conn *c, const char *why)
{
    admit_refuse(c, M_HANDSHAKE_HTTP_FAILED, 400, "bad_request", why);
    return false;
}

/* A number from least to most; *value stays when it is not there. */
static bool read_number(const struct http_head *h, const char *name, unsigned least, unsigned most, unsigned *value)
{
    char v[8];
    uint64_t u = 0;
    int n = http_query(h->query, name, v, sizeof v);
    if (n == -1)
        return true;
    if (n < 0 || !sse_id_seq(span_of(v, (size_t)n), &u) || u < least || u > most)
        return false;
    *value = (unsigned)u;
    return true;
}

static bool read_ack(const struct http_head *h, bool *take)
{
    char v[16];
    int n = http_query(h->query, "ack", v, sizeof v);
    struct span ack = span_of(v, n > 0 ? (size_t)n : 0);
    *take = !SPAN_IS(ack, "explicit");
    return n == -1 || SPAN_IS(ack, "auto") || SPAN_IS(ack, "explicit");
}

struct wishes {
    unsigned wait_s, limit;
    bool take;
    uint64_t after;
    char *places, *rooms; /* owned, until they are the call's */
};

static void wishes_fini(struct wishes *w)
{
    free(w->places);
    free(w->rooms);
}

/* A cursor from before: the inbox's seq, and the places in rooms behind it. */
static bool read_after(struct conn *c, const struct http_head *h, struct wishes *w)
{
    char *text = h->query.n ? malloc(h->query.n + 1) : NULL;
    int n = text ? http_query(h->query, "after", text, h->query.n) : -1;
    if (n < 0 || !sse_id_user(span_of(text, (size_t)n), &w->after)) {
        free(text);
        return n == -1 || refuse(c, "after must be the cursor of an answer");
    }
    text[n] = '\0';
    w->places = text;
    return true;
}

static bool read_rooms(struct conn *c, const struct http_head *h, const struct identity *who, struct wishes *w)
{
    if (!admit_rooms(c, h, who, &w->rooms))
        return false;
    struct span list = span_str(w->rooms), name;
    while (admit_next_name(&list, &name)) {
        if (!room_history(c->shard->cfg, name, NULL))
            return refuse(c, "a poll takes only rooms that keep a history; one of these does not");
    }
    return true;
}

static bool read_wishes(struct conn *c, const struct http_head *h, const struct identity *who, struct wishes *w)
{
    *w = (struct wishes){.limit = POLL_LIMIT_MAX, .after = CALL_NO_AFTER};
    if (!read_number(h, "wait", 0, POLL_WAIT_MAX, &w->wait_s))
        return refuse(c, "wait must be 0 to 60 (seconds)");
    if (!read_number(h, "limit", 1, POLL_LIMIT_MAX, &w->limit))
        return refuse(c, "limit must be 1 to 100");
    if (!read_ack(h, &w->take))
        return refuse(c, "ack must be auto or explicit");
    return read_rooms(c, h, who, w) && read_after(c, h, w);
}

/* The question, and the word for later. NULL: no memory. */
static struct call *question(const struct identity *who, struct wishes *w, struct word **word)
{
    struct span user = span_str(who->user), device = who->device ? span_str(who->device) : SPAN_LIT(DEVICE);
    struct call *call = call_new(CALL_POLL, user, device), *later = call_new(CALL_HURRY, user, device);
    *word = malloc(sizeof **word);
    if (!call || !later || !*word) {
        call_free(call);
        call_free(later);
        free(*word);
        return NULL;
    }
    (*word)->call = later;
    call->named = true;
    call->take = w->take;
    call->wait = w->wait_s > 0;
    call->limit = w->limit;
    call->after = w->after;
    call->places = w->places;
    call->rooms = w->rooms;
    w->places = w->rooms = NULL;
    return call;
}

static void ask(struct conn *c, const struct identity *who, struct wishes *w)
{
    struct word *word = NULL;
    struct call *call = question(who, w, &word);
    if (!call) {
        http_fail(c, 503, "overloaded", "out of memory", 1);
        return;
    }
    call->conn = word->call->conn = c->id;
    http_wait_call(c, &waiter, word, w->wait_s * 1000);
    call_send(c->shard, call);
}

void poll_handle(struct conn *c, const struct http_request *r)
{
    struct identity *who = NULL;
    struct wishes w = {0};
    if (!admit_running(c) || !admit_identity(c, &r->head, &who))
        return;
    if (!who->user)
        (void)refuse(c, "a poll needs a user");
    else if (shard_congested(c->shard))
        http_fail(c, 503, "overloaded", "too much is waiting for the store; poll again later", 1);
    else if (read_wishes(c, &r->head, who, &w) && admit_rates(c, who, &(struct rate_cost){.n = {[RATE_MESSAGES] = 1}}))
        ask(c, who, &w);
    wishes_fini(&w);
    identity_free(who);
}
