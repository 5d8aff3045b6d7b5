/*
 * sse.c - events written in the event stream format.
 *
 * Idea: an event is a few lines "name: value" and an empty one. Only data may hold line ends, and becomes a line for
 * each of its lines; the space behind the colon is always there, so that no leading space of the data is taken for it.
 *
 * Any thread; pure. The size is known before anything is written, so what does not fit leaves the buffer as it was.
 */
#include "proto/sse.h"

#include <stdio.h>

static bool one_line(struct span s)
{
    return !s.n || (!memchr(s.p, '\n', s.n) && !memchr(s.p, '\r', s.n) && !memchr(s.p, '\0', s.n));
}

/* The next line of *rest, without its end; *more: another one follows, if only an empty one. */
static struct span next_line(struct span *rest, bool *more)
{
    size_t n = 0;
    while (n < rest->n && rest->p[n] != '\n' && rest->p[n] != '\r')
        n++;
    struct span line = span_of(rest->p, n);
    *more = n < rest->n;
    size_t end = *more ? n + 1 : n;
    if (*more && rest->p[n] == '\r' && end < rest->n && rest->p[end] == '\n')
        end++;
    *rest = span_of(rest->p + end, rest->n - end);
    return line;
}

static size_t decimal(uint32_t u, char out[12])
{
    int n = snprintf(out, 12, "%lu", (unsigned long)u);
    return n > 0 ? (size_t)n : 0;
}

/* Writes when p is there; counts in any case. */
struct sink {
    uint8_t *p;
    size_t n;
};

static void put(struct sink *s, struct span bytes)
{
    if (s->p && bytes.n)
        memcpy(s->p + s->n, bytes.p, bytes.n);
    s->n += bytes.n;
}

static void field(struct sink *s, struct span name, struct span value)
{
    put(s, name);
    put(s, SPAN_LIT(": "));
    put(s, value);
    put(s, SPAN_LIT("\n"));
}

static void write_event(struct sink *s, const struct sse_event *e)
{
    char digits[12];
    if (e->retry_ms)
        field(s, SPAN_LIT("retry"), span_of(digits, decimal(e->retry_ms, digits)));
    if (e->id.n)
        field(s, SPAN_LIT("id"), e->id);
    if (e->event.n)
        field(s, SPAN_LIT("event"), e->event);
    struct span rest = e->data;
    for (bool more = e->data.n > 0; more;)
        field(s, SPAN_LIT("data"), next_line(&rest, &more));
    put(s, SPAN_LIT("\n"));
}

size_t sse_size(const struct sse_event *e)
{
    struct sink s = {NULL, 0};
    write_event(&s, e);
    return s.n;
}

bool sse_write(struct buf *out, const struct sse_event *e)
{
    if (!one_line(e->id) || !one_line(e->event))
        return false;
    size_t n = sse_size(e);
    struct sink s = {buf_reserve(out, n), 0};
    if (!s.p)
        return false;
    write_event(&s, e);
    buf_commit(out, n);
    return true;
}

struct span sse_type_of(struct span object)
{
    static const char start[] = "{\"type\":\"";
    size_t n = sizeof start - 1;
    if (object.n <= n || memcmp(object.p, start, n) != 0)
        return (struct span){NULL, 0};
    const uint8_t *end = memchr(object.p + n, '"', object.n - n);
    return end ? span_of(object.p + n, (size_t)(end - object.p) - n) : (struct span){NULL, 0};
}
