/*
 * request.h - what is sent to a provider: URLs, bodies, headers. Pure.
 */
#ifndef CMD_CRIER_RELAY_REQUEST_H
#define CMD_CRIER_RELAY_REQUEST_H

#include "core/buf.h"

struct settings;

enum { REQUEST_MAX_BYTES = 16 * 1024 * 1024, URL_MAX_BYTES = 16 * 1024 };

/* One message for one user; borrowed. */
struct errand {
    struct span name; /* the ledger's */
    struct span user, id, address, text;
    struct span payload; /* P; p NULL: it is not kept any more */
    unsigned attempt;    /* from 1 */
    uint64_t due_ms;
};

/* Which of relay_channels ask for an access token first. */
bool channel_has_token(unsigned channel);
/* Could this address reach one user of the channel, and nobody else? */
bool channel_takes(unsigned channel, struct span address);

/* All append to `out`; false at its ceiling. URLs get a NUL behind them (not counted). */
bool request_token_url(const struct settings *s, unsigned channel, struct buf *out) MUST_CHECK;
bool request_url(const struct settings *s, unsigned channel, const struct errand *e, const char *token,
                 struct buf *out) MUST_CHECK;
bool request_body(const struct settings *s, unsigned channel, const struct errand *e, struct buf *out) MUST_CHECK;

/* A webhook's headers, each with a NUL behind it. */
bool request_key_header(const struct errand *e, struct buf *out) MUST_CHECK;
bool request_signature_header(struct span secret, uint64_t now_s, struct span body, struct buf *out) MUST_CHECK;

#endif
