/*
 * clock.h - time. Monotonic for deadlines, real for what users see.
 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_us(void); /* CLOCK_MONOTONIC, microseconds */
uint64_t clock_real_us(void); /* CLOCK_REALTIME, microseconds since 1970 */
static inline uint64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

#endif
