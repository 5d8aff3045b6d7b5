/*
 * ask.h - one question, one answer: the broker's HTTP API and a few numbers of Redis, over blocking connections.
 */
#ifndef BENCH_ASK_H
#define BENCH_ASK_H

#include "url.h"

#define ASK_MAX 65536

struct ask {
    struct url url;
    int fd;
    char out[ASK_MAX], in[ASK_MAX];
};

/* http:// or redis://. 0, or -1 after a sentence on standard error, like all of these. */
int ask_open(struct ask *a, const char *url) MUST_CHECK;
void ask_close(struct ask *a);
/* POST /api/push of one message of `size` bytes of text to the users PREFIX<first> ... of `of`, in turn. */
int ask_push(struct ask *a, const char *prefix, unsigned first, unsigned n, unsigned of, unsigned size) MUST_CHECK;
/* Bytes that Redis' data takes: what it has allocated without the buffers of its connections. */
int ask_memory(struct ask *a, double *bytes) MUST_CHECK;
int ask_keys(struct ask *a, double *keys) MUST_CHECK;

#endif
