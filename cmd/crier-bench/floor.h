/*
 * floor.h - the bare servers a broker is held against: an epoll loop that hands each message to its subscribers and
 * does nothing else.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include "board.h"
#include "options.h"

/* Serves until PHASE_END; says its port on the board. mode: "send" (one a message and subscriber), "joined" (one a
 * batch and subscriber), "uring" (one a message, all of a batch in one system call). The exit status of the process. */
int floor_serve(struct board *b, unsigned subs, const char *mode) MUST_CHECK;

#endif
