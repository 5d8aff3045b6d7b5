/*
 * tcp_frame.c - framing of the bare TCP transport. Any thread; pure; nothing is owned.
 */
#include "proto/tcp_frame.h"

static enum tcp_frame_result next_line(struct span in, size_t max, size_t *scanned, struct span *object, size_t *used)
{
    size_t from = *scanned < in.n ? *scanned : in.n;
    const uint8_t *end = in.n > from ? memchr(in.p + from, '\n', in.n - from) : NULL;
    size_t n = end ? (size_t)(end - in.p) : in.n;
    bool cr = end && n && in.p[n - 1] == '\r';
    if (n - cr > max + (end ? 0 : 1)) /* a CR may be the start of the line end */
        return TCP_FRAME_TOO_BIG;
    *scanned = end ? 0 : in.n;
    if (!end)
        return TCP_FRAME_NEED_MORE;
    *object = span_of(in.p, n - cr);
    *used = n + 1;
    return TCP_FRAME_OK;
}

static enum tcp_frame_result next_length(struct span in, size_t max, struct span *object, size_t *used)
{
    if (in.n < TCP_FRAME_HEAD)
        return TCP_FRAME_NEED_MORE;
    size_t n = (size_t)in.p[0] << 24 | (size_t)in.p[1] << 16 | (size_t)in.p[2] << 8 | in.p[3];
    if (n == 0)
        return TCP_FRAME_EMPTY;
    if (n > max)
        return TCP_FRAME_TOO_BIG;
    if (in.n - TCP_FRAME_HEAD < n)
        return TCP_FRAME_NEED_MORE;
    *object = span_of(in.p + TCP_FRAME_HEAD, n);
    *used = TCP_FRAME_HEAD + n;
    return TCP_FRAME_OK;
}

enum tcp_frame_result tcp_frame_next(enum codec c, struct span in, size_t max, size_t *scanned, struct span *object,
                                     size_t *used)
{
    return c == CODEC_JSON ? next_line(in, max, scanned, object, used) : next_length(in, max, object, used);
}

size_t tcp_frame_size(enum codec c, struct span object)
{
    return object.n + (c == CODEC_JSON ? 1 : TCP_FRAME_HEAD);
}

void tcp_frame_write(enum codec c, struct span object, uint8_t *out)
{
    if (c == CODEC_MSGPACK) {
        for (unsigned i = 0; i < TCP_FRAME_HEAD; i++)
            out[i] = (uint8_t)(object.n >> (8 * (TCP_FRAME_HEAD - 1 - i)));
        memcpy(out + TCP_FRAME_HEAD, object.p, object.n);
        return;
    }
    for (size_t i = 0; i < object.n; i++)
        out[i] = object.p[i] == '\n' || object.p[i] == '\r' ? ' ' : object.p[i];
    out[object.n] = '\n';
}
