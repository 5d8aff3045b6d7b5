/*
 * answer.h - what a provider's answer, or none, means. Every byte of it may be hostile. Pure.
 */
#ifndef CMD_CRIER_RELAY_ANSWER_H
#define CMD_CRIER_RELAY_ANSWER_H

#include "cmd/crier-relay/outcome.h"

enum { ANSWER_MAX_BYTES = 64 * 1024, TOKEN_MAX_BYTES = 2048 };

enum answer_kind {
    ANSWER_HTTP, /* a status came, and a body */
    ANSWER_TIMEOUT,
    ANSWER_NO_CONNECTION, /* none, or it broke; `why` */
    ANSWER_NOT_ALLOWED,   /* all of its addresses are refused */
    ANSWER_BAD_URL,
};

struct answer {
    enum answer_kind kind;
    unsigned status;
    unsigned retry_after_s; /* 0: it does not say */
    bool too_long;          /* the body is cut */
    struct span body;
    const char *why; /* static words for a connection that broke; NULL: none came about */
};

/* A message's answer by WeCom or WeChat. `hidden`: words that must not be shown (the token). */
void answer_message(const struct answer *a, struct span hidden, struct verdict *v);

struct token {
    char text[TOKEN_MAX_BYTES + 1]; /* printable ASCII */
    uint64_t life_ms;
};
/* A token's answer: true: *t is good. False: *v says why (again; the detail begins with "token: "). */
bool answer_token(const struct answer *a, struct span hidden, struct token *t, struct verdict *v) MUST_CHECK;

/* A webhook's answer. most_ms: ceiling of what it may ask to wait. */
void answer_webhook(const struct answer *a, unsigned most_ms, struct verdict *v);

#endif
