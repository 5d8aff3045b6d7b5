/*
 * inbox.h - how threads speak: a consumer's inbox has one lane (bounded lock-free SPSC ring) per producer and one
 * eventfd doorbell.
 *
 * Which calls may run at the same time: for each lane one producer thread (inbox_push) and the one consumer thread
 * (inbox_drain); different lanes are independent. inbox_new and inbox_free run alone.
 *
 * Doorbell order (an invariant): the consumer reads the eventfd, then exchanges `pending` to 0, then drains; a producer
 * publishes its item, then exchanges `pending` to 1 and rings only when that returned 0. A consumer that stops with
 * items left rings its own bell again.
 *
 * Full lanes: nobody waits. inbox_push returns false and marks the lane starved; once the consumer has drained a
 * starved lane it calls that producer's `wake` inbox doorbell, so that the producer's loop turns and it may retry.
 */
#ifndef CORE_INBOX_H
#define CORE_INBOX_H

#include "core/base.h"

struct inbox;

/* What travels: a kind (core/msg.h) and a pointer whose ownership travels with it. */
struct item {
    uint32_t kind; /* enum msg_kind */
    uint32_t arg;
    void *ptr;
};

/* New inbox with `lanes` lanes of `capacity` items each (a power of two, >= 2). NULL when memory or fds are out. */
struct inbox *inbox_new(unsigned lanes, unsigned capacity) MUST_CHECK;
/* Frees the rings; items still in them are handed to `drop` first (may be NULL). */
void inbox_free(struct inbox *in, void (*drop)(void *arg, struct item it), void *arg);

/* Says whose doorbell to ring when lane `lane`, once full, has room again. Borrowed for the inbox's life. */
void inbox_set_wake(struct inbox *in, unsigned lane, struct inbox *producer);

/* Producer of `lane`: true: the item was taken; false: the lane is full, nothing happened, a wake-up will come. */
bool inbox_push(struct inbox *in, unsigned lane, struct item it) MUST_CHECK;
/* The same without the doorbell, for a producer with more to come: it rings (inbox_ring) after the last, and after a
 * false. */
bool inbox_put(struct inbox *in, unsigned lane, struct item it) MUST_CHECK;
/* Producer: free slots of the lane as seen now (a lower bound). */
unsigned inbox_room(const struct inbox *in, unsigned lane);
/* Any thread: rings the doorbell without an item. */
void inbox_ring(struct inbox *in);

/* Consumer: the fd to poll for reading. */
int inbox_fd(const struct inbox *in);
/* Consumer: clears the doorbell, then hands out at most `max` items, lanes in turn (round robin, fair over calls).
 * Returns how many; when some may be left it has rung its own bell again. */
unsigned inbox_drain(struct inbox *in, unsigned max, void (*take)(void *arg, struct item it), void *arg);
/* Any thread: items waiting in a lane, about (for metrics). */
unsigned inbox_depth(const struct inbox *in, unsigned lane);
unsigned inbox_lanes(const struct inbox *in);

#endif
