/*
 * track.h - what shards tell the ledger of tracked messages: events in batches, coalesced, in an op without urgency.
 */
#ifndef CORE_TRACK_H
#define CORE_TRACK_H

#include "core/base.h"

struct job;

enum track_what {
    TRACK_WRITTEN, /* handed to the kernel */
    TRACK_ACKED,   /* the device's cursor has passed it */
    TRACK_DROPPED, /* it will not be sent to this device (live-only messages alone) */
};

#define TRACK_BATCH 256 /* events of one op */

struct track_event {
    struct job *job; /* one reference: which message, to whom */
    char *device;    /* owned; NULL: a room's message or everybody's, or nobody's in particular */
    const char *why; /* of TRACK_DROPPED: a word that lives for ever */
    enum track_what what;
    unsigned count;      /* how often: more than 1 only without a device */
    uint64_t at_ms;      /* unix ms */
    uint64_t arrived_ms; /* when the message reached this node */
};

struct op_track {
    unsigned n;
    struct track_event *v; /* TRACK_BATCH of them */
};

void track_free(struct op_track *t);

#endif
