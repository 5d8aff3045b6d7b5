/*
 * outcome.h - what came of an attempt, as the ledger notes it. Pure.
 */
#ifndef CMD_CRIER_RELAY_OUTCOME_H
#define CMD_CRIER_RELAY_OUTCOME_H

#include "core/base.h"

enum outcome { OUTCOME_SENT, OUTCOME_AGAIN, OUTCOME_FAILED };
const char *outcome_name(enum outcome o);

enum { DETAIL_MAX = 160 }; /* bytes */

struct verdict {
    enum outcome outcome;
    bool refused;      /* it was the token: another may be better */
    unsigned least_ms; /* the provider wants no attempt sooner; 0: it does not say */
    char detail[DETAIL_MAX + 1];
};

/* Printable UTF-8 without line ends, cut between characters at DETAIL_MAX; what is neither becomes '?'. */
void detail_copy(char out[DETAIL_MAX + 1], struct span text);
/* All of *v anew. The text is made safe as detail_copy does. */
void verdict_set(struct verdict *v, enum outcome o, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
