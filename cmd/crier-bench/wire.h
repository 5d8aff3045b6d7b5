/*
 * wire.h - how the publisher's messages leave: PUBLISH commands, HTTP POSTs, or the floor server's feed. Pipelined on
 * one connection, so that one order holds.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include "options.h"
#include "url.h"

#define FEED_HELLO "FEED\n"
#define FEED_ALL   UINT32_MAX

/* Before each frame of the feed, in the byte order of the machine. */
struct feed_head {
    uint32_t target; /* index of a subscriber, or FEED_ALL */
    uint32_t length;
};

struct wire {
    struct url url;
    const struct options *o;
    int fd;
    const char *before, *after; /* around the payload; "{}" in `before` stands for the target */
    uint8_t *out;
    size_t out_n, out_cap;
    char in[16384];
    size_t in_n;
    bool call;           /* FCALL instead of PUBLISH */
    size_t skip;         /* bytes of an HTTP body still to come */
    size_t lines;        /* of an array of Redis still to come */
    uint64_t unanswered; /* commands without a reply yet */
    uint64_t unheard;    /* PUBLISH answered 0: nobody was subscribed */
};

/* Connects. 0, or -1 after a sentence on standard error. */
int wire_open(struct wire *w, const struct options *o, bool unicast) MUST_CHECK;
/* Queues one message for `target` (a room, or a user's name; index: FEED_ALL or the user's). -1: does not fit. */
int wire_add(struct wire *w, const char *target, uint32_t index, const void *payload, size_t n) MUST_CHECK;
/* Sends what is queued and reads what is answered; waits until at most `unanswered` replies are missing. -1: failed,
 * after a sentence on standard error. */
int wire_flush(struct wire *w, uint64_t unanswered) MUST_CHECK;
void wire_close(struct wire *w);

#endif
