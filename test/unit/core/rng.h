/*
 * rng.h - reproducible numbers for tests (xorshift64*). Not for anything secret.
 */
#ifndef TEST_UNIT_CORE_RNG_H
#define TEST_UNIT_CORE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s; /* not 0 */
};

static inline uint64_t rng_next(struct rng *r)
{
    r->s ^= r->s >> 12;
    r->s ^= r->s << 25;
    r->s ^= r->s >> 27;
    return r->s * 0x2545f4914f6cdd1d;
}

/* In [0, below); below >= 1. The slight bias does not matter here. */
static inline unsigned rng_below(struct rng *r, unsigned below)
{
    return (unsigned)((rng_next(r) >> 33) % below);
}

#endif
