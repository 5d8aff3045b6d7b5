/*
 * redis_page.h - entries of an inbox or a room's history, as Redis' functions return them, made into jobs. Dispatcher
 * thread, Redis back-end.
 */
#ifndef STORE_REDIS_PAGE_H
#define STORE_REDIS_PAGE_H

#include <endian.h>

#include "core/op.h"

struct redisReply;
struct redis_store;

/* Elements from `first` on become the page's jobs, to `name` (user or room); *reached: seq of the last one looked at.
 * An entry that cannot be read is recorded and left out, so that it blocks nobody. False: memory is out. */
bool redis_page_read(struct redis_store *s, enum target_kind kind, const char *name, const struct redisReply *r,
                     size_t first, struct op_page *page, uint64_t *reached) MUST_CHECK;
/* Gives the jobs back; the page is empty again. */
void redis_page_drop(struct op_page *page);

/* Is the reply an array that begins with n numbers, none below 0? */
bool redis_integers(const struct redisReply *r, size_t n) MUST_CHECK;
uint64_t redis_integer(const struct redisReply *r, size_t i);
/* The number of n bytes (1 to 8), highest first. */
static inline uint64_t redis_big_endian(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return be64toh(v) >> (64 - 8 * n);
}
void redis_put_big_endian(uint8_t *to, unsigned n, uint64_t v);

#endif
