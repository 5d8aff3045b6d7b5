/*
 * sse_reader.h - the client's side of the event stream format, written from the WHATWG text (section 9.2.6), for the
 * tests and the fuzz target of proto/sse.c.
 */
#ifndef TEST_UNIT_PROTO_SSE_READER_H
#define TEST_UNIT_PROTO_SSE_READER_H

#include <stdlib.h>

#include "core/buf.h"

struct sse_seen {
    struct span rest;
    struct buf data, event, id; /* id: the last event id, kept from event to event */
    unsigned long retry;
};

static inline void sse_reader_open(struct sse_seen *s, struct span stream)
{
    *s = (struct sse_seen){.rest = stream};
    buf_init(&s->data, 64u << 20);
    buf_init(&s->event, 64u << 20);
    buf_init(&s->id, 64u << 20);
}

static inline void sse_reader_close(struct sse_seen *s)
{
    buf_fini(&s->data);
    buf_fini(&s->event);
    buf_fini(&s->id);
}

static inline void sse_reader_set(struct buf *b, struct span v)
{
    b->len = 0;
    if (!buf_append_span(b, v))
        abort();
}

static inline void sse_reader_field(struct sse_seen *s, struct span name, struct span value)
{
    if (SPAN_IS(name, "event")) {
        sse_reader_set(&s->event, value);
    } else if (SPAN_IS(name, "data")) {
        if (!buf_append_span(&s->data, value) || !buf_append_byte(&s->data, '\n'))
            abort();
    } else if (SPAN_IS(name, "id")) {
        if (!value.n || !memchr(value.p, '\0', value.n))
            sse_reader_set(&s->id, value);
    } else if (SPAN_IS(name, "retry")) {
        s->retry = 0;
        for (size_t i = 0; i < value.n; i++)
            s->retry = s->retry * 10 + (unsigned long)(value.p[i] - '0');
    }
}

/* One line with its end. */
static inline struct span sse_reader_line(struct sse_seen *s)
{
    const uint8_t *p = s->rest.p;
    size_t n = 0;
    while (n < s->rest.n && p[n] != '\n' && p[n] != '\r')
        n++;
    size_t end = n < s->rest.n ? n + 1 : n;
    if (n + 1 < s->rest.n && p[n] == '\r' && p[n + 1] == '\n')
        end++;
    s->rest = span_of(p + end, s->rest.n - end);
    return span_of(p, n);
}

/* The next event that a client would dispatch; its data is in s->data. False: the stream is used up. */
static inline bool sse_reader_next(struct sse_seen *s)
{
    s->data.len = s->event.len = 0;
    while (s->rest.n) {
        struct span line = sse_reader_line(s);
        const uint8_t *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
        if (line.n == 0 && s->data.len == 0) {
            s->event.len = 0;
        } else if (line.n == 0) {
            s->data.len--; /* the last \n */
            return true;
        } else if (!colon) {
            sse_reader_field(s, line, (struct span){NULL, 0});
        } else if (colon > line.p) {
            struct span value = span_of(colon + 1, (size_t)(line.p + line.n - colon - 1));
            if (value.n && value.p[0] == ' ')
                value = span_of(value.p + 1, value.n - 1);
            sse_reader_field(s, span_of(line.p, (size_t)(colon - line.p)), value);
        }
    }
    return false;
}

#endif
