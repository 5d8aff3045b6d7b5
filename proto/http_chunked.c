/*
 * http_chunked.c - the chunked transfer coding (RFC 9112 section 7.1), as its bytes arrive.
 *
 * The idea: the framing goes through a state machine one byte at a time (there is little of it), the data in pieces as
 * large as the input has them. Every byte that is looked at is consumed, so a caller never has to keep any for the next
 * call, and nothing behind the end of the body is touched.
 *
 * Bounds: 16 digits in a size, 256 bytes in a size line, 4 KiB of trailers. A line feed alone, white space in front of
 * a size or behind one without an extension, and a trailer line that is not a field are malformed: the proxies in front
 * of us must not be able to see another end of the body than we do.
 *
 * Pure; any thread. Nothing is allocated.
 */
#include "proto/http_text.h"

#define MAX_DIGITS    16
#define MAX_SIZE_LINE 256
#define MAX_TRAILERS  4096

enum chunked_state {
    SIZE_START,
    SIZE_MORE,
    SIZE_SPACE, /* white space in front of an extension */
    SIZE_EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START, /* at the beginning of a trailer line, or of the last, empty one */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    DONE,
    MALFORMED,
};

void chunked_init(struct chunked *c)
{
    *c = (struct chunked){.state = SIZE_START};
}

static enum chunked_state size_step(struct chunked *c, enum chunked_state state, uint8_t b)
{
    int digit = http_hex(b);

    if (++c->line > MAX_SIZE_LINE) {
        return MALFORMED;
    }
    if (state == SIZE_START || (state == SIZE_MORE && digit >= 0)) {
        if (digit < 0 || c->line > MAX_DIGITS) {
            return MALFORMED;
        }
        c->left = c->left << 4 | (uint64_t)digit;
        return SIZE_MORE;
    }
    if (b == '\r') {
        return state == SIZE_SPACE ? MALFORMED : SIZE_LF;
    }
    if (state == SIZE_EXTENSION) {
        return http_is_value(b) ? SIZE_EXTENSION : MALFORMED;
    }
    if (b == ';') {
        return SIZE_EXTENSION;
    }
    return b == ' ' || b == '\t' ? SIZE_SPACE : MALFORMED;
}

static enum chunked_state trailer_step(struct chunked *c, enum chunked_state state, uint8_t b)
{
    if (++c->line > MAX_TRAILERS) {
        return MALFORMED;
    }
    if (state == TRAILER_START) {
        return b == '\r' ? LAST_LF : http_is_token(b) ? TRAILER_NAME : MALFORMED;
    }
    if (state == TRAILER_NAME) {
        return b == ':' ? TRAILER_VALUE : http_is_token(b) ? TRAILER_NAME : MALFORMED;
    }
    return b == '\r' ? TRAILER_LF : http_is_value(b) ? TRAILER_VALUE : MALFORMED;
}

/* The state behind one byte that is not data. */
static enum chunked_state step(struct chunked *c, uint8_t b)
{
    enum chunked_state state = (enum chunked_state)c->state;

    switch (state) {
    case SIZE_START:
    case SIZE_MORE:
    case SIZE_SPACE:
    case SIZE_EXTENSION:
        return size_step(c, state, b);
    case SIZE_LF:
        c->line = 0;
        return b != '\n' ? MALFORMED : c->left ? DATA : TRAILER_START;
    case DATA_CR:
        return b == '\r' ? DATA_LF : MALFORMED;
    case DATA_LF:
        return b == '\n' ? SIZE_START : MALFORMED;
    case TRAILER_START:
    case TRAILER_NAME:
    case TRAILER_VALUE:
        return trailer_step(c, state, b);
    case TRAILER_LF:
        return b == '\n' ? TRAILER_START : MALFORMED;
    case LAST_LF:
        return b == '\n' ? DONE : MALFORMED;
    case DATA:
    case DONE:
    case MALFORMED:
        break;
    }
    return MALFORMED;
}

ptrdiff_t chunked_next(struct chunked *c, struct span in, struct span *data, bool *done)
{
    size_t at = 0;

    *data = span_of(NULL, 0);
    while (at < in.n && c->state != DATA && c->state != DONE) {
        c->state = step(c, in.p[at++]);
        if (c->state == MALFORMED) {
            *done = false;
            return -1;
        }
    }
    if (at < in.n && c->state == DATA) {
        size_t n = c->left < in.n - at ? (size_t)c->left : in.n - at;
        *data = span_of(in.p + at, n);
        at += n;
        c->left -= n;
        c->state = c->left ? DATA : DATA_CR;
    }
    *done = c->state == DONE;
    return (ptrdiff_t)at;
}
