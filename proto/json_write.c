/*
 * json_write.c - what JSON is written with: strings, numbers.
 *
 * Idea: runs that need no change are copied whole; only quotes, backslashes, control characters and broken UTF-8 are
 * looked at one by one. Numbers are written by hand, because every message carries some and printf is slow; doubles
 * alone go through printf, at 15, 16 and then 17 digits, the first that reads back the same.
 *
 * Any thread; pure. A string that does not fit leaves the buffer as it was. Nothing is owned here.
 */
#include "proto/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/json_plain.h"
#include "proto/utf8.h"

/* Length of the valid UTF-8 character at p (RFC 3629), 0 when there is none. */
static size_t char_length(const uint8_t *p, const uint8_t *end)
{
    size_t n = *p < 0x80 ? 1 : *p >= 0xF0 ? 4 : *p >= 0xE0 ? 3 : 2;
    if ((size_t)(end - p) < n || !utf8_valid(span_of(p, n)))
        return 0;
    return n;
}

static bool write_escape(struct buf *out, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    static const char names[] = "btn?fr"; /* 8 to 13; there is no short form of 11 */
    char text[6] = {'\\', (char)c, '0', '0', 0, 0};
    if (c == '"' || c == '\\')
        return buf_append(out, text, 2);
    if (c >= 8 && c <= 13 && c != 11) {
        text[1] = names[c - 8];
        return buf_append(out, text, 2);
    }
    text[1] = 'u';
    text[4] = hex[c >> 4];
    text[5] = hex[c & 15];
    return buf_append(out, text, 6);
}

/* s is valid UTF-8. */
static bool write_valid(struct buf *out, struct span s)
{
    const uint8_t *p = s.p, *end = s.p + s.n;
    while (p < end) {
        const uint8_t *from = p;
        p = json_plain_end(p, end);
        if (!buf_append(out, from, (size_t)(p - from)))
            return false;
        if (p < end && !write_escape(out, *p++))
            return false;
    }
    return true;
}

/* The slow way, for text that is not UTF-8: each byte that belongs to no character becomes U+FFFD. */
static bool write_broken(struct buf *out, struct span s)
{
    const uint8_t *p = s.p, *end = s.p + s.n;
    while (p < end) {
        size_t n = char_length(p, end);
        if (!(n > 0 ? write_valid(out, span_of(p, n)) : buf_append(out, "\xEF\xBF\xBD", 3)))
            return false;
        p += n > 0 ? n : 1;
    }
    return true;
}

/* Is there anything but plain ASCII among sixteen bytes? */
static bool all_plain(bytes16 v)
{
    return bytes16_first(json_specials(v) | (bytes16)(v >= 0x80)) == 16;
}

/* Nearly every string: ASCII without anything to be escaped. It is copied while it is looked at; false: it is another,
 * and what stands at `to` means nothing. */
static bool copy_plain(uint8_t *to, struct span s)
{
    uint8_t few[16] = "                ";
    if (s.n < sizeof few) {
        memcpy(few, s.p, s.n);
        memcpy(to, few, s.n);
        return all_plain(bytes16_at(few));
    }
    for (size_t i = 0;;) {
        bytes16 v = bytes16_at(s.p + i);
        if (!all_plain(v))
            return false;
        memcpy(to + i, &v, sizeof v);
        if (i + 16 == s.n)
            return true;
        i = s.n - i < 32 ? s.n - 16 : i + 16; /* the last sixteen, some of them once more */
    }
}

bool json_write_string(struct buf *out, struct span s)
{
    size_t start = out->len;
    uint8_t *p = s.n < SIZE_MAX - 2 ? buf_reserve(out, s.n + 2) : NULL;
    if (p != NULL && s.n > 0 && copy_plain(p + 1, s)) {
        p[0] = p[s.n + 1] = '"';
        buf_commit(out, s.n + 2);
        return true;
    }
    if (buf_append_byte(out, '"') && (s.n == 0 || (utf8_valid(s) ? write_valid(out, s) : write_broken(out, s))) &&
        buf_append_byte(out, '"'))
        return true;
    out->len = start;
    return false;
}

/* Writes the digits to the end of text, two at a time; returns where they start. */
static char *digits(char text[20], uint64_t u)
{
    static const char pairs[] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243"
        "4445464748495051525354555657585960616263646566676869707172737475767778798081828384858687"
        "888990919293949596979899";
    char *p = text + 20;
    for (; u >= 100; u /= 100) {
        p -= 2;
        memcpy(p, pairs + u % 100 * 2, 2);
    }
    if (u >= 10) {
        p -= 2;
        memcpy(p, pairs + u * 2, 2);
    } else {
        *--p = (char)('0' + u);
    }
    return p;
}

bool json_write_uint(struct buf *out, uint64_t u)
{
    char text[20], *p = digits(text, u);
    return buf_append(out, p, (size_t)(text + 20 - p));
}

bool json_write_int(struct buf *out, int64_t i)
{
    char text[21], *p = digits(text + 1, i < 0 ? -(uint64_t)i : (uint64_t)i);
    if (i < 0)
        *--p = '-';
    return buf_append(out, p, (size_t)(text + 21 - p));
}

bool json_write_double(struct buf *out, double d)
{
    char text[32];
    if (!isfinite(d))
        return buf_append_str(out, "null");
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, d);
        if (strtod(text, NULL) == d)
            break;
    }
    return buf_append_str(out, text);
}
