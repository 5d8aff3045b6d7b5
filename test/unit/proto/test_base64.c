/*
 * test_base64.c - RFC 4648's vectors, all byte values decoded back by a decoder of the test's own, and ceilings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/base64.h"

static void expect_text(struct span s, const char *want)
{
    for (size_t max = 0; max <= strlen(want); max++) {
        struct buf b;
        buf_init(&b, max);
        bool fits = max == strlen(want);
        assert_int_equal(base64_append(&b, s), fits);
        assert_true(span_eq(buf_span(&b), fits ? span_str(want) : SPAN_LIT("")));
        buf_fini(&b);
    }
    assert_int_equal(base64_length(s.n), strlen(want));
}

static void test_vectors(void **state)
{
    (void)state;
    expect_text(SPAN_LIT(""), "");
    expect_text((struct span){NULL, 0}, "");
    expect_text(SPAN_LIT("f"), "Zg==");
    expect_text(SPAN_LIT("fo"), "Zm8=");
    expect_text(SPAN_LIT("foo"), "Zm9v");
    expect_text(SPAN_LIT("foob"), "Zm9vYg==");
    expect_text(SPAN_LIT("fooba"), "Zm9vYmE=");
    expect_text(SPAN_LIT("foobar"), "Zm9vYmFy");
    expect_text(SPAN_LIT("\xff\xef\xbe"), "/+++");
}

static unsigned sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0') + 52;
    return c == '+' ? 62 : c == '/' ? 63 : 0;
}

static void test_all_bytes(void **state)
{
    uint8_t bytes[256];
    char text[344];
    struct guard g;
    (void)state;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 167 + 13);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        base64_encode(guard_copy(&g, span_of(bytes, n)), text);
        guard_free(&g);
        for (size_t i = 0; i < n; i++) {
            unsigned pair = sextet(text[i / 3 * 4 + i % 3]) << 6 | sextet(text[i / 3 * 4 + i % 3 + 1]);
            assert_int_equal(pair >> (4 - 2 * (i % 3)) & 0xFF, bytes[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_all_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
