/*
 * policy.h - what the ledger says of one escalation: by which channels it is to go and what came of each so far. Pure.
 */
#ifndef CMD_CRIER_RELAY_POLICY_H
#define CMD_CRIER_RELAY_POLICY_H

#include "core/base.h"

enum { POLICY_CHANNELS = 8 };

struct step {
    struct span name;
    unsigned channel;  /* in relay_channels; RELAY_CHANNELS: none that this program knows */
    unsigned attempts; /* so far */
    bool failed, sent;
};

struct policy {
    uint64_t due_ms; /* when it was first to go, ms since 1970 */
    unsigned n;
    struct step step[POLICY_CHANNELS];
};

/* "due_ms channel,channel": false when it is not that. Borrows `text`. */
bool policy_parse(struct policy *p, struct span text) MUST_CHECK;
/* "r:channel" and "ms attempts outcome detail"; what is neither says nothing. */
void policy_note(struct policy *p, struct span field, struct span value);
/* The step to try now, in the policy's order; p->n: one has sent it, or all have failed. */
unsigned policy_next(const struct policy *p);
/* Is there another to try once step i has failed? */
bool policy_follows(const struct policy *p, unsigned i);

/* "t:u:<length of user>:<user>:<id>". Borrows `name`. */
bool claim_name_parse(struct span name, struct span *user, struct span *id) MUST_CHECK;

/* Milliseconds to wait after `attempts` others (0: this was the first): `first` doubled with each, at most `most`, and
 * of that a part between half and whole. */
unsigned backoff_ms(unsigned first, unsigned most, unsigned attempts);

#endif
