/*
 * test_deflate.c - messages packed and unpacked: the examples of RFC 7692 section 7.2.3, round trips at every window
 * and many lengths, contexts that go on, and what is not deflate, too big or not text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <zlib.h>

#include "core/hash.h"
#include "guard.h"
#include "net/deflate.h"

#define MAX (64u * 1024)

static enum unpacked unpack(struct deflate *d, struct unpacker *own, struct span in, size_t max, bool text,
                            struct span *out)
{
    struct guard g;
    enum unpacked r = deflate_unpack(d, own, guard_copy(&g, in), max, text, out);

    guard_free(&g);
    return r;
}

static struct deflate *new_deflate(void)
{
    struct deflate *d = deflate_new(6);

    assert_non_null(d);
    return d;
}

static void expect_text(struct deflate *d, struct unpacker *own, struct span in, const char *want)
{
    struct span out;

    assert_int_equal(unpack(d, own, in, MAX, true, &out), UNPACKED);
    if (!span_eq(out, span_str(want)))
        fail_msg("\"%.*s\", not \"%s\"", SPAN_ARG(out), want);
}

static void rfc_examples(void **state)
{
    struct deflate *d = new_deflate();
    struct unpacker *u = unpacker_new(15);

    (void)state;
    assert_non_null(u);
    /* 7.2.3.1: one block; 7.2.3.2: the same window; 7.2.3.3: stored; 7.2.3.4: BFINAL; 7.2.3.5: two blocks */
    expect_text(d, u, SPAN_LIT("\xf2\x48\xcd\xc9\xc9\x07\x00"), "Hello");
    expect_text(d, u, SPAN_LIT("\xf2\x00\x11\x00\x00"), "Hello");
    expect_text(d, NULL, SPAN_LIT("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), "Hello");
    expect_text(d, NULL, SPAN_LIT("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), "Hello");
    expect_text(d, NULL, SPAN_LIT("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), "Hello");
    /* 7.2.3.6: an empty message is one byte */
    expect_text(d, NULL, SPAN_LIT("\x00"), "");
    expect_text(d, u, SPAN_LIT("\x00"), "");
    /* a final block with nothing behind it, and two of them */
    expect_text(d, NULL, SPAN_LIT("\xf3\x48\xcd\xc9\xc9\x07\x00"), "Hello");
    expect_text(d, NULL, SPAN_LIT("\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), "HelloHello");
    unpacker_free(u);
    deflate_free(d);
}

/* Blocks behind a final one may point into what was before it, in the message and in the next. */
static void final_block_keeps_window(void **state)
{
    struct deflate *d = new_deflate();
    struct unpacker *u = unpacker_new(15);

    (void)state;
    assert_non_null(u);
    expect_text(d, u, SPAN_LIT("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), "Hello");
    expect_text(d, u, SPAN_LIT("\xf2\x00\x11\x00\x00"), "Hello");
    expect_text(d, u, SPAN_LIT("\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00"), "HelloHello");
    unpacker_free(u);
    deflate_free(d);
}

/* What one client sent is not there for the next. */
static void shared_inflater_forgets(void **state)
{
    struct deflate *d = new_deflate();
    struct span out;

    (void)state;
    expect_text(d, NULL, SPAN_LIT("\xf2\x48\xcd\xc9\xc9\x07\x00"), "Hello");
    assert_int_equal(unpack(d, NULL, SPAN_LIT("\xf2\x00\x11\x00\x00"), MAX, true, &out), UNPACK_BAD);
    expect_text(d, NULL, SPAN_LIT("\xf2\x48\xcd\xc9\xc9\x07\x00"), "Hello");
    deflate_free(d);
}

/* Half words, half noise. */
static void fill(uint8_t *p, size_t n, unsigned noise)
{
    random_bytes(p, n);
    for (size_t i = 0; i < n; i++)
        if (i / 64 % 4 >= noise)
            p[i] = "a few words that come again and again "[i % 38];
}

/* An inflater with exactly that window, as a client may have: distances that reach too far are errors to it. */
static void check_with_window(struct span packed, unsigned bits, struct span want)
{
    uint8_t *out = malloc(want.n + 1);
    z_stream z = {0};
    static const uint8_t tail[4] = {0, 0, 0xff, 0xff};

    assert_non_null(out);
    assert_int_equal(inflateInit2(&z, -(int)bits), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)packed.p;
    z.avail_in = (uInt)packed.n;
    z.next_out = out;
    size_t left = want.n + 1;
    while (z.avail_in) { /* small pieces: zlib holds distances against the window only across calls */
        z.avail_out = left < 100 ? (uInt)left : 100;
        uInt room = z.avail_out;
        assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
        left -= room - z.avail_out;
        assert_true(left > 0);
    }
    z.next_in = (Bytef *)(uintptr_t)tail;
    z.avail_in = sizeof(tail);
    z.avail_out = (uInt)left;
    int r = inflate(&z, Z_SYNC_FLUSH);
    assert_true(r == Z_OK || r == Z_BUF_ERROR);
    assert_int_equal((size_t)(z.next_out - out), want.n);
    assert_memory_equal(out, want.p, want.n);
    (void)inflateEnd(&z);
    free(out);
}

static void round_trips(void **state)
{
    static const size_t lengths[] = {1, 2, 3, 100, 255, 256, 257, 511, 512, 513, 1000, 4095, 16384, 40000, MAX};
    struct deflate *d = new_deflate();
    uint8_t *in = malloc(MAX);
    struct span packed, out;

    (void)state;
    assert_non_null(in);
    for (unsigned bits = 9; bits <= 15; bits++) {
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            struct span m = span_of(in, lengths[i]);
            fill(in, m.n, (unsigned)i % 5);
            assert_true(deflate_pack(d, NULL, bits, m, &packed));
            check_with_window(packed, bits, m);
            assert_int_equal(unpack(d, NULL, packed, m.n, false, &out), UNPACKED);
            assert_true(span_eq(out, m));
            if (m.n > 1)
                assert_int_equal(unpack(d, NULL, packed, m.n - 1, false, &out), UNPACK_TOO_BIG);
        }
    }
    free(in);
    deflate_free(d);
}

/* The same bytes from any shard and at any time: nothing of earlier messages is left in a shared compressor. */
static void the_same_each_time(void **state)
{
    struct deflate *d = new_deflate(), *other = new_deflate();
    uint8_t in[2000], first[4000];
    struct span packed;

    (void)state;
    fill(in, sizeof(in), 1);
    assert_true(deflate_pack(d, NULL, 12, span_of(in, sizeof(in)), &packed));
    size_t n = packed.n;
    assert_true(n < sizeof(first));
    memcpy(first, packed.p, n);
    assert_true(deflate_pack(d, NULL, 12, span_of(in + 7, 900), &packed));
    assert_true(deflate_pack(d, NULL, 15, span_of(in, 900), &packed));
    assert_true(deflate_pack(d, NULL, 12, span_of(in, sizeof(in)), &packed));
    assert_true(span_eq(packed, span_of(first, n)));
    assert_true(deflate_pack(other, NULL, 12, span_of(in, sizeof(in)), &packed));
    assert_true(span_eq(packed, span_of(first, n)));
    deflate_free(d);
    deflate_free(other);
}

static void takeover(void **state)
{
    struct deflate *d = new_deflate();
    struct packer *p = packer_new(6, 11);
    struct unpacker *u = unpacker_new(11);
    uint8_t in[600];
    struct span m = span_of(in, sizeof(in)), packed, out;

    (void)state;
    assert_true(p && u);
    random_bytes(in, sizeof(in));
    for (int i = 0; i < 5; i++) {
        assert_true(deflate_pack(d, p, 11, m, &packed));
        assert_true(i == 0 ? packed.n > 500 : packed.n < 50); /* noise, and then the same again */
        assert_int_equal(unpack(d, u, packed, MAX, false, &out), UNPACKED);
        assert_true(span_eq(out, m));
    }
    /* a message that is not sent: the next must not lean on it, nor on any before */
    assert_true(deflate_pack(d, p, 11, m, &packed));
    packer_forget(p);
    assert_true(deflate_pack(d, p, 11, m, &packed));
    assert_true(packed.n > 500);
    assert_int_equal(unpack(d, u, packed, MAX, false, &out), UNPACKED);
    assert_true(span_eq(out, m));
    packer_free(p);
    unpacker_free(u);
    deflate_free(d);
}

/* A client that asked for 8 bits may really use 9: distances of 400 from message to message. */
static void window_of_eight(void **state)
{
    struct deflate *d = new_deflate();
    struct unpacker *u = unpacker_new(8);
    struct packer *p = packer_new(6, 10);
    uint8_t in[400];
    struct span m = span_of(in, sizeof(in)), packed, out;

    (void)state;
    assert_true(p && u);
    random_bytes(in, sizeof(in));
    for (int i = 0; i < 3; i++) {
        assert_true(deflate_pack(d, p, 10, m, &packed));
        assert_true(i == 0 || packed.n < 50);
        assert_int_equal(unpack(d, u, packed, MAX, false, &out), UNPACKED);
        assert_true(span_eq(out, m));
    }
    packer_free(p);
    unpacker_free(u);
    deflate_free(d);
}

static void bombs(void **state)
{
    struct deflate *d = new_deflate();
    size_t n = 32u << 20;
    uint8_t *zeros = calloc(1, n);
    struct span packed, out;

    (void)state;
    assert_non_null(zeros);
    assert_true(deflate_pack(d, NULL, 15, span_of(zeros, n), &packed));
    assert_true(packed.n < 40000);
    assert_int_equal(unpack(d, NULL, packed, MAX, false, &out), UNPACK_TOO_BIG);
    assert_int_equal(out.n, 0);
    assert_int_equal(unpack(d, NULL, packed, n - 1, false, &out), UNPACK_TOO_BIG);
    deflate_trim(d);
    assert_true(deflate_pack(d, NULL, 15, span_of(zeros, n), &packed));
    assert_int_equal(unpack(d, NULL, packed, n, true, &out), UNPACKED);
    assert_int_equal(out.n, n);
    /* the limit is exact around the size of a step */
    for (size_t max = 16383; max <= 16386; max++) {
        assert_true(deflate_pack(d, NULL, 15, span_of(zeros, max), &packed));
        assert_int_equal(unpack(d, NULL, packed, max, false, &out), UNPACKED);
        assert_int_equal(out.n, max);
        assert_true(deflate_pack(d, NULL, 15, span_of(zeros, max + 1), &packed));
        assert_int_equal(unpack(d, NULL, packed, max, false, &out), UNPACK_TOO_BIG);
    }
    free(zeros);
    deflate_free(d);
}

static void not_deflate(void **state)
{
    static const struct span table[] = {
        {NULL, 0},                                        /* even an empty message has a byte */
        SPAN_LIT("\xff"),                                 /* block type 3 */
        SPAN_LIT("\x07"),                                 /* the same, final */
        SPAN_LIT("Hello"),                                /* stored, lengths that contradict each other */
        SPAN_LIT("\x00\x05\x00\xfa\xff\x48\x65"),         /* stored, cut off */
        SPAN_LIT("\xf2\x48\xcd\xc9"),                     /* cut off inside a block */
        SPAN_LIT("\x01\x05\x00\xfa\xff\x48\x65\x6c"),     /* the same in a final one */
        SPAN_LIT("\xf2\x00\x11\x00\x00"),                 /* points before the beginning */
        SPAN_LIT("\x04\xc0\x81\x08"),                     /* dynamic, cut off */
        SPAN_LIT("\xfc\xff\xff\xff\xff\xff\xff\xff"),     /* dynamic, nonsense */
        SPAN_LIT("\x78\x9c\xf2\x48\xcd\xc9\xc9\x07\x00"), /* with a zlib head */
    };
    struct deflate *d = new_deflate();
    struct span out;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (unpack(d, NULL, table[i], MAX, false, &out) != UNPACK_BAD)
            fail_msg("entry %zu was not refused", i);
        assert_int_equal(out.n, 0);
        expect_text(d, NULL, SPAN_LIT("\xf2\x48\xcd\xc9\xc9\x07\x00"), "Hello"); /* no harm done */
    }
    deflate_free(d);
}

/* Text is judged over all steps, to its last character. */
static void text(void **state)
{
    struct deflate *d = new_deflate();
    uint8_t in[40000];
    struct span packed, out;

    (void)state;
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t) "\xe2\x82\xac"[i % 3]; /* characters across the borders of steps */
    assert_true(deflate_pack(d, NULL, 15, span_of(in, sizeof(in) / 3 * 3), &packed));
    assert_int_equal(unpack(d, NULL, packed, MAX, true, &out), UNPACKED);
    assert_true(deflate_pack(d, NULL, 15, span_of(in, sizeof(in) / 3 * 3 - 1), &packed));
    assert_int_equal(unpack(d, NULL, packed, MAX, true, &out), UNPACK_NOT_TEXT);
    assert_int_equal(unpack(d, NULL, packed, MAX, false, &out), UNPACKED);
    in[20000] = 0xff;
    assert_true(deflate_pack(d, NULL, 15, span_of(in, sizeof(in) / 3 * 3), &packed));
    assert_int_equal(unpack(d, NULL, packed, MAX, true, &out), UNPACK_NOT_TEXT);
    deflate_free(d);
}

/* Noise never does harm; some of it is deflate by chance. */
static void noise(void **state)
{
    struct deflate *d = new_deflate();
    struct unpacker *u = NULL;
    uint8_t in[64];
    struct span out;
    unsigned bad = 0;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        size_t n = 1 + (size_t)random_below(sizeof(in));
        random_bytes(in, n);
        if (i % 3 == 0)
            in[0] = (uint8_t)(in[0] & 0xf8) | 2; /* begins as a fixed block */
        bad += deflate_unpack(d, NULL, span_of(in, n), 4096, i & 1, &out) == UNPACK_BAD;
        unpacker_free(u);
        u = unpacker_new(8 + i % 8);
        assert_non_null(u);
        for (int k = 0; k < 3; k++)
            if (deflate_unpack(d, u, span_of(in, n), 4096, false, &out) != UNPACKED)
                break;
    }
    assert_true(bad > 10000);
    unpacker_free(u);
    deflate_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_examples),
        cmocka_unit_test(final_block_keeps_window),
        cmocka_unit_test(shared_inflater_forgets),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(the_same_each_time),
        cmocka_unit_test(takeover),
        cmocka_unit_test(window_of_eight),
        cmocka_unit_test(bombs),
        cmocka_unit_test(not_deflate),
        cmocka_unit_test(text),
        cmocka_unit_test(noise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
