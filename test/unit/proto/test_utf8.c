/*
 * test_utf8.c - valid and invalid UTF-8 from RFC 3629, each split at every byte and laid against a guard page, and
 * every code point there is against an encoder written from the RFC's table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/utf8.h"

/* The verdict when the input comes in two pieces (the first one byte by byte if `slow`), both against the guard. */
static bool valid_in_pieces(struct span s, size_t cut, bool slow)
{
    struct utf8 u;
    struct guard g;
    bool ok = true;

    utf8_init(&u);
    guard_open(&g, s.n);
    for (size_t i = 0; slow && ok && i < cut; i++) {
        ok = utf8_feed(&u, guard_load(&g, span_of(s.p + i, 1)));
    }
    ok = ok && (slow || utf8_feed(&u, guard_load(&g, span_of(s.p, cut))));
    ok = ok && utf8_feed(&u, guard_load(&g, span_of(s.p + cut, s.n - cut)));
    guard_free(&g);
    return ok && utf8_complete(&u);
}

static void expect(struct span s, bool valid)
{
    assert_int_equal(utf8_valid(s), valid);
    for (size_t cut = 0; cut <= s.n; cut++) {
        assert_int_equal(valid_in_pieces(s, cut, false), valid);
        assert_int_equal(valid_in_pieces(s, cut, true), valid);
    }
}

/* The case itself, and in the middle and at the end of text that the fast paths run over. */
static void expect_everywhere(struct span s, bool valid)
{
    static const char *const before[] = {"", "a", "seven by", "sixteen bytes of", "日本語", "é", "日本語 twenty-one b"};
    static const char *const after[] = {"", "z", "seventeen bytes o", "本日"};
    char text[96];

    for (size_t b = 0; b < ARRAY_LEN(before); b++) {
        for (size_t a = 0; a < ARRAY_LEN(after); a++) {
            size_t nb = strlen(before[b]), na = strlen(after[a]);
            memcpy(text, before[b], nb);
            memcpy(text + nb, s.p, s.n);
            memcpy(text + nb + s.n, after[a], na);
            expect(span_of(text, nb + s.n + na), valid);
        }
    }
}

static void accepts_valid(void **state)
{
    static const struct span valid[] = {
        {(const uint8_t *)"", 0},
        {(const uint8_t *)"\0", 1},
        {(const uint8_t *)"\x7F", 1},
        {(const uint8_t *)"\xC2\x80", 2},
        {(const uint8_t *)"\xDF\xBF", 2},
        {(const uint8_t *)"\xE0\xA0\x80", 3},
        {(const uint8_t *)"\xED\x9F\xBF", 3},
        {(const uint8_t *)"\xEE\x80\x80", 3},
        {(const uint8_t *)"\xEF\xBF\xBF", 3},
        {(const uint8_t *)"\xF0\x90\x80\x80", 4},
        {(const uint8_t *)"\xF4\x8F\xBF\xBF", 4},
        {(const uint8_t *)"\xEF\xBB\xBF", 3},
        {(const uint8_t *)"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5", 11},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(valid); i++) {
        expect_everywhere(valid[i], true);
    }
}

static void refuses_invalid(void **state)
{
    static const struct span invalid[] = {
        {(const uint8_t *)"\x80", 1},                     /* continuation without a lead */
        {(const uint8_t *)"\xBF\xBF", 2},                 /* */
        {(const uint8_t *)"\xC0\x80", 2},                 /* NUL in two bytes */
        {(const uint8_t *)"\xC0\xAF", 2},                 /* overlong '/' */
        {(const uint8_t *)"\xC1\xBF", 2},                 /* overlong U+007F */
        {(const uint8_t *)"\xE0\x80\xAF", 3},             /* overlong '/' */
        {(const uint8_t *)"\xE0\x9F\xBF", 3},             /* overlong U+07FF */
        {(const uint8_t *)"\xF0\x80\x80\xAF", 4},         /* overlong '/' */
        {(const uint8_t *)"\xF0\x8F\xBF\xBF", 4},         /* overlong U+FFFF */
        {(const uint8_t *)"\xED\xA0\x80", 3},             /* U+D800 */
        {(const uint8_t *)"\xED\xBF\xBF", 3},             /* U+DFFF */
        {(const uint8_t *)"\xED\xA0\xBD\xED\xB8\x80", 6}, /* a surrogate pair */
        {(const uint8_t *)"\xF4\x90\x80\x80", 4},         /* U+110000 */
        {(const uint8_t *)"\xF5\x80\x80\x80", 4},         /* leads that lead nowhere */
        {(const uint8_t *)"\xF8\x88\x80\x80\x80", 5},     /* */
        {(const uint8_t *)"\xFC\x84\x80\x80\x80\x80", 6}, /* */
        {(const uint8_t *)"\xFE", 1},                     /* */
        {(const uint8_t *)"\xFF", 1},                     /* */
        {(const uint8_t *)"\xC3\x41", 2},                 /* ASCII where a continuation belongs */
        {(const uint8_t *)"\xE2\x82\x41", 3},             /* */
        {(const uint8_t *)"\xE2\x41\x82", 3},             /* */
        {(const uint8_t *)"\xF0\x9F\x98\x41", 4},         /* */
        {(const uint8_t *)"\xC3\xC3\xA9", 3},             /* a lead where a continuation belongs */
        {(const uint8_t *)"\xE2\xC3\xA9", 3},             /* */
        {(const uint8_t *)"\xC3\xA9\xA9", 3},             /* one continuation too many */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(invalid); i++) {
        expect_everywhere(invalid[i], false);
    }
}

/* Not an error yet, not complete either. */
static void waits_for_the_rest(void **state)
{
    static const char *const whole[] = {"é", "日", "\xED\x9F\xBF", "😀", "\xF4\x8F\xBF\xBF"};
    struct utf8 u;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        for (size_t n = 1; n < strlen(whole[i]); n++) {
            utf8_init(&u);
            assert_true(utf8_feed(&u, span_of(whole[i], n)));
            assert_false(utf8_complete(&u));
            assert_false(utf8_valid(span_of(whole[i], n)));
        }
    }
}

/* A fault is seen at its own byte, not at the end of the character, and is not forgotten. */
static void refuses_at_the_first_byte(void **state)
{
    struct utf8 u;

    (void)state;
    utf8_init(&u);
    assert_true(utf8_feed(&u, SPAN_LIT("abc\xED")));
    assert_false(utf8_feed(&u, SPAN_LIT("\xA0")));
    assert_false(utf8_feed(&u, SPAN_LIT("a")));
    assert_false(utf8_complete(&u));
}

static size_t encode(uint32_t cp, uint8_t out[4])
{
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;

    for (size_t i = n; i-- > 1; cp >>= 6) {
        out[i] = (uint8_t)(0x80 | (cp & 0x3F));
    }
    out[0] = (uint8_t)(lead[n] | cp);
    return n;
}

static void knows_every_code_point(void **state)
{
    uint8_t bytes[4];

    (void)state;
    for (uint32_t cp = 0; cp < 0x1FFFFF; cp++) {
        bool want = cp <= 0x10FFFF && !(cp >= 0xD800 && cp <= 0xDFFF);
        size_t n = encode(cp, bytes);
        if (utf8_valid(span_of(bytes, n)) != want) {
            fail_msg("U+%04X", cp);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_valid),          cmocka_unit_test(refuses_invalid),
        cmocka_unit_test(waits_for_the_rest),     cmocka_unit_test(refuses_at_the_first_byte),
        cmocka_unit_test(knows_every_code_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
