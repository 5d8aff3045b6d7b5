/*
 * http_state.h - what HTTP keeps for a connection between its bytes. Shared by http.c (requests in) and http_answer.c
 * (answers out), private to them.
 */
#ifndef NET_HTTP_STATE_H
#define NET_HTTP_STATE_H

#include <time.h>

#include "net/http.h"

struct http_pending;

enum http_phase { PHASE_HEAD, PHASE_BODY, PHASE_WAIT };

struct http {
    enum http_phase phase;
    bool first;      /* no head has been complete yet */
    bool answering;  /* a request is in hand */
    bool head_only;  /* HEAD */
    bool keep_alive; /* the connection outlives this answer */
    bool old;        /* HTTP/1.0 */
    bool choked;     /* paused until the output queue has drained */
    bool in_head;    /* the first byte of a head has come: its deadline runs */
    enum codec format;
    enum close_reason why; /* of the close after this answer */
    size_t scanned;        /* by http_head_parse */
    struct http_pending *pending;
    void (*done)(struct conn *c, void *arg, struct op *op);
    const struct http_waiter *waiter; /* of a call; NULL: none */
    void (*drop)(void *arg);          /* frees arg */
    void *arg;
    uint64_t began_us;
    char *request_id; /* to be repeated; NULL: none */
    char *what;       /* "GET /path", for the access log */
    char *cors;       /* header lines that let a page of another origin read the answer; NULL: none */
    time_t date_s;
    char date[32];
};

static inline bool http_alive(const struct conn *c)
{
    return c->proto == &http_proto && c->state == CONN_OPEN;
}

/* The request in hand is done with: ready for the next one. */
void http_forget_request(struct http *h);
/* http_fail_close with a reason of its own. */
void http_fail_why(struct conn *c, unsigned status, const char *code, const char *message, enum close_reason why);
/* The access log line of an answer, when that is on. */
void http_log_answer(struct conn *c, unsigned status, size_t bytes);

#endif
