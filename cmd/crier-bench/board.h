/*
 * board.h - what the processes of one measurement share: an anonymous shared mapping, made before the first fork.
 *
 * Writers: `phase` the first process; `published`, `publish_done` the publisher; a slot its client process alone.
 * Counters are relaxed atomics read by anyone; a histogram is read after its process ended.
 */
#ifndef BENCH_BOARD_H
#define BENCH_BOARD_H

#include "hist.h"

#include <stdatomic.h>

enum phase { PHASE_CONNECT, PHASE_WARM, PHASE_MEASURE, PHASE_DRAIN, PHASE_END };

/* A measurement of several parts keeps their latencies apart. */
#define STAGES 2

struct slot {
    _Alignas(128) _Atomic uint64_t deliveries;
    _Atomic uint64_t ready;      /* connections that may receive */
    _Atomic uint64_t gone;       /* closed before the end */
    _Atomic uint64_t lost;       /* numbers skipped */
    _Atomic uint64_t duplicates; /* numbers seen before */
    _Atomic uint64_t bytes;      /* read from sockets (after TLS) */
    _Atomic uint64_t reads;      /* read calls that brought data */
    _Atomic uint64_t others;     /* data frames without a stamp of this run, once ready */
    _Atomic uint64_t resumed;    /* TLS sessions resumed */
    _Atomic uint64_t connects;   /* connections that became ready, ever */
    _Atomic uint64_t answers;    /* polls answered */
    uint64_t conns;              /* its share, set before the fork */
    uint64_t first;              /* index of its first connection, likewise */
    struct hist latency[STAGES];
};

struct board {
    _Atomic int phase;
    _Atomic int stage;      /* set by the first process, below STAGES */
    _Atomic uint64_t quota; /* churn: connects of all processes up to now */
    _Atomic uint64_t published;
    _Atomic uint64_t stalls; /* the window stayed full for half a second */
    _Atomic int publish_done;
    _Atomic int floor_port; /* set by the floor's server */
    unsigned procs;
    struct slot slots[];
};

/* Sums of all slots at one moment. */
struct tally {
    uint64_t deliveries, ready, gone, lost, duplicates, bytes, reads, others, resumed, connects, answers;
};

/* New; divides subs among procs. NULL when memory is out. */
struct board *board_new(unsigned procs, unsigned subs) MUST_CHECK;
void board_free(struct board *b);
struct tally board_tally(struct board *b);
/* The slowest process: messages each of its connections has had or lost, on average. */
uint64_t board_slowest(struct board *b);

static inline enum phase board_phase(struct board *b)
{
    return (enum phase)atomic_load_explicit(&b->phase, memory_order_acquire);
}

static inline unsigned board_stage(struct board *b)
{
    return (unsigned)atomic_load_explicit(&b->stage, memory_order_relaxed) % STAGES;
}

static inline void board_set_phase(struct board *b, enum phase p)
{
    atomic_store_explicit(&b->phase, (int)p, memory_order_release);
}

/* For the single writer of a counter: no locked instruction. */
static inline void board_add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, v + n, memory_order_relaxed);
}

static inline uint64_t board_get(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
