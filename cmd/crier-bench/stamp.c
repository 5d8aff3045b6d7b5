/*
 * stamp.c - payloads with a sequence number and a time. Pure. The reader runs once a delivery on the cores it shares
 * with the measured server, so it looks where the last stamp was before it searches: a server puts the payload at the
 * same distance from the end of each message, whatever ids it writes before it.
 */
#include "stamp.h"

#include <stdio.h>

#define SEQ_DIGITS 12
#define NS_DIGITS  16

static void put_hex(char *out, unsigned digits, uint64_t v)
{
    for (unsigned i = digits; i-- > 0; v >>= 4)
        out[i] = "0123456789abcdef"[v & 15];
}

static uint64_t get_hex(const char *p, unsigned digits)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < digits; i++) {
        unsigned c = (unsigned char)p[i];
        v = v << 4 | ((c & 15) + (c >> 6) * 9);
    }
    return v;
}

void stamp_init(struct stamp *s, unsigned run)
{
    char text[STAMP_MARK + 1];
    snprintf(text, sizeof text, "~cb%04x", run & 0xffffu);
    memcpy(s->mark, text, STAMP_MARK);
    s->tail = 0;
}

void stamp_write(const struct stamp *s, char *out, size_t size, uint64_t seq, uint64_t ns)
{
    static const char head[] = "{\"b\":\"", middle[] = "\",\"p\":\"";
    memcpy(out, head, 6);
    memcpy(out + 6, s->mark, STAMP_MARK);
    put_hex(out + 6 + STAMP_MARK, SEQ_DIGITS, seq);
    put_hex(out + 6 + STAMP_MARK + SEQ_DIGITS, NS_DIGITS, ns);
    size_t n = 6 + STAMP_LEN;
    if (size < n + 7 + 2) { /* no room for padding: spaces are JSON too */
        out[n++] = '"';
        memset(out + n, ' ', size - n - 1);
    } else {
        memcpy(out + n, middle, 7);
        memset(out + n + 7, 'x', size - n - 7 - 2);
        out[size - 2] = '"';
    }
    out[size - 1] = '}';
}

const char *stamp_find(struct stamp *s, const uint8_t *p, size_t n)
{
    if (s->tail && (size_t)s->tail <= n && memcmp(p + n - s->tail, s->mark, STAMP_MARK) == 0)
        return (const char *)p + n - s->tail;
    const uint8_t *at = n >= STAMP_LEN ? memmem(p, n - STAMP_LEN + STAMP_MARK, s->mark, STAMP_MARK) : NULL;
    if (at)
        s->tail = p + n - at;
    return (const char *)at;
}

const char *stamp_next(const struct stamp *s, const uint8_t *p, size_t n)
{
    return n >= STAMP_LEN ? memmem(p, n - STAMP_LEN + STAMP_MARK, s->mark, STAMP_MARK) : NULL;
}

uint64_t stamp_seq(const char *at)
{
    return get_hex(at + STAMP_MARK, SEQ_DIGITS);
}

uint64_t stamp_ns(const char *at)
{
    return get_hex(at + STAMP_MARK + SEQ_DIGITS, NS_DIGITS);
}
