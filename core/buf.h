/*
 * buf.h - a growable byte buffer born with a ceiling.
 * All functions that grow return false at the ceiling or when memory is out, and then have changed nothing.
 */
#ifndef CORE_BUF_H
#define CORE_BUF_H

#include "core/base.h"

struct buf {
    uint8_t *data;
    size_t len; /* bytes in use, from data[0] */
    size_t cap;
    size_t max; /* ceiling of len, bytes */
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b); /* frees the memory; b may be used again with the same ceiling */

/* What buf_reserve does when there is no room yet. */
uint8_t *buf_grow(struct buf *b, size_t n) MUST_CHECK;

/* Room for n more bytes behind len (borrowed until the next call); NULL at the ceiling. buf_commit makes them count. */
static inline MUST_CHECK uint8_t *buf_reserve(struct buf *b, size_t n)
{
    bool room = n <= b->cap - b->len && n <= b->max - b->len && b->data;
    return room ? b->data + b->len : buf_grow(b, n);
}

static inline void buf_commit(struct buf *b, size_t n)
{
    assert(n <= b->cap - b->len && n <= b->max - b->len);
    b->len += n;
}

static inline MUST_CHECK bool buf_append(struct buf *b, const void *bytes, size_t n)
{
    uint8_t *to = n ? buf_reserve(b, n) : NULL;
    if (to) {
        memcpy(to, bytes, n);
        b->len += n;
    }
    return to || n == 0;
}

static inline MUST_CHECK bool buf_append_span(struct buf *b, struct span s)
{
    return buf_append(b, s.p, s.n);
}

static inline MUST_CHECK bool buf_append_byte(struct buf *b, uint8_t c)
{
    uint8_t *to = buf_reserve(b, 1);
    if (to) {
        *to = c;
        b->len++;
    }
    return to != NULL;
}

bool buf_append_str(struct buf *b, const char *s) MUST_CHECK;
bool buf_printf(struct buf *b, const char *fmt, ...) MUST_CHECK PRINTF_LIKE(2, 3);

/* Drops n bytes (<= len) from the front. */
void buf_consume(struct buf *b, size_t n);

/* Gives the bytes away: the caller frees them; b is empty. */
uint8_t *buf_steal(struct buf *b, size_t *n) MUST_CHECK;

static inline struct span buf_span(const struct buf *b)
{
    return (struct span){b->data, b->len};
}

#endif
