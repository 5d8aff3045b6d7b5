/*
 * fuzz_ws_frame.c - WebSocket heads, masks, close payloads, keys and UTF-8. Byte 0 holds the switches (bit 0: frames
 * are from a client, bit 1: permessage-deflate), byte 1 picks where things are split; the rest is a stream of frames.
 *
 * Held to, beyond not crashing:
 * - a head says "more" at each shorter prefix, or the very fault it will have;
 * - write(parse(x)) is x, and parse(write(parse(x))) is parse(x);
 * - masking in two pieces is masking in one, and twice is not at all;
 * - UTF-8 in two pieces has the verdict of one, and agrees with a decoder written out in full.
 */
#include <stdio.h>
#include <stdlib.h>

#include "proto/utf8.h"
#include "proto/ws_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "not so: %s (line %d)\n", #what, __LINE__);                                                \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static enum ws_fault parse_exact(struct span s, bool client, bool deflate, struct ws_head *h)
{
    uint8_t *p = malloc(s.n ? s.n : 1);
    enum ws_fault fault;

    CHECK(p);
    if (s.n) {
        memcpy(p, s.p, s.n);
    }
    fault = ws_head_parse(span_of(p, s.n), client, deflate, h);
    free(p);
    return fault;
}

static void check_head(struct span s, bool client, bool deflate, const struct ws_head *h)
{
    uint8_t again[WS_MAX_HEAD];

    CHECK(h->size >= 2 && h->size <= (client ? WS_MAX_HEAD : WS_MAX_SERVER_HEAD) && h->size <= s.n);
    CHECK(h->masked == client && (deflate || !h->rsv1));
    CHECK(h->opcode < WS_CLOSE || (h->fin && h->length <= 125));
    CHECK(h->length <= INT64_MAX);
    CHECK(ws_head_write(again, h->fin, h->rsv1, h->opcode, h->length, client ? h->mask : NULL) == h->size);
    CHECK(memcmp(again, s.p, h->size) == 0);
}

static enum ws_fault check_prefixes(struct span s, bool client, bool deflate, struct ws_head *h)
{
    enum ws_fault whole = parse_exact(s, client, deflate, h);
    struct ws_head part;

    for (size_t n = 0; n < s.n && n < WS_MAX_HEAD; n++) {
        enum ws_fault fault = parse_exact(span_of(s.p, n), client, deflate, &part);
        if (whole == WS_OK) {
            CHECK(fault == (n < h->size ? WS_NEED_MORE : WS_OK));
        } else {
            CHECK(fault == WS_NEED_MORE || fault == whole);
        }
    }
    CHECK(whole != WS_NEED_MORE || s.n < WS_MAX_HEAD);
    CHECK(strlen(ws_fault_text(whole)) <= 123);
    return whole;
}

static void check_mask(struct span s, size_t cut, const uint8_t mask[4])
{
    uint8_t *one = malloc(s.n + 1), *two = malloc(s.n + 1);

    CHECK(one && two);
    if (s.n) {
        memcpy(one, s.p, s.n);
        memcpy(two, s.p, s.n);
    }
    ws_mask(one, s.n, mask, 0);
    ws_mask(two, cut, mask, 0);
    ws_mask(two + cut, s.n - cut, mask, cut);
    CHECK(memcmp(one, two, s.n) == 0);
    CHECK(s.n == 0 || one[s.n - 1] == (s.p[s.n - 1] ^ mask[(s.n - 1) % 4]));
    ws_mask(one, s.n, mask, 0);
    CHECK(s.n == 0 || memcmp(one, s.p, s.n) == 0);
    free(one);
    free(two);
}

/* RFC 3629 by arithmetic: how many bytes, which code point, was that the shortest way. */
static bool utf8_by_arithmetic(struct span s)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

    for (size_t i = 0; i < s.n;) {
        uint8_t b = s.p[i];
        size_t n = b < 0x80 ? 1 : b >> 5 == 6 ? 2 : b >> 4 == 14 ? 3 : b >> 3 == 30 ? 4 : 0;
        uint32_t cp = n < 2 ? b : b & (0x7Fu >> n);

        if (n == 0 || n > s.n - i) {
            return false;
        }
        for (size_t k = 1; k < n; k++) {
            if ((s.p[i + k] & 0xC0) != 0x80) {
                return false;
            }
            cp = cp << 6 | (s.p[i + k] & 0x3F);
        }
        if (cp < least[n] || cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF)) {
            return false;
        }
        i += n;
    }
    return true;
}

static void check_utf8(struct span s, size_t cut)
{
    struct utf8 u;
    bool valid = utf8_valid(s);

    CHECK(valid == utf8_by_arithmetic(s));
    utf8_init(&u);
    CHECK((utf8_feed(&u, span_of(s.p, cut)) && utf8_feed(&u, span_of(s.p + cut, s.n - cut)) && utf8_complete(&u)) ==
          valid);
}

static void check_close(struct span s)
{
    unsigned code;
    struct span reason;

    if (ws_close_parse(s, &code, &reason) == 0) {
        CHECK(s.n == 0 ? code == 1005 : code >= 1000 && code <= 4999 && code != 1005 && code != 1006);
        CHECK(reason.n == (s.n ? s.n - 2 : 0) && utf8_by_arithmetic(reason));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t mask[4] = {0x37, 0xFA, 0x21, 0x3D};
    bool client, deflate;
    struct span s;
    size_t cut;
    char accept[29];

    if (size < 2) {
        return 0;
    }
    client = data[0] & 1;
    deflate = data[0] & 2;
    s = span_of(data + 2, size - 2);
    cut = s.n * data[1] / 255;
    check_utf8(s, cut);
    check_mask(s, cut, mask);
    check_close(s);
    CHECK(!ws_key_ok(s) || s.n == 24);
    ws_accept_key(s, accept);
    CHECK(strlen(accept) == (s.n == 24 ? 28 : 0));
    while (s.n > 0) {
        struct ws_head h;
        size_t payload;

        if (check_prefixes(s, client, deflate, &h) != WS_OK) {
            break;
        }
        check_head(s, client, deflate, &h);
        s = span_of(s.p + h.size, s.n - h.size);
        payload = h.length < s.n ? (size_t)h.length : s.n;
        check_utf8(span_of(s.p, payload), payload * data[1] / 255);
        check_mask(span_of(s.p, payload), payload * data[1] / 255, client ? h.mask : mask);
        check_close(span_of(s.p, payload));
        s = span_of(s.p + payload, s.n - payload);
    }
    return 0;
}
