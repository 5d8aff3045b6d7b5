/*
 * push_answer.h - what a push that is back from the store has achieved, as the server API says it. Pure.
 */
#ifndef NET_PUSH_ANSWER_H
#define NET_PUSH_ANSWER_H

#include "core/buf.h"
#include "core/op.h"
#include "proto/codec.h"

/* Bytes that the results of so many targets can take: names and ids of 128 bytes, six each when escaped, twice. */
#define PUSH_ANSWER_MAX(targets) ((size_t)(targets)*2048 + 512)

/* How many of its targets the store has kept. */
unsigned push_kept(const struct op *op);

struct push_refusal {
    unsigned status; /* 400, 503 */
    const char *code, *message;
};
/* Of a push of which nothing was kept: why. */
struct push_refusal push_refusal(const struct op *op);

/* {"results":[...]}, one for each target. id: the message's. False: no memory. */
bool push_write_results(const struct op *op, struct span id, enum codec format, struct buf *out) MUST_CHECK;
/* {"error":{...}} */
bool push_write_error(const char *code, const char *message, enum codec format, struct buf *out) MUST_CHECK;

#endif
