/*
 * floor.h - the bare servers a broker is held against: an epoll loop that hands each message to its subscribers and
 * does nothing else.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include "board.h"
#include "options.h"

/* Serves until PHASE_END; says its port on the board. joined: one send a batch and subscriber, else one a message. The
 * exit status of the process. */
int floor_serve(struct board *b, unsigned subs, bool joined) MUST_CHECK;

#endif
