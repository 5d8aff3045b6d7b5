/*
 * sweep.h - what is due: the partitions asked in turn, and as many claims taken as there is room for.
 */
#ifndef CMD_CRIER_RELAY_SWEEP_H
#define CMD_CRIER_RELAY_SWEEP_H

#include "cmd/crier-relay/ledger.h"

struct relay;

struct slot {
    struct sweep *sweep;
    uint8_t part;
    bool ask;          /* something waits there, and may be due */
    unsigned reserved; /* claims asked for and not answered; 0: it is not being asked */
};

struct sweep {
    struct relay *r;
    struct slot slot[LEDGER_PARTS];
    unsigned at;       /* where to go on */
    unsigned asks;     /* slots to ask */
    unsigned counting; /* partitions that have not yet said how many wait */
    bool miscounted;   /* one of them did not say */
    uint64_t count;
    unsigned reserved; /* of all slots */
};

void sweep_init(struct sweep *w, struct relay *r);
/* One round: how many wait in each partition, then what is due in those where any do. */
void sweep_tick(struct sweep *w);
/* Goes on claiming, where there is room. */
void sweep_more(struct sweep *w);
/* Something in this partition is due at once. */
void sweep_nudge(struct sweep *w, uint8_t part);

#endif
