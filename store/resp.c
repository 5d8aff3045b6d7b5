/*
 * resp.c - RESP2: commands out, pushes in.
 *
 * Idea: a subscription carries every live message of the node, so its bytes are read where they lie: a push is an array
 * of three or four bulk strings, and the spans handed out point into the reader's own buffer. Nothing is allocated or
 * copied. A push that has not arrived whole costs one look at its few heads for each read.
 *
 * Pure; any thread. Every byte may be hostile: numbers are bounded, parts have a ceiling, arrays at most MAX_PARTS.
 */
#include "store/resp.h"

enum { MAX_PARTS = 4, MAX_LINE = 512, MAX_DIGITS = 10, NUM_DIGITS = RESP_DIGITS };

void resp_init(struct resp_args *a, size_t max)
{
    buf_init(&a->b, max);
    a->n = 0;
    a->bad = false;
}

void resp_fini(struct resp_args *a)
{
    buf_fini(&a->b);
    a->n = 0;
    a->bad = false;
}

void resp_reset(struct resp_args *a)
{
    a->b.len = 0;
    a->n = 0;
    a->bad = false;
}

struct span resp_digits(uint64_t v, char tmp[RESP_DIGITS])
{
    char *p = tmp + RESP_DIGITS;
    do {
        *--p = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return span_of(p, (size_t)(tmp + RESP_DIGITS - p));
}

static uint8_t *put(uint8_t *to, const void *from, size_t n)
{
    if (n)
        memcpy(to, from, n);
    return to + n;
}

/* "<mark><v>\r\n" at `to`, which has room for NUM_DIGITS + 3 bytes. */
static uint8_t *put_head(uint8_t *to, char mark, uint64_t v)
{
    *to++ = (uint8_t)mark;
    if (v < 100) { /* nearly all */
        if (v >= 10)
            *to++ = (uint8_t)('0' + v / 10);
        *to++ = (uint8_t)('0' + v % 10);
    } else {
        char tmp[NUM_DIGITS];
        struct span d = resp_digits(v, tmp);
        to = put(to, d.p, d.n);
    }
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

bool resp_head(struct buf *out, unsigned n)
{
    uint8_t *start = buf_reserve(out, NUM_DIGITS + 3);
    if (!start)
        return false;
    buf_commit(out, (size_t)(put_head(start, '*', n) - start));
    return true;
}

void resp_join(struct resp_args *a, const struct span *pieces, unsigned n)
{
    size_t total = 0;
    for (unsigned i = 0; i < n; i++)
        total += pieces[i].n;
    if (a->bad)
        return;
    uint8_t *start = buf_reserve(&a->b, total + NUM_DIGITS + 5);
    if (!start) {
        a->bad = true;
        return;
    }
    uint8_t *p = put_head(start, '$', total);
    for (unsigned i = 0; i < n; i++)
        p = put(p, pieces[i].p, pieces[i].n);
    *p++ = '\r';
    *p++ = '\n';
    buf_commit(&a->b, (size_t)(p - start));
    a->n++;
}

void resp_arg(struct resp_args *a, struct span s)
{
    resp_join(a, &s, 1);
}

void resp_str(struct resp_args *a, const char *s)
{
    resp_arg(a, span_str(s));
}

void resp_u64(struct resp_args *a, uint64_t v)
{
    char tmp[NUM_DIGITS];
    resp_arg(a, resp_digits(v, tmp));
}

/* ---- pushes ---- */

/* One line without its CRLF: >0 bytes used, 0 more, <0 too long or broken. */
static ptrdiff_t take_line(struct span in, struct span *line)
{
    size_t look = in.n < MAX_LINE ? in.n : MAX_LINE;
    const uint8_t *nl = look ? memchr(in.p, '\n', look) : NULL;
    if (!nl)
        return in.n >= MAX_LINE ? -1 : 0;
    if (nl == in.p || nl[-1] != '\r')
        return -1;
    *line = span_of(in.p, (size_t)(nl - in.p) - 1);
    return nl - in.p + 1;
}

/* A length or count behind its mark: digits alone, or "-1" (nil), and CRLF. >0 bytes used, 0 more, <0 broken. */
static ptrdiff_t take_number(struct span in, long long *out)
{
    size_t i = 1;
    long long v = 0;
    for (; i < in.n && in.p[i] >= '0' && in.p[i] <= '9' && i <= MAX_DIGITS; i++)
        v = v * 10 + (in.p[i] - '0');
    if (i == 1 && in.n > 1 && in.p[1] == '-') {
        if (in.n > 2 && in.p[2] != '1')
            return -1;
        v = -1;
        i = 3;
    }
    if (in.n < i + 2)
        return in.n > i && in.p[i] != '\r' ? -1 : 0;
    *out = v;
    return i > 1 && in.p[i] == '\r' && in.p[i + 1] == '\n' ? (ptrdiff_t)i + 2 : -1;
}

static ptrdiff_t take_bulk(struct span in, size_t max_bulk, struct span *part)
{
    long long len;
    ptrdiff_t used = take_number(in, &len);
    if (used <= 0)
        return used;
    if (len > 0 && (size_t)len > max_bulk)
        return -1;
    if (len < 0) {
        *part = span_of(NULL, 0);
        return used;
    }
    if (in.n - (size_t)used < (size_t)len + 2)
        return 0;
    const uint8_t *end = in.p + used + len;
    *part = span_of(in.p + used, (size_t)len);
    return end[0] == '\r' && end[1] == '\n' ? used + (ptrdiff_t)len + 2 : -1;
}

/* One element of a push: bulk string (nil: empty), integer or status. */
static ptrdiff_t take_part(struct span in, size_t max_bulk, struct span *part)
{
    if (in.n == 0)
        return 0;
    if (in.p[0] == '$')
        return take_bulk(in, max_bulk, part);
    struct span line;
    ptrdiff_t used = take_line(in, &line);
    if (used <= 0)
        return used;
    if (line.n == 0 || (line.p[0] != ':' && line.p[0] != '+'))
        return -1;
    *part = span_of(line.p + 1, line.n - 1);
    return used;
}

static void classify(const struct span *part, long long n, struct resp_push *out)
{
    *out = (struct resp_push){.kind = RESP_OTHER};
    struct span word = part[0];
    if (n == 3 && SPAN_IS(word, "message")) {
        *out = (struct resp_push){RESP_MESSAGE, false, part[1], part[2]};
    } else if (n == 4 && SPAN_IS(word, "pmessage")) {
        *out = (struct resp_push){RESP_MESSAGE, true, part[2], part[3]};
    } else if (n == 3) {
        out->channel = part[1];
        if (SPAN_IS(word, "subscribe") || SPAN_IS(word, "psubscribe"))
            out->kind = RESP_SUBSCRIBED;
        else if (SPAN_IS(word, "unsubscribe") || SPAN_IS(word, "punsubscribe"))
            out->kind = RESP_UNSUBSCRIBED;
        out->is_pattern = word.n && word.p[0] == 'p';
    }
}

static ptrdiff_t parse_single(struct span in, struct resp_push *out)
{
    struct span line;
    ptrdiff_t used = take_line(in, &line);
    if (used <= 0)
        return used;
    *out = (struct resp_push){.kind = in.p[0] == '-' ? RESP_ERROR : RESP_OTHER,
                              .payload = span_of(line.p + 1, line.n - 1)};
    return used;
}

ptrdiff_t resp_push_parse(struct span in, size_t max_bulk, struct resp_push *out)
{
    if (in.n == 0)
        return 0;
    if (in.p[0] == '-' || in.p[0] == '+')
        return parse_single(in, out);
    long long n;
    ptrdiff_t used = in.p[0] == '*' ? take_number(in, &n) : -1;
    if (used <= 0)
        return used;
    if (n < 1 || n > MAX_PARTS)
        return -1;
    struct span part[MAX_PARTS];
    size_t at = (size_t)used;
    for (long long i = 0; i < n; i++) {
        used = take_part(span_of(in.p + at, in.n - at), max_bulk, &part[i]);
        if (used <= 0)
            return used;
        at += (size_t)used;
    }
    classify(part, n, out);
    return (ptrdiff_t)at;
}
