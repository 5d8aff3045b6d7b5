/*
 * json_plain.h - where is the first byte that may not stand in a JSON string as it is? Private to json.c and
 * json_write.c.
 */
#ifndef PROTO_JSON_PLAIN_H
#define PROTO_JSON_PLAIN_H

#include "core/bytes16.h"

static inline bool json_special(uint8_t c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

/* Of sixteen bytes: which are quotes, backslashes or below a space. */
static inline bytes16 json_specials(bytes16 v)
{
    return (bytes16)((v < 0x20) | (v == '"') | (v == '\\'));
}

/* The first byte from p on that is one of them; `end` when there is none. */
static inline const uint8_t *json_plain_end(const uint8_t *p, const uint8_t *end)
{
    for (; end - p >= 16; p += 16) {
        unsigned at = bytes16_first(json_specials(bytes16_at(p)));
        if (at < 16)
            return p + at;
    }
    while (p < end && !json_special(*p))
        p++;
    return p;
}

#endif
