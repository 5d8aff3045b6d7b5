/*
 * buf.c - growable bytes with a ceiling.
 *
 * One thread at a time. Invariants: len <= max; data is NULL exactly while cap is 0. The memory may be one byte larger
 * than the ceiling, for the NUL that vsnprintf insists on; that byte never counts.
 */
#include "core/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIRST_CAP = 64 };

/* Makes room for `n` bytes behind len, plus `extra` bytes that may lie beyond the ceiling. */
static bool grow(struct buf *b, size_t n, size_t extra)
{
    if (n > b->max - b->len || b->max > SIZE_MAX / 2)
        return false;
    size_t need = b->len + n + extra;
    if (need <= b->cap && b->data)
        return true;
    size_t cap = b->cap ? b->cap : FIRST_CAP;
    while (cap < need)
        cap *= 2;
    if (cap > b->max + 1)
        cap = b->max + 1;
    uint8_t *data = realloc(b->data, cap);
    if (!data)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max < SIZE_MAX / 2 ? max : SIZE_MAX / 2};
}

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){.max = b->max};
}

bool buf_append_str(struct buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0 || !grow(b, (size_t)n, 1))
        return false;
    va_start(args, fmt);
    (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, args);
    va_end(args);
    b->len += (size_t)n;
    return true;
}

uint8_t *buf_grow(struct buf *b, size_t n)
{
    return grow(b, n, 0) ? b->data + b->len : NULL;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    if (n && n < b->len)
        memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

uint8_t *buf_steal(struct buf *b, size_t *n)
{
    uint8_t *data = b->data;
    *n = b->len;
    *b = (struct buf){.max = b->max};
    return data;
}
