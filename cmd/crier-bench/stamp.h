/*
 * stamp.h - the payload: a JSON object of a chosen size that carries run, sequence number and time of sending, at fixed
 * width, so that a reader finds them without a JSON parser wherever a server put the object.
 *
 *   {"b":"~cbRRRRSSSSSSSSSSSSTTTTTTTTTTTTTTTT","p":"....."}       R run, S sequence, T nanoseconds; hexadecimal
 */
#ifndef BENCH_STAMP_H
#define BENCH_STAMP_H

#include "core/base.h"

#define STAMP_MIN  48 /* bytes of the smallest payload */
#define STAMP_MARK 7  /* "~cb" and the run */
#define STAMP_LEN  35 /* mark, sequence, time */

struct stamp {
    char mark[STAMP_MARK]; /* of this run */
    ptrdiff_t tail;        /* where the last one was found, from the end of the message: tried first */
};

void stamp_init(struct stamp *s, unsigned run);
/* Writes exactly `size` (>= STAMP_MIN) bytes. */
void stamp_write(const struct stamp *s, char *out, size_t size, uint64_t seq, uint64_t ns);
/* The stamp inside a message, or NULL: none of this run. */
const char *stamp_find(struct stamp *s, const uint8_t *p, size_t n);
/* The first stamp of this run at or behind p, for bodies that hold several; NULL: none. */
const char *stamp_next(const struct stamp *s, const uint8_t *p, size_t n);
/* A number of one of several streams: at most 65,535 of them, 2^32 numbers each. */
static inline uint64_t stamp_number(unsigned stream, uint64_t n)
{
    return (uint64_t)stream << 32 | (n & UINT32_MAX);
}
/* From what stamp_find or stamp_next returned. */
uint64_t stamp_seq(const char *at);
uint64_t stamp_ns(const char *at);

#endif
