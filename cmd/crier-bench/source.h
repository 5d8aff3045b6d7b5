/*
 * source.h - the publisher's process: saturating within a window, or at a rate.
 */
#ifndef BENCH_SOURCE_H
#define BENCH_SOURCE_H

#include "board.h"
#include "options.h"

enum aim {
    AIM_ROOM,      /* every message to all subscribers, until PHASE_DRAIN */
    AIM_TURN,      /* each to the next user, until PHASE_DRAIN */
    AIM_EVERYBODY, /* `messages` of them, on the channel of everybody */
    AIM_RANDOM     /* `total` of them, each to a user drawn at random; a user's numbers go on from `messages` */
};

/* Publishes from PHASE_WARM on, then says publish_done. The exit status of the process. */
int source_run(const struct options *o, struct board *b, unsigned run, enum aim aim) MUST_CHECK;

#endif
