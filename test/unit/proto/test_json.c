/*
 * test_json.c - the JSON reader against RFC 8259's grammar (tables, JSONTestSuite when it is beside the project, every
 * prefix, guard pages), and the writer at every ceiling.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <float.h>
#include <math.h>

#include "guard.h"
#include "proto/json.h"
#include "random_value.h"
#include "suite_files.h"

static enum json_status status_of(struct span s)
{
    struct guard g;
    struct json_value v;
    enum json_status status = json_parse(guard_copy(&g, s), JSON_MAX_DEPTH, &v);
    guard_free(&g);
    return status;
}

static void test_accepts(void **state)
{
    static const char *const good[] = {
        "0",
        "-0",
        "1",
        "10",
        "-1.5",
        "0.0",
        "1e5",
        "1E+5",
        "2e-400",
        "1e400",
        "123456789012345678901234567890",
        "true",
        "false",
        "null",
        "\"\"",
        "\"a\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
        "\"\\uD800\"",
        "\"\\udc00\\ud800\"",
        "[]",
        "{}",
        " [ ] ",
        "\t\r\n{ }\n",
        "[1]",
        "[1,2]",
        "[ 1 , [ ] , { } ]",
        "{\"a\":1}",
        "{\"a\":1,\"a\":2}",
        "{ \"a\" : [ { \"b\" : null } ] }",
        "\"\x7f\"",
        "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"",
        "[[],[[]],{},{\"\":{}}]",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (status_of(span_str(good[i])) != JSON_OK)
            fail_msg("refused: %s", good[i]);
    }
}

static void test_refuses(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "-",
        "+1",
        "01",
        "-01",
        "1.",
        ".5",
        "1.e5",
        "1e",
        "1e+",
        "0x1",
        "1a",
        "- 1",
        "NaN",
        "Infinity",
        "tru",
        "True",
        "nul",
        "nulll",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\",
        "\"\n\"",
        "\"\t\"",
        "'a'",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "[1,,2]",
        "{",
        "}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1]",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":,}",
        "1 2",
        "[] []",
        "{}x",
        "//a\n1",
        "1/**/",
        "\"a\"\"b\"",
        ",",
        ":",
        "[:]",
        "\xEF\xBB\xBF{}",
        "\xC2\xA0[]",
        "\f1",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (status_of(span_str(bad[i])) != JSON_SYNTAX)
            fail_msg("accepted: %s", bad[i]);
    }
    assert_int_equal(status_of(SPAN_LIT("\"\xFF\"")), JSON_UTF8);
    assert_int_equal(status_of(SPAN_LIT("\"\xED\xA0\x80\"")), JSON_UTF8);
    assert_int_equal(status_of(SPAN_LIT("\"a\0b\"")), JSON_SYNTAX);
    assert_int_equal(status_of(SPAN_LIT("1\0")), JSON_SYNTAX);
}

/* Each byte value at each place of a string longer than two words: the word-wise scan misses none. */
static void test_string_bytes(void **state)
{
    (void)state;
    for (unsigned at = 1; at <= 20; at++) {
        for (unsigned c = 0; c < 256; c++) {
            char text[22];
            memset(text, 'a', sizeof text);
            text[0] = text[21] = '"';
            text[at] = (char)c;
            enum json_status want = c >= 0x80 ? JSON_UTF8 : JSON_OK;
            if (c < 0x20 || c == '"' || c == '\\')
                want = JSON_SYNTAX;
            assert_int_equal(status_of(span_of(text, sizeof text)), want);
        }
    }
}

static void test_depth(void **state)
{
    char text[2 * JSON_MAX_DEPTH + 2];
    struct json_value v;
    (void)state;
    memset(text, '[', JSON_MAX_DEPTH + 1);
    memset(text + JSON_MAX_DEPTH + 1, ']', JSON_MAX_DEPTH + 1);
    assert_int_equal(json_parse(span_of(text, sizeof text), JSON_MAX_DEPTH, &v), JSON_DEEP);
    assert_int_equal(json_parse(span_of(text + 1, sizeof text - 2), JSON_MAX_DEPTH, &v), JSON_OK);
    assert_int_equal(v.depth, JSON_MAX_DEPTH);
    assert_int_equal(json_parse(span_of(text + 1, sizeof text - 2), JSON_MAX_DEPTH - 1, &v), JSON_DEEP);
    assert_int_equal(json_parse(SPAN_LIT("1"), 0, &v), JSON_OK);
    assert_int_equal(json_parse(SPAN_LIT("[]"), 0, &v), JSON_DEEP);
}

static const char document[] = "{ \"a\\u0062\" : [1,{\"x\":[[]]},\"\\ud83d\\ude00\",true] ,\"k\":-1.5e+10, "
                               "\"\xC3\xA9\":{\"n\":null,\"f\":false}, \"e\":\"\\n\"}";

/* No prefix is a value, and no prefix is read past its end. */
static void test_every_prefix(void **state)
{
    struct guard g;
    (void)state;
    guard_open(&g, sizeof document);
    for (size_t n = 0; n < sizeof document - 1; n++) {
        struct json_value v;
        assert_int_not_equal(json_parse(guard_load(&g, span_of(document, n)), JSON_MAX_DEPTH, &v), JSON_OK);
    }
    guard_free(&g);
    assert_int_equal(status_of(SPAN_LIT(document)), JSON_OK);
}

static void expect_member(struct json_reader *r, const char *key, const char *raw, enum json_kind kind, unsigned depth)
{
    struct json_value k, v;
    assert_true(json_member(r, &k, &v));
    assert_true(json_string_is(&k, key));
    assert_int_equal(v.kind, kind);
    assert_int_equal(v.depth, depth);
    assert_true(span_eq(v.raw, span_str(raw)));
}

static void test_members(void **state)
{
    struct json_reader r;
    struct json_value v, k;
    (void)state;
    json_reader_init(&r, SPAN_LIT(document), JSON_MAX_DEPTH);
    assert_int_equal(json_next(&r, &v), JSON_T_OPEN_OBJECT);
    expect_member(&r, "ab", "[1,{\"x\":[[]]},\"\\ud83d\\ude00\",true]", JSON_ARRAY, 4);
    expect_member(&r, "k", "-1.5e+10", JSON_NUMBER, 0);
    expect_member(&r, "\xC3\xA9", "{\"n\":null,\"f\":false}", JSON_OBJECT, 1);
    expect_member(&r, "e", "\"\\n\"", JSON_STRING, 0);
    assert_false(json_member(&r, &k, &v));
    assert_int_equal(r.status, JSON_OK);
    assert_int_equal(r.deepest, 5);
    assert_int_equal(json_next(&r, &v), JSON_T_END);
    assert_int_equal(json_next(&r, &v), JSON_T_END);
}

static void test_elements(void **state)
{
    struct json_reader r;
    struct json_value v;
    (void)state;
    json_reader_init(&r, SPAN_LIT("[1,[2],{}]"), JSON_MAX_DEPTH);
    assert_int_equal(json_next(&r, &v), JSON_T_OPEN_ARRAY);
    unsigned n = 0;
    while (json_element(&r, &v))
        n++;
    assert_int_equal(n, 3);
    assert_int_equal(r.status, JSON_OK);
    /* A fault stays one. */
    json_reader_init(&r, SPAN_LIT("[1,x]"), JSON_MAX_DEPTH);
    assert_int_equal(json_next(&r, &v), JSON_T_OPEN_ARRAY);
    assert_true(json_element(&r, &v));
    assert_false(json_element(&r, &v));
    assert_int_equal(r.status, JSON_SYNTAX);
    assert_int_equal(json_next(&r, &v), JSON_T_FAULT);
}

static void expect_decoded(const char *raw, bool lenient, ptrdiff_t want, const char *text)
{
    struct json_value v;
    uint8_t out[64];
    assert_int_equal(json_parse(span_str(raw), JSON_MAX_DEPTH, &v), JSON_OK);
    assert_int_equal(json_decode(&v, lenient, out, sizeof out), want);
    if (want >= 0)
        assert_memory_equal(out, text, (size_t)want);
}

static void test_decode(void **state)
{
    (void)state;
    expect_decoded("\"\"", false, 0, "");
    expect_decoded("\"plain\"", false, 5, "plain");
    expect_decoded("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", false, 8, "\"\\/\b\f\n\r\t");
    expect_decoded("\"a\\u0000b\"", false, 3, "a\0b");
    expect_decoded("\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", false, 1 + 2 + 2 + 3 + 3,
                   "\x7f\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF");
    expect_decoded("\"\\uD83D\\uDE00\"", false, 4, "\xF0\x9F\x98\x80");
    expect_decoded("\"\\uDBFF\\uDFFF\"", false, 4, "\xF4\x8F\xBF\xBF");
    static const char *const halves[] = {"\"\\uD800\"",       "\"\\uDC00\"",        "\"\\uD800\\n\"",
                                         "\"\\uD800x\"",      "\"\\uD800\\uD800\"", "\"\\uDC00\\uD800\"",
                                         "\"\\uD800\\u0041\""};
    for (size_t i = 0; i < ARRAY_LEN(halves); i++)
        expect_decoded(halves[i], false, -1, NULL);
    expect_decoded("\"\\uD800\"", true, 3, "\xEF\xBF\xBD");
    expect_decoded("\"\\uD800\\u0041\"", true, 4,
                   "\xEF\xBF\xBD"
                   "A");
    expect_decoded("\"\\uD800\\uD83D\\uDE00\"", true, 7, "\xEF\xBF\xBD\xF0\x9F\x98\x80");
}

static void test_decode_room(void **state)
{
    struct json_value v;
    uint8_t out[4];
    (void)state;
    assert_int_equal(json_parse(SPAN_LIT("\"ab\\ud83d\\ude00\""), JSON_MAX_DEPTH, &v), JSON_OK);
    for (size_t cap = 0; cap <= sizeof out; cap++)
        assert_int_equal(json_decode(&v, false, out, cap), -2);
    assert_false(json_string_is(&v, "ab"));
    assert_int_equal(json_parse(SPAN_LIT("\"\\u0064ata\""), JSON_MAX_DEPTH, &v), JSON_OK);
    assert_true(json_string_is(&v, "data"));
    assert_false(json_string_is(&v, "datum"));
}

static void test_uint(void **state)
{
    static const char *const no[] = {"-1",    "-0",  "1.0", "1e2", "9007199254740992", "99999999999999999",
                                     "\"1\"", "null"};
    struct json_value v;
    uint64_t u = 7;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(no); i++) {
        assert_int_equal(json_parse(span_str(no[i]), JSON_MAX_DEPTH, &v), JSON_OK);
        assert_false(json_uint(&v, &u));
    }
    assert_int_equal(u, 7);
    assert_int_equal(json_parse(SPAN_LIT("9007199254740991"), JSON_MAX_DEPTH, &v), JSON_OK);
    assert_true(json_uint(&v, &u) && u == JSON_MAX_SAFE);
    assert_int_equal(json_parse(SPAN_LIT("0"), JSON_MAX_DEPTH, &v), JSON_OK);
    assert_true(json_uint(&v, &u) && u == 0);
}

static void expect_written(struct span s, const char *want)
{
    struct buf b;
    for (size_t max = 0; max <= strlen(want) + 1; max++) {
        buf_init(&b, max);
        bool fits = max >= strlen(want);
        assert_int_equal(json_write_string(&b, s), fits);
        assert_int_equal(b.len, fits ? strlen(want) : 0);
        if (fits)
            assert_memory_equal(b.data, want, b.len);
        buf_fini(&b);
    }
}

static void test_write_string(void **state)
{
    (void)state;
    expect_written(SPAN_LIT(""), "\"\"");
    expect_written((struct span){NULL, 0}, "\"\"");
    expect_written(SPAN_LIT("a/\"\\b"), "\"a/\\\"\\\\b\"");
    expect_written(SPAN_LIT("\b\f\n\r\t\v\x1f\x7f"), "\"\\b\\f\\n\\r\\t\\u000b\\u001f\x7f\"");
    expect_written(SPAN_LIT("a\0b"), "\"a\\u0000b\"");
    expect_written(SPAN_LIT("\xE2\x80\xA8\xC3\xA9\xF0\x9F\x98\x80"), "\"\xE2\x80\xA8\xC3\xA9\xF0\x9F\x98\x80\"");
    expect_written(SPAN_LIT("a\xFF\xC3\xA9\xED\xA0\x80z\xE2\x82"),
                   "\"a\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD\"");
    expect_written(SPAN_LIT("\"\xFF\n"), "\"\\\"\xEF\xBF\xBD\\n\"");
}

/* All single bytes, valid or not, become strings that read back. */
static void test_write_string_bytes(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        uint8_t byte = (uint8_t)c, out[8];
        struct json_value v;
        struct buf b;
        buf_init(&b, 16);
        assert_true(json_write_string(&b, span_of(&byte, 1)));
        assert_int_equal(json_parse(buf_span(&b), 0, &v), JSON_OK);
        assert_int_equal(json_decode(&v, false, out, sizeof out), c < 0x80 ? 1 : 3);
        assert_int_equal(out[0], c < 0x80 ? c : 0xEF);
        buf_fini(&b);
    }
}

static void expect_text(struct buf *b, bool ok, const char *want)
{
    assert_true(ok);
    assert_true(span_eq(buf_span(b), span_str(want)));
    b->len = 0;
}

static void test_write_numbers(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 64);
    expect_text(&b, json_write_uint(&b, 0), "0");
    expect_text(&b, json_write_uint(&b, 10), "10");
    expect_text(&b, json_write_uint(&b, UINT64_MAX), "18446744073709551615");
    expect_text(&b, json_write_int(&b, INT64_MIN), "-9223372036854775808");
    expect_text(&b, json_write_int(&b, INT64_MAX), "9223372036854775807");
    expect_text(&b, json_write_int(&b, -1), "-1");
    expect_text(&b, json_write_double(&b, 0.1), "0.1");
    expect_text(&b, json_write_double(&b, 0.1 + 0.2), "0.30000000000000004");
    expect_text(&b, json_write_double(&b, -0.0), "-0");
    expect_text(&b, json_write_double(&b, 1e300), "1e+300");
    expect_text(&b, json_write_double(&b, 5.0), "5");
    expect_text(&b, json_write_double(&b, DBL_MAX), "1.7976931348623157e+308");
    expect_text(&b, json_write_double(&b, 5e-324), "4.94065645841247e-324");
    expect_text(&b, json_write_double(&b, (double)INFINITY), "null");
    expect_text(&b, json_write_double(&b, (double)NAN), "null");
    buf_fini(&b);
}

/* Whatever the writer makes, the reader takes, and cut anywhere it does not crash. */
static void test_random(void **state)
{
    uint64_t seed = 42;
    struct guard g;
    (void)state;
    guard_open(&g, 1 << 20);
    for (int i = 0; i < 300; i++) {
        struct buf b;
        struct json_value v;
        buf_init(&b, 1 << 20);
        assert_true(random_json(&seed, 4, &b));
        assert_int_equal(json_parse(guard_load(&g, buf_span(&b)), JSON_MAX_DEPTH, &v), JSON_OK);
        struct span cut = guard_load(&g, span_of(b.data, random_next(&seed) % b.len));
        (void)!json_parse(cut, JSON_MAX_DEPTH, &v);
        buf_fini(&b);
    }
    guard_free(&g);
}

static void test_suite(void **state)
{
    DIR *folder = opendir(SUITE_FOLDER "/json");
    (void)state;
    if (folder == NULL) {
        print_message("JSONTestSuite is not beside the project (" SUITE_FOLDER "/json): skipped\n");
        skip();
    }
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(folder)) != NULL;) {
        if (strchr("yni", e->d_name[0]) == NULL || e->d_name[1] != '_')
            continue;
        char path[512];
        snprintf(path, sizeof path, SUITE_FOLDER "/json/%s", e->d_name);
        struct buf b;
        buf_init(&b, 1 << 20);
        assert_true(suite_read(path, &b));
        bool ok = status_of(buf_span(&b)) == JSON_OK;
        if ((e->d_name[0] == 'y' && !ok) || (e->d_name[0] == 'n' && ok))
            fail_msg("%s: %s", e->d_name, ok ? "accepted" : "refused");
        buf_fini(&b);
        n++;
    }
    closedir(folder);
    assert_true(n > 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),       cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_string_bytes),  cmocka_unit_test(test_depth),
        cmocka_unit_test(test_every_prefix),  cmocka_unit_test(test_members),
        cmocka_unit_test(test_elements),      cmocka_unit_test(test_decode),
        cmocka_unit_test(test_decode_room),   cmocka_unit_test(test_uint),
        cmocka_unit_test(test_write_string),  cmocka_unit_test(test_write_string_bytes),
        cmocka_unit_test(test_write_numbers), cmocka_unit_test(test_random),
        cmocka_unit_test(test_suite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
