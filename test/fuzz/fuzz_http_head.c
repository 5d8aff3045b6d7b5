/*
 * fuzz_http_head.c - request heads and chunked bodies. Byte 0 picks where the rest is split.
 *
 * Held to, beyond not crashing:
 * - a head that comes in two pieces, or byte by byte, ends with the verdict of the whole one, and never before;
 * - spans of an accepted head lie inside it, and none of its names, values and targets holds what RFC 9112 forbids;
 * - an accepted head, written out again from its parts, parses to the same parts;
 * - a chunked body in two pieces gives the same bytes and the same end as in one.
 */
#include <stdio.h>
#include <stdlib.h>

#include "proto/http_head.h"

#define MAX_HEAD 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "not so: %s (line %d)\n", #what, __LINE__);                                                \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* A copy of exactly n bytes, so that AddressSanitizer sees the first byte read behind them. */
static struct span exact(struct span s)
{
    uint8_t *p = malloc(s.n ? s.n : 1);

    CHECK(p);
    if (s.n) {
        memcpy(p, s.p, s.n);
    }
    return span_of(p, s.n);
}

static int verdict_of(struct span s, size_t *scanned)
{
    struct http_head h;
    struct http_error err = {0};
    struct span in = exact(s);
    int rc = http_head_parse(in, MAX_HEAD, scanned, &h, &err);

    CHECK(*scanned <= s.n);
    CHECK(rc <= (int)s.n);
    CHECK(rc >= 0 || (err.what && (err.status == 400 || err.status == 414 || err.status == 431 || err.status == 501 ||
                                   err.status == 505)));
    free((void *)(uintptr_t)in.p);
    return rc < 0 ? -(int)err.status : rc;
}

static void check_splits(struct span s, size_t cut, int whole)
{
    size_t carried = 0, crawling = 0;
    int rc = verdict_of(span_of(s.p, cut), &carried);

    CHECK(rc == 0 || rc == whole);
    if (rc == 0) {
        CHECK(verdict_of(s, &carried) == whole);
    }
    rc = 0;
    for (size_t n = 0; n <= s.n && rc == 0; n++) {
        rc = verdict_of(span_of(s.p, n), &crawling);
        CHECK(rc == 0 || rc == whole);
        CHECK(rc <= 0 || (size_t)rc == n);
    }
    CHECK(rc == whole);
}

static bool inside(struct span part, struct span whole)
{
    return part.p >= whole.p && part.p + part.n <= whole.p + whole.n;
}

static void check_text(struct span s, bool target)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        CHECK(c != 0x7F && (c >= 0x20 || (c == '\t' && !target)));
        CHECK(!target || (c > 0x20 && c < 0x7F && c != '#'));
    }
}

static void check_spans(struct span in, const struct http_head *h)
{
    CHECK(inside(h->method_name, in) && h->method_name.n > 0);
    CHECK(inside(h->target, in));
    check_text(h->target, true);
    CHECK(h->path.n > 0 && (h->path.p[0] == '/' || (h->method == HTTP_OPTIONS && SPAN_IS(h->path, "*"))));
    CHECK(inside(h->path, in) || SPAN_IS(h->path, "/"));
    CHECK(inside(h->query, in));
    CHECK(h->host.n > 0 ? inside(h->host, in) : h->minor == 0);
    CHECK(h->nfields <= HTTP_MAX_HEADERS && h->minor <= 1);
    CHECK(!(h->chunked && h->has_length));
    CHECK(h->length <= INT64_MAX);
    for (unsigned i = 0; i < h->nfields; i++) {
        CHECK(inside(h->fields[i].name, in) && h->fields[i].name.n > 0);
        CHECK(inside(h->fields[i].value, in));
        check_text(h->fields[i].value, false);
    }
}

static void check_rewritten(const struct http_head *h)
{
    char text[4 * MAX_HEAD];
    struct http_head again;
    struct http_error err;
    size_t scanned = 0;
    int n = snprintf(text, sizeof(text), "%.*s %.*s HTTP/1.%u\r\n", SPAN_ARG(h->method_name), SPAN_ARG(h->target),
                     h->minor);

    for (unsigned i = 0; i < h->nfields; i++) {
        n += snprintf(text + n, sizeof(text) - (size_t)n, "%.*s:%.*s\r\n", SPAN_ARG(h->fields[i].name),
                      SPAN_ARG(h->fields[i].value));
    }
    n += snprintf(text + n, sizeof(text) - (size_t)n, "\r\n");
    CHECK(http_head_parse(span_of(text, (size_t)n), sizeof(text), &scanned, &again, &err) == n);
    CHECK(again.nfields == h->nfields && again.method == h->method && again.keep_alive == h->keep_alive);
    CHECK(span_eq(again.path, h->path) && span_eq(again.query, h->query) && span_eq(again.host, h->host));
    CHECK(again.chunked == h->chunked && again.has_length == h->has_length && again.length == h->length);
    CHECK(again.upgrade_websocket == h->upgrade_websocket);
    for (unsigned i = 0; i < h->nfields; i++) {
        CHECK(span_eq(again.fields[i].name, h->fields[i].name) && span_eq(again.fields[i].value, h->fields[i].value));
    }
}

static void check_questions(const struct http_head *h)
{
    char out[32];
    int n = http_query(h->query, "user", out, sizeof(out));
    struct span cookie = http_cookie(h, "token");

    CHECK(n >= -2 && n <= (int)sizeof(out));
    CHECK(n <= 0 || memchr(out, '\0', (size_t)n) == NULL);
    n = http_unescape(h->path, out, sizeof(out));
    CHECK(n == -2 || (n >= 0 && (size_t)n <= h->path.n));
    CHECK(!cookie.p || http_field(h, "cookie").p);
    CHECK(!http_list_has(h, "connection", "upgrade") || http_field(h, "Connection").n >= 7 || h->nfields > 1);
}

struct body {
    uint8_t *bytes;
    size_t n, consumed;
    bool done, bad;
};

static void body_feed(struct chunked *c, struct span s, struct body *b)
{
    struct span copy = exact(s);
    struct span in = copy;

    while (in.n > 0 && !b->done && !b->bad) {
        struct span data;
        ptrdiff_t n = chunked_next(c, in, &data, &b->done);
        if (n < 0) {
            b->bad = true;
            break;
        }
        CHECK(n > 0 && (size_t)n <= in.n);
        CHECK(data.n == 0 || inside(data, span_of(in.p, (size_t)n)));
        if (data.n) {
            memcpy(b->bytes + b->n, data.p, data.n);
        }
        b->n += data.n;
        b->consumed += (size_t)n;
        in = span_of(in.p + n, in.n - (size_t)n);
    }
    free((void *)(uintptr_t)copy.p);
}

static void check_body(struct span s, size_t cut)
{
    struct chunked c1, c2;
    struct body whole = {.bytes = malloc(s.n + 1)}, pieces = {.bytes = malloc(s.n + 1)};

    CHECK(whole.bytes && pieces.bytes);
    chunked_init(&c1);
    chunked_init(&c2);
    body_feed(&c1, s, &whole);
    body_feed(&c2, span_of(s.p, cut), &pieces);
    body_feed(&c2, span_of(s.p + cut, s.n - cut), &pieces);
    CHECK(whole.done == pieces.done && whole.bad == pieces.bad && whole.n == pieces.n);
    CHECK(memcmp(whole.bytes, pieces.bytes, whole.n) == 0);
    CHECK(whole.bad || whole.consumed == pieces.consumed);
    CHECK(!whole.done || (s.p[whole.consumed - 1] == '\n' && s.p[whole.consumed - 2] == '\r'));
    free(whole.bytes);
    free(pieces.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_head h;
    struct http_error err;
    size_t scanned = 0, cut;
    struct span s;
    int whole;

    if (size < 1) {
        return 0;
    }
    s = span_of(data + 1, size - 1);
    cut = s.n * data[0] / 255;
    whole = verdict_of(s, &scanned);
    check_splits(s, cut, whole);
    check_body(s, cut);
    scanned = 0;
    if (whole > 0 && http_head_parse(s, MAX_HEAD, &scanned, &h, &err) > 0) {
        struct span head = span_of(s.p, (size_t)whole), rest = span_of(s.p + whole, s.n - (size_t)whole);
        check_spans(head, &h);
        check_rewritten(&h);
        check_questions(&h);
        check_body(rest, rest.n * data[0] / 255);
    }
    return 0;
}
