/*
 * SipHash-1-3 against values of an independent implementation (CPython 3.11's hash of bytes, whose key follows from
 * PYTHONHASHSEED), SHA-1 against FIPS 180 and RFC 6455, and what can be said about random numbers.
 */
#include "core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "guard.h"

/* Of the bytes 0, 1, 2, ... n - 1 (mod 256). */
struct vector {
    size_t n;
    uint64_t hash;
};

static const uint64_t zero_key[2] = {0, 0};
static const struct vector with_zero_key[] = {
    {1, 0x68a914128e01e473},   {2, 0x010bac45c41e3669},   {7, 0x2f098ab0c751325a},   {8, 0xead411e67ebe2eea},
    {9, 0x75927f9d95124362},   {15, 0xf30eb725bb91c9ea},  {16, 0x8972188433a5c5b7},  {17, 0x4883c49a2c009c1d},
    {63, 0x385d3e39e5f37359},  {64, 0x75e05fd5bbc870c6},  {200, 0x7176378efd9e8a23}, {255, 0x5dc1f93ea135eb43},
    {256, 0x31ae646afba70308}, {300, 0x4a3ee92cf03a1ab4},
};

static const uint64_t seed42_key[2] = {0xdc504fd368cd90af, 0xb920bb9ffe99e9c1};
static const struct vector with_seed42_key[] = {
    {1, 0xce880c366bcf3489},   {2, 0xef32fbc0469f0756},   {7, 0xce280fabc397fbda},   {8, 0x60866c3c108c6afb},
    {9, 0x68814005f7469e03},   {15, 0x94ace24d68c18cf8},  {16, 0x339176f3ac59ce05},  {17, 0xed2706b414c296f1},
    {63, 0x06e24d6f0d014c37},  {64, 0x91639ef7de8d52cb},  {200, 0x8edc9abbc13e0591}, {255, 0xd02008474fae02c8},
    {256, 0x0d0624090d255259}, {300, 0x5d61c2bcdcce71cc},
};

static void check(const uint64_t key[2], const struct vector *v, size_t n)
{
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    for (size_t i = 0; i < n; i++) {
        struct guard g; /* unaligned starts, and not a byte read behind the end */
        struct span in = guard_copy(&g, span_of(bytes, v[i].n));
        assert_int_equal(siphash13(key, in), v[i].hash);
        guard_free(&g);
    }
}

static void siphash_vectors(void **state)
{
    (void)state;
    check(zero_key, with_zero_key, ARRAY_LEN(with_zero_key));
    check(seed42_key, with_seed42_key, ARRAY_LEN(with_seed42_key));
    /* The authors' key 00 01 .. 0f, empty message, 1-3 rounds. */
    const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    assert_int_equal(siphash13(key, (struct span){0}), 0xabac0158050fc4dc);
}

static void sha1_is(struct span in, const char *hex)
{
    uint8_t out[20];
    char text[41];
    sha1(in, out);
    for (size_t i = 0; i < sizeof(out); i++)
        (void)snprintf(text + 2 * i, 3, "%02x", out[i]);
    assert_string_equal(text, hex);
}

static void sha1_vectors(void **state)
{
    (void)state;
    sha1_is(SPAN_LIT(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    sha1_is(SPAN_LIT("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    sha1_is(SPAN_LIT("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    char *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    sha1_is(span_of(million, 1000000), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    free(million);
    /* RFC 6455, 1.3: the accept value s3pPLMBiTxaQ9kYGzzhZRbK+xOo= */
    sha1_is(SPAN_LIT("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11"),
            "b37a4f2cc0624f1690f64606cf385945b2bec4ea");
}

/* Lengths around the borders of a block, where the padding takes another path; values from coreutils' sha1sum. */
static void sha1_lengths(void **state)
{
    static const struct {
        size_t n;
        const char *hex;
    } of_x[] = {
        {0, "da39a3ee5e6b4b0d3255bfef95601890afd80709"},   {54, "31045e7bb077ff8d188a776b196b980388735dbb"},
        {55, "cef734ba81a024479e09eb5a75b6ddae62e6abf1"},  {56, "901305367c259952f4e7af8323f480d59f81335b"},
        {57, "025ecbd5d70f8fb3c5457cd96bab13fda305dc59"},  {63, "0ddc4e0cccd9a12850deb5abb0853a4425559fec"},
        {64, "bb2fa3ee7afb9f54c6dfb5d021f14b1ffe40c163"},  {65, "78c741ddc482e4cdf8c474a0876347a0905b6233"},
        {119, "4300320394f7ee239bcdce7d3b8bcee173a0cd5c"}, {120, "ceb2821639c4b6dcb10bce0e522ca2e608ce056d"},
        {128, "150fa3fbdc899bd0b8f95a9fb6027f564d953762"},
    };
    char text[128];
    (void)state;
    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < ARRAY_LEN(of_x); i++)
        sha1_is(span_of(text, of_x[i].n), of_x[i].hex);
}

static void random_numbers(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(random_below(1), 0);
        assert_true(random_below(3) < 3);
        assert_true(random_below((1ull << 63) + 1) <= 1ull << 63);
    }
    unsigned seen[4] = {0};
    for (int i = 0; i < 4000; i++)
        seen[random_below(4)]++;
    for (int i = 0; i < 4; i++)
        assert_in_range(seen[i], 800, 1200); /* 7 standard deviations */
    assert_int_not_equal(random_u64(), random_u64());

    char a[33], b[33];
    random_hex(a, 16);
    random_hex(b, 16);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_int_equal(strlen(a), 32);
    assert_string_not_equal(a, b);
    random_hex(a, 0);
    assert_string_equal(a, "");

    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
    bool used[256] = {false};
    for (int i = 0; i < 200; i++) {
        memset(a, 'x', sizeof(a));
        random_word(a, 32);
        assert_int_equal(strlen(a), 32);
        assert_int_equal(strspn(a, letters), 32);
        for (const char *p = a; *p; p++)
            used[(unsigned char)*p] = true;
    }
    for (const char *p = letters; *p; p++)
        assert_true(used[(unsigned char)*p]);
}

static void random_pools(void **state)
{
    (void)state;
    struct random_pool p = {.left = 0};
    char a[17], b[17], before[17] = "";
    for (int i = 0; i < 100; i++) { /* over the end of the pool and on */
        random_word_from(&p, a, 16);
        assert_int_equal(strlen(a), 16);
        assert_string_not_equal(a, before);
        memcpy(before, a, sizeof(a));
    }
    assert_true(p.left < sizeof(p.bytes));
    for (size_t i = p.left; i < sizeof(p.bytes); i++)
        assert_int_equal(p.bytes[i], 0);
    struct random_pool q = p;
    q.left = 0; /* an empty one is filled anew */
    random_word_from(&p, a, 16);
    random_word_from(&q, b, 16);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_vectors), cmocka_unit_test(sha1_vectors), cmocka_unit_test(sha1_lengths),
        cmocka_unit_test(random_numbers),  cmocka_unit_test(random_pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
