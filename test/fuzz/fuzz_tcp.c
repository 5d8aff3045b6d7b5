/*
 * fuzz_tcp.c - the frames of a bare TCP client, and its hello. Byte 0 is the limit, byte 1 says where the stream is cut
 * in two; the rest is the stream, whose first byte picks the framing.
 *
 * Held to, beyond not crashing:
 * - the frames of a stream that comes in two pieces are those of one that comes whole;
 * - no object is longer than the limit, and each frame uses up more than its object;
 * - an object written as a frame is read back (a line's ends having become spaces);
 * - a hello that is accepted has valid names, and one that is not has a code and a sentence.
 */
#include "check.h"
#include "proto/hello.h"
#include "proto/names.h"
#include "proto/tcp_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_hello(enum codec c, struct span object)
{
    struct span in = check_exact(object);
    struct hello h;
    struct command_error err;
    struct buf scratch;
    buf_init(&scratch, in.n + 64);
    if (hello_parse(c, in, &scratch, &h, &err) == 0) {
        CHECK(!h.user.n || name_user_ok(h.user));
        CHECK(!h.device.n || name_device_ok(h.device));
        CHECK(h.has_since || h.since == 0);
    } else {
        CHECK(err.code[0] && err.message[0]);
    }
    buf_fini(&scratch);
    check_free(in);
}

static void check_written(enum codec c, struct span object, size_t max)
{
    size_t n = tcp_frame_size(c, object), scanned = 0, used = 0;
    uint8_t *p = malloc(n);
    struct span again;
    CHECK(p != NULL);
    tcp_frame_write(c, object, p);
    CHECK(tcp_frame_next(c, span_of(p, n), max, &scanned, &again, &used) == TCP_FRAME_OK && used == n);
    CHECK(again.n == object.n);
    for (size_t i = 0; i < object.n; i++) {
        bool end = c == CODEC_JSON && (object.p[i] == '\n' || object.p[i] == '\r');
        CHECK(again.p[i] == (end ? ' ' : object.p[i]));
    }
    free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    size_t max = data[0], cut = data[1];
    struct span in = check_exact(span_of(data + 2, size - 2));
    enum codec c = tcp_frame_codec(in.p[0]);
    bool first = true;
    for (size_t at = 0; at < in.n;) {
        struct span rest = span_of(in.p + at, in.n - at), object, other;
        struct span part = check_exact(span_of(rest.p, cut < rest.n ? cut : rest.n));
        size_t scanned = 0, again = 0, used = 0, used2 = 0;
        enum tcp_frame_result r = tcp_frame_next(c, rest, max, &scanned, &object, &used);
        enum tcp_frame_result p = tcp_frame_next(c, part, max, &again, &other, &used2);
        if (p == TCP_FRAME_NEED_MORE)
            p = tcp_frame_next(c, rest, max, &again, &other, &used2);
        check_free(part);
        CHECK(p == r);
        if (r != TCP_FRAME_OK)
            break;
        CHECK(used == used2 && used > object.n && object.n <= max && used <= rest.n);
        if (object.n)
            check_written(c, object, max);
        if (first && object.n)
            check_hello(c, object);
        first = first && !object.n;
        at += used;
    }
    check_free(in);
    return 0;
}
