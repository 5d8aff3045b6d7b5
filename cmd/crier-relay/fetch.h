/*
 * fetch.h - HTTP requests on the event loop, by libcurl. One thread.
 */
#ifndef CMD_CRIER_RELAY_FETCH_H
#define CMD_CRIER_RELAY_FETCH_H

#include "cmd/crier-relay/answer.h"

struct event_base;
struct fetcher;
struct fetch;

/* NULL when memory is out. */
struct fetcher *fetcher_new(struct event_base *base) MUST_CHECK;
/* Fetches under way end without their callback. */
void fetcher_free(struct fetcher *f);

enum { FETCH_HEADERS = 2 };

struct fetch_request {
    const char *url;
    struct span body;                  /* p NULL: GET */
    const char *header[FETCH_HEADERS]; /* "Name: value"; NULL: none */
    unsigned timeout_ms;
    bool public_only; /* connects to no address that addr_is_public refuses */
};

/* The answer is borrowed until return. Called from the loop, once, never before fetch_start has returned. */
typedef void fetch_cb(void *arg, const struct answer *a);
/* Borrows the body until the callback, all else until return. NULL: memory is out, there is no callback. */
struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *r, fetch_cb *cb, void *arg) MUST_CHECK;
/* Ends it without its callback. */
void fetch_cancel(struct fetch *t);

#endif
