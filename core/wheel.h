/*
 * wheel.h - a hashed timer wheel: O(1) arm and cancel, intrusive nodes, no allocation, one wheel per thread.
 * The owner asks wheel_next_ms how long it may sleep and calls wheel_turn when it woke; an empty wheel never wakes
 * anybody.
 */
#ifndef CORE_WHEEL_H
#define CORE_WHEEL_H

#include "core/base.h"

#define WHEEL_SLOTS   512
#define WHEEL_TICK_MS 100

struct timer {
    struct timer *next, *prev; /* NULL: not armed */
    uint32_t due;              /* tick */
};

struct wheel {
    struct timer slots[WHEEL_SLOTS]; /* ring heads */
    uint64_t used[WHEEL_SLOTS / 64]; /* one bit a slot that is not empty */
    uint64_t start_ms;
    uint32_t tick; /* last tick that was turned */
    size_t armed;
};

void wheel_init(struct wheel *w, uint64_t now_ms);
/* Arms or re-arms; fires at the first turn at or after now_ms + delay_ms (late by at most one tick, never early). */
void wheel_arm(struct wheel *w, struct timer *t, uint64_t now_ms, uint32_t delay_ms);
void wheel_cancel(struct timer *t, struct wheel *w); /* fine if not armed */
static inline bool timer_armed(const struct timer *t)
{
    return t->next != NULL;
}
/* Fires what is due: each timer is unlinked first, then given to `fire`, which may arm and cancel any timer. Returns
 * how many. */
unsigned wheel_turn(struct wheel *w, uint64_t now_ms, void (*fire)(void *arg, struct timer *t), void *arg);
/* Milliseconds until the next turn that could fire something; -1 when nothing is armed. Never later than the next due
 * timer. */
int wheel_next_ms(const struct wheel *w, uint64_t now_ms);

#endif
