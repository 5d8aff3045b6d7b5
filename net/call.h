/*
 * call.h - calls between shards (core/call.h): sending, carrying out, answering. Each runs on the shard given.
 */
#ifndef NET_CALL_H
#define NET_CALL_H

#include "core/call.h"

struct op;
struct shard;

/* To the owner of the call's user, by inbox even when that is this very shard. Never lost: kept while the lane is full.
 * Fills shard; the caller has filled conn. Takes it. */
void call_send(struct shard *s, struct call *call);
/* Back to who asked. body is copied. Takes it. */
void call_answer(struct shard *s, struct call *call, unsigned status, struct span body);
/* The same with an error object in the call's codec. */
void call_fail(struct shard *s, struct call *call, struct span ref, const char *code, const char *message,
               unsigned retry_after_s);
/* What came out of the inbox. Takes it. */
void call_arrived(struct shard *s, struct call *call);
/* A command from another node, or the answer to one that went there. Takes the op. */
void call_from_elsewhere(struct shard *s, struct op *op);
void call_back_from_elsewhere(struct shard *s, struct op *op);
/* The end of a turn: those that found a lane full. */
void calls_retry(struct shard *s);
void calls_free(struct shard *s);

/* The HTTP status that goes with the code of an error object. */
unsigned call_status(const char *code);

#endif
