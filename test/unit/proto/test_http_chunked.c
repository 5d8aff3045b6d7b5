/*
 * test_http_chunked.c - the chunked coding: bodies and faults, each in two pieces cut at every byte and byte by byte,
 * against a guard page, with the same outcome as in one piece.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/http_head.h"

struct outcome {
    char body[8192];
    size_t n;
    size_t consumed;
    bool done, bad;
};

/* Feeds one piece until it is used up, the body ends or is malformed. */
static void feed(struct chunked *c, struct span in, struct outcome *o)
{
    while (!o->done && !o->bad) {
        struct span data;
        ptrdiff_t n = chunked_next(c, in, &data, &o->done);

        if (n < 0) {
            o->bad = true;
            return;
        }
        assert_true((size_t)n <= in.n && o->n + data.n <= sizeof(o->body));
        assert_true(n > 0 || in.n == 0);
        if (data.n) {
            assert_true(data.p >= in.p && data.p + data.n <= in.p + n);
            memcpy(o->body + o->n, data.p, data.n);
            o->n += data.n;
        }
        o->consumed += (size_t)n;
        in = span_of(in.p + n, in.n - (size_t)n);
        if (n == 0 && data.n == 0) {
            return;
        }
    }
}

static void decode_cut(struct span s, size_t cut, size_t step, struct outcome *o)
{
    struct chunked c;
    struct guard g;

    *o = (struct outcome){.n = 0};
    chunked_init(&c);
    guard_open(&g, s.n);
    for (size_t at = 0; at < s.n && !o->done && !o->bad;) {
        size_t n = step ? step : at == 0 && cut > 0 ? cut : s.n - at;
        n = n < s.n - at ? n : s.n - at;
        feed(&c, guard_load(&g, span_of(s.p + at, n)), o);
        at += n;
    }
    guard_free(&g);
}

static void decode(struct span s, struct outcome *whole)
{
    struct outcome other;

    decode_cut(s, 0, 0, whole);
    for (size_t cut = 1; cut <= s.n; cut++) {
        decode_cut(s, cut, cut == s.n ? 1 : 0, &other);
        assert_int_equal(other.done, whole->done);
        assert_int_equal(other.bad, whole->bad);
        assert_int_equal(other.n, whole->n);
        assert_memory_equal(other.body, whole->body, whole->n);
        if (!whole->bad) {
            assert_int_equal(other.consumed, whole->consumed);
        }
    }
}

static void reads_bodies(void **state)
{
    static const struct {
        const char *text, *body;
        size_t rest; /* bytes behind the end, which are not touched */
    } table[] = {
        {"0\r\n\r\n", "", 0},
        {"5\r\nhello\r\n0\r\n\r\n", "hello", 0},
        {"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nGET /", "hello!", 5},
        {"A\r\n0123456789\r\n000\r\n\r\n\r\n", "0123456789", 2},
        {"a;x\r\n0123456789\r\n0;y=\"z\"\r\n\r\n", "0123456789", 0},
        {"2 ;x\r\n\r\n\r\n0\t ;\r\n\r\n", "\r\n", 0},
        {"0000000000000002\r\nab\r\n0\r\n\r\n", "ab", 0},
        {"1\r\nx\r\n0\r\nExpires: never\r\nX-Sum:\r\n\r\n", "x", 0},
        {"1;\xE9\r\nx\r\n0\r\n\r\n", "x", 0},
    };
    struct outcome o;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        decode(span_str(table[i].text), &o);
        if (!o.done || o.n != strlen(table[i].body) || o.consumed + table[i].rest != strlen(table[i].text)) {
            fail_msg("%s", table[i].text);
        }
        assert_memory_equal(o.body, table[i].body, o.n);
    }
}

static void refuses(void **state)
{
    static const char *const table[] = {
        "\r\n",
        "g\r\n",
        " 5\r\nhello",
        "-5\r\n",
        "+5\r\n",
        "0x5\r\n",
        "5 \r\nhello\r\n",       /* white space belongs to an extension only */
        "5\nhello\r\n0\r\n\r\n", /* bare line feeds */
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\rhello\r\n",
        "5\r\nhello0\r\n\r\n", /* no CRLF behind the data */
        "5\r\nhello!\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5;\x01\r\nhello\r\n",
        "5;a\rb\r\nhello\r\n",
        "5;a\nb\r\nhello\r\n",
        "5x\r\nhello\r\n",
        "11111111111111111\r\n", /* 17 digits */
        "00000000000000005\r\nhello\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n: y\r\n\r\n",
        "0\r\nX: y\r\n z\r\n\r\n",
        "0\r\nX: \x7F\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\n\rX",
    };
    struct outcome o;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        decode(span_str(table[i]), &o);
        if (!o.bad || o.done) {
            fail_msg("%s", table[i]);
        }
    }
}

static void refuses_nul(void **state)
{
    struct outcome o;

    (void)state;
    decode(SPAN_LIT("\0"), &o);
    assert_true(o.bad);
    decode(SPAN_LIT("5;\0\r\nhello\r\n"), &o);
    assert_true(o.bad);
    decode(SPAN_LIT("3\r\na\0b\r\n0\r\n\r\n"), &o); /* in the data it is a byte like any other */
    assert_true(o.done);
    assert_memory_equal(o.body, "a\0b", 3);
}

/* 64 bits of size are read as they are, and no byte of the line is taken for data. */
static void reads_the_largest_size(void **state)
{
    struct chunked c;
    struct span data;
    bool done;

    (void)state;
    chunked_init(&c);
    assert_int_equal(chunked_next(&c, SPAN_LIT("ffffffffffffffff\r\nx"), &data, &done), 19);
    assert_int_equal(data.n, 1);
    assert_true(c.left == UINT64_MAX - 1);
    assert_false(done);
}

static bool line_passes(size_t extension)
{
    char text[400];
    struct outcome o;
    size_t n = (size_t)snprintf(text, sizeof(text), "1;");

    memset(text + n, 'x', extension);
    n += extension;
    n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\nz\r\n0\r\n\r\n");
    decode_cut(span_of(text, n), 0, 1, &o);
    return o.done;
}

static bool trailers_pass(size_t each, unsigned lines)
{
    char text[8192];
    struct outcome o;
    size_t n = (size_t)snprintf(text, sizeof(text), "0\r\n");

    for (unsigned i = 0; i < lines; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "T:%0*d\r\n", (int)each, 1);
    }
    n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
    decode_cut(span_of(text, n), 0, 1, &o);
    return o.done;
}

static void bounds(void **state)
{
    (void)state;
    assert_true(line_passes(0));
    assert_true(line_passes(250));
    assert_false(line_passes(257));
    assert_true(trailers_pass(10, 100));
    assert_false(trailers_pass(10, 500)); /* the bound is for all of them together */
    assert_true(trailers_pass(4000, 1));
    assert_false(trailers_pass(5000, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_bodies),           cmocka_unit_test(refuses), cmocka_unit_test(refuses_nul),
        cmocka_unit_test(reads_the_largest_size), cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
