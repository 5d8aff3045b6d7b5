/*
 * base64.c - bytes as text.
 *
 * Idea: three bytes are one 24-bit number and that is four characters; what is left at the end is filled up with zero
 * bits and '='. Any thread; pure; nothing is owned here.
 */
#include "proto/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct span s, char *out)
{
    const uint8_t *p = s.p;
    size_t left = s.n;
    for (; left >= 3; left -= 3, p += 3) {
        uint32_t w = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        *out++ = alphabet[w >> 18];
        *out++ = alphabet[w >> 12 & 63];
        *out++ = alphabet[w >> 6 & 63];
        *out++ = alphabet[w & 63];
    }
    if (left > 0) {
        uint32_t w = (uint32_t)p[0] << 16 | (left == 2 ? (uint32_t)p[1] << 8 : 0);
        *out++ = alphabet[w >> 18];
        *out++ = alphabet[w >> 12 & 63];
        *out++ = left == 2 ? alphabet[w >> 6 & 63] : '=';
        *out++ = '=';
    }
}

bool base64_append(struct buf *out, struct span s)
{
    if (s.n > SIZE_MAX / 2)
        return false;
    if (s.n == 0)
        return true;
    uint8_t *to = buf_reserve(out, base64_length(s.n));
    if (to == NULL)
        return false;
    base64_encode(s, (char *)to);
    buf_commit(out, base64_length(s.n));
    return true;
}
