/*
 * utf8.h - UTF-8 validation as bytes arrive (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). Pure.
 */
#ifndef PROTO_UTF8_H
#define PROTO_UTF8_H

#include "core/base.h"

struct utf8 {
    uint8_t state; /* 0: at a character border */
};

static inline void utf8_init(struct utf8 *u)
{
    u->state = 0;
}
/* False at the first byte that cannot be part of valid UTF-8, and for ever after. ASCII runs cost a word at a time. */
bool utf8_feed(struct utf8 *u, struct span s) MUST_CHECK;
static inline bool utf8_complete(const struct utf8 *u)
{
    return u->state == 0;
}
bool utf8_valid(struct span s);

#endif
