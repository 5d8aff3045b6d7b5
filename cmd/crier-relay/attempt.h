/*
 * attempt.h - one claim, one attempt: from what the ledger says of it to what came of it.
 */
#ifndef CMD_CRIER_RELAY_ATTEMPT_H
#define CMD_CRIER_RELAY_ATTEMPT_H

#include "core/base.h"

struct relay;

/* Begins the attempt; it ends with relay_attempt_ended. False: none was begun (a name that is none, memory is out,
 * Redis is away), and the claim's lease will end. */
bool attempt_start(struct relay *r, struct span name, uint64_t claim) MUST_CHECK;
/* While the relay is closing: ends those that do not wait for Redis. */
void attempts_cancel(struct relay *r);

#endif
