/*
 * token_want.h - an access token: the one that all workers share, or a new one where this worker is to make it.
 */
#ifndef CMD_CRIER_RELAY_TOKEN_WANT_H
#define CMD_CRIER_RELAY_TOKEN_WANT_H

#include "cmd/crier-relay/answer.h"

struct event;
struct fetch;
struct relay;

struct token_want {
    struct relay *r;
    unsigned channel;
    uint64_t until_ms; /* monotonic */
    char lock[120];    /* this holder's name, while it may hold the lock */
    struct token token;
    struct span stale; /* in stale_text */
    char stale_text[TOKEN_MAX_BYTES + 1];
    struct fetch *fetch;
    struct event *again;
    bool asking; /* Redis owes an answer */
    /* token NULL: there is none, *v says why */
    void (*done)(void *arg, const char *token, const struct verdict *v);
    void *arg;
};

/* Calls `done` once, from the loop. stale: a token that was refused; NULL: none. until_ms: it gives up by then. False:
 * there is no callback (Redis is away, memory is out). */
bool token_want_start(struct token_want *w, const char *stale, uint64_t until_ms) MUST_CHECK;
/* Ends it without a callback; not while `asking`. Also at the end of each. */
void token_want_stop(struct token_want *w);

#endif
