/*
 * base64.h - base64 with padding (RFC 4648 section 4): how bytes look inside JSON. Pure.
 */
#ifndef PROTO_BASE64_H
#define PROTO_BASE64_H

#include "core/buf.h"

/* Characters that n bytes become (no NUL). n must be below 3/4 of SIZE_MAX. */
static inline size_t base64_length(size_t n)
{
    return (n + 2) / 3 * 4;
}

/* Writes base64_length(s.n) characters to out, no NUL. */
void base64_encode(struct span s, char *out);
/* Appends them; false at the buffer's ceiling, and then nothing was added. */
bool base64_append(struct buf *out, struct span s) MUST_CHECK;

#endif
