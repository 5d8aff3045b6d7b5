/*
 * fuzz_ws_ext.c - Sec-WebSocket-Extensions. Byte 0 holds the policy (bit 0: deflate, bit 1: takeover); the rest is the
 * header, a line feed beginning another line.
 *
 * Held to, beyond not crashing:
 * - the terms are within what zlib can do and what the policy allows, and all zero when nothing was agreed;
 * - lines say what they say joined by commas;
 * - what the grammar refuses is refused under every policy;
 * - our own answer, offered back to us, is agreed to with the same windows.
 */
#include "check.h"
#include "proto/ws_ext.h"

#define MAX_LINES 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned split(struct span s, struct span lines[MAX_LINES])
{
    unsigned n = 0;

    while (n < MAX_LINES - 1) {
        const uint8_t *lf = s.n ? memchr(s.p, '\n', s.n) : NULL;
        if (!lf) {
            break;
        }
        lines[n++] = span_of(s.p, (size_t)(lf - s.p));
        s = span_of(lf + 1, s.n - (size_t)(lf + 1 - s.p));
    }
    lines[n++] = s;
    return n;
}

static enum ws_ext_result ask(struct span *lines, unsigned n, bool deflate, bool takeover, struct ws_deflate *d)
{
    struct span exact[MAX_LINES];
    struct ws_ext_policy policy = {.deflate = deflate, .takeover = takeover};

    for (unsigned i = 0; i < n; i++) {
        exact[i] = check_exact(lines[i]);
    }
    enum ws_ext_result r = ws_ext_negotiate(exact, n, &policy, d);
    for (unsigned i = 0; i < n; i++) {
        check_free(exact[i]);
    }
    return r;
}

static void check_terms(const struct ws_deflate *d, bool takeover)
{
    struct ws_deflate again;
    char text[WS_EXT_ANSWER_MAX];

    CHECK(d->server_bits >= 9 && d->server_bits <= 15 && d->client_bits >= 8 && d->client_bits <= 15);
    CHECK(takeover || (!d->server_takeover && !d->client_takeover));
    CHECK(d->say_server_bits || d->server_bits == 15);
    CHECK(d->say_client_bits || d->client_bits == 15);
    struct span line = span_of(text, ws_ext_answer(d, text));
    CHECK(line.n == strlen(text));
    CHECK(ask(&line, 1, true, takeover, &again) == WS_EXT_DEFLATE);
    CHECK(memcmp(&again, d, sizeof(again)) == 0);
}

static void check_joined(struct span *lines, unsigned n, bool takeover, enum ws_ext_result want,
                         const struct ws_deflate *terms)
{
    struct buf b;
    struct ws_deflate d;

    buf_init(&b, CHECK_LARGE);
    for (unsigned i = 0; i < n; i++) {
        CHECK((i == 0 || buf_append_byte(&b, ',')) && buf_append_span(&b, lines[i]));
    }
    struct span joined = buf_span(&b);
    CHECK(ask(&joined, 1, true, takeover, &d) == want);
    CHECK(memcmp(&d, terms, sizeof(d)) == 0);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span lines[MAX_LINES];
    struct ws_deflate d, other;

    if (size == 0) {
        return 0;
    }
    bool deflate = data[0] & 1, takeover = data[0] & 2;
    unsigned n = split(span_of(data + 1, size - 1), lines);
    enum ws_ext_result r = ask(lines, n, deflate, takeover, &d);
    CHECK(deflate || r != WS_EXT_DEFLATE);
    CHECK((ask(lines, n, !deflate, !takeover, &other) == WS_EXT_BAD) == (r == WS_EXT_BAD));
    if (r == WS_EXT_DEFLATE) {
        check_terms(&d, takeover);
    } else {
        CHECK(d.server_bits == 0 && d.client_bits == 0 && !d.server_takeover && !d.client_takeover);
    }
    if (deflate) {
        check_joined(lines, n, takeover, r, &d);
    }
    return 0;
}
