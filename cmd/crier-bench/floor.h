/*
 * floor.h - the bare servers a broker is held against: an epoll loop that hands each message to its subscribers and
 * does nothing else.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include "board.h"
#include "options.h"

/* Serves until PHASE_END; says its port on the board. --mode: "send" (one a message and subscriber), "joined" (one a
 * batch and subscriber), "uring" (one a message, all of a batch in one system call), "beat" (a ping to each subscriber
 * every --beat seconds), "tls" (handshakes alone: floor_tls.c). The exit status of the process. */
int floor_serve(struct board *b, const struct options *o) MUST_CHECK;
int floor_tls_serve(struct board *b, const struct options *o) MUST_CHECK;

/* A listening non-blocking socket on a free loopback port, which is said on the board once `ready`; -1: none. */
int floor_listen(unsigned *port) MUST_CHECK;

#endif
