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

bool buf_append(struct buf *b, const void *bytes, size_t n) MUST_CHECK;
bool buf_append_span(struct buf *b, struct span s) MUST_CHECK;
bool buf_append_str(struct buf *b, const char *s) MUST_CHECK;
bool buf_append_byte(struct buf *b, uint8_t c) MUST_CHECK;
bool buf_printf(struct buf *b, const char *fmt, ...) MUST_CHECK PRINTF_LIKE(2, 3);

/* Room for n more bytes behind len (borrowed until the next call); NULL at the ceiling. buf_commit makes them count. */
uint8_t *buf_reserve(struct buf *b, size_t n) MUST_CHECK;
void buf_commit(struct buf *b, size_t n);

/* Drops n bytes (<= len) from the front. */
void buf_consume(struct buf *b, size_t n);

/* Gives the bytes away: the caller frees them; b is empty. */
uint8_t *buf_steal(struct buf *b, size_t *n) MUST_CHECK;

static inline struct span buf_span(const struct buf *b)
{
    return (struct span){b->data, b->len};
}

#endif
