/*
 * test_ws_ext.c - what Sec-WebSocket-Extensions may look like (RFC 6455 section 9.1) and which terms of
 * permessage-deflate are agreed to (RFC 7692 section 7.1, its examples among them). All input lies against a guard
 * page, and each header is also read split into lines at each of its commas.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

#include "guard.h"
#include "proto/ws_ext.h"

static const struct ws_ext_policy plain = {.deflate = true}, takeover = {.deflate = true, .takeover = true},
                                  off = {.takeover = true};

static enum ws_ext_result ask(const char *header, const struct ws_ext_policy *policy, struct ws_deflate *d)
{
    struct guard g;
    struct span line = guard_copy(&g, span_str(header));
    enum ws_ext_result r = ws_ext_negotiate(&line, 1, policy, d);

    guard_free(&g);
    return r;
}

/* The same header as two lines, for each comma outside quotes. */
static void ask_split(const char *header, const struct ws_ext_policy *policy, enum ws_ext_result want,
                      const struct ws_deflate *terms)
{
    bool quoted = false;

    for (const char *p = header; *p; p++) {
        struct span line[2] = {span_of(header, (size_t)(p - header)), span_str(p + 1)};
        struct ws_deflate d;
        quoted ^= *p == '"';
        if (*p != ',' || quoted) {
            continue;
        }
        assert_int_equal(ws_ext_negotiate(line, 2, policy, &d), want);
        assert_memory_equal(&d, terms, sizeof(d));
    }
}

/* The answer to a header, or NULL for none; "bad" for a malformed one. */
static const char *answer(const char *header, const struct ws_ext_policy *policy, char out[WS_EXT_ANSWER_MAX])
{
    struct ws_deflate d;
    enum ws_ext_result r = ask(header, policy, &d);

    ask_split(header, policy, r, &d);
    if (r != WS_EXT_DEFLATE) {
        assert_int_equal(d.server_bits, 0);
        return r == WS_EXT_BAD ? "bad" : NULL;
    }
    size_t n = ws_ext_answer(&d, out);
    assert_int_equal(n, strlen(out));
    assert_true(n < WS_EXT_ANSWER_MAX - 1);
    return out;
}

static void expect(const char *header, const struct ws_ext_policy *policy, const char *want)
{
    char out[WS_EXT_ANSWER_MAX];
    const char *got = answer(header, policy, out);

    if (want ? !got || strcmp(got, want) != 0 : got != NULL) {
        fail_msg("\"%s\": \"%s\", not \"%s\"", header, got ? got : "(none)", want ? want : "(none)");
    }
}

#define NAME "permessage-deflate"
#define BOTH NAME "; server_no_context_takeover; client_no_context_takeover"

/* Without takeover the answer always says so, for both directions; windows are named as they were asked for. */
static void agreed(void **state)
{
    (void)state;
    expect(NAME, &plain, BOTH);
    expect(NAME "; server_no_context_takeover", &plain, BOTH);
    expect(NAME "; client_no_context_takeover", &plain, BOTH);
    expect(NAME "; client_no_context_takeover; server_no_context_takeover", &plain, BOTH);
    expect(NAME "; client_max_window_bits", &plain, BOTH);
    expect(NAME "; client_max_window_bits=8", &plain, BOTH "; client_max_window_bits=8");
    expect(NAME "; client_max_window_bits=15", &plain, BOTH "; client_max_window_bits=15");
    expect(NAME "; server_max_window_bits=9", &plain, BOTH "; server_max_window_bits=9");
    expect(NAME "; server_max_window_bits=10", &plain, BOTH "; server_max_window_bits=10");
    expect(NAME "; server_max_window_bits=15", &plain, BOTH "; server_max_window_bits=15");
    expect(NAME "; client_max_window_bits=12; server_max_window_bits=11", &plain,
           BOTH "; server_max_window_bits=11; client_max_window_bits=12");
    expect(NAME "; client_max_window_bits; server_max_window_bits=10", &plain, BOTH "; server_max_window_bits=10");
}

static void with_takeover(void **state)
{
    struct ws_deflate d;

    (void)state;
    expect(NAME, &takeover, NAME);
    expect(NAME "; server_no_context_takeover", &takeover, NAME "; server_no_context_takeover");
    expect(NAME "; client_no_context_takeover", &takeover, NAME "; client_no_context_takeover");
    expect(NAME "; client_no_context_takeover; server_no_context_takeover", &takeover, BOTH);
    expect(NAME "; client_max_window_bits; server_max_window_bits=12", &takeover, NAME "; server_max_window_bits=12");
    assert_int_equal(ask(NAME "; client_max_window_bits=9; server_max_window_bits=10", &takeover, &d), WS_EXT_DEFLATE);
    assert_true(d.server_takeover && d.client_takeover && d.say_client_bits && d.say_server_bits);
    assert_int_equal(d.server_bits, 10);
    assert_int_equal(d.client_bits, 9);
    assert_int_equal(ask(NAME "; client_max_window_bits", &takeover, &d), WS_EXT_DEFLATE);
    assert_int_equal(d.server_bits, 15);
    assert_int_equal(d.client_bits, 15);
    assert_false(d.say_client_bits || d.say_server_bits);
}

/* Every legal set of the four parameters, in both policies: what the client forbids is never in the terms. */
static void every_combination(void **state)
{
    char header[256], out[WS_EXT_ANSWER_MAX];
    struct ws_deflate d;

    (void)state;
    for (unsigned set = 0; set < 16; set++) {
        for (unsigned bits = 7; bits <= 15; bits++) {
            (void)snprintf(header, sizeof(header), NAME "%s%s", set & 1 ? ";server_no_context_takeover" : "",
                           set & 2 ? ";client_no_context_takeover" : "");
            size_t n = strlen(header);
            if (set & 4) {
                n += (size_t)snprintf(header + n, sizeof(header) - n, ";server_max_window_bits=%u", bits);
            }
            if (set & 8) {
                n += (size_t)snprintf(header + n, sizeof(header) - n, ";client_max_window_bits");
                if (bits > 7) {
                    (void)snprintf(header + n, sizeof(header) - n, "=%u", bits);
                }
            }
            bool good = !(set & 4) || bits >= 9;
            assert_int_equal(ask(header, &takeover, &d), good ? WS_EXT_DEFLATE : WS_EXT_NONE);
            if (!good) {
                continue;
            }
            assert_int_equal(d.server_takeover, !(set & 1));
            assert_int_equal(d.client_takeover, !(set & 2));
            assert_int_equal(d.server_bits, set & 4 ? bits : 15);
            assert_int_equal(d.client_bits, (set & 8) && bits > 7 ? bits : 15);
            assert_non_null(answer(header, &plain, out));
            assert_non_null(strstr(out, "server_no_context_takeover"));
            assert_non_null(strstr(out, "client_no_context_takeover"));
        }
    }
}

/* RFC 7692 section 7.1: an offer with any of these must be declined. */
static void declined(void **state)
{
    static const char *const table[] = {
        NAME "; server_no_context_takeover=1",
        NAME "; server_no_context_takeover=\"true\"",
        NAME "; client_no_context_takeover=0",
        NAME "; server_max_window_bits",
        NAME "; server_max_window_bits=8", /* legal; zlib has no such window */
        NAME "; server_max_window_bits=7",
        NAME "; server_max_window_bits=16",
        NAME "; server_max_window_bits=0",
        NAME "; server_max_window_bits=09",
        NAME "; server_max_window_bits=010",
        NAME "; server_max_window_bits=+10",
        NAME "; server_max_window_bits=1",
        NAME "; server_max_window_bits=100",
        NAME "; server_max_window_bits=1000000000000000000000000000000000012",
        NAME "; server_max_window_bits=1x",
        NAME "; server_max_window_bits=a",
        NAME "; client_max_window_bits=7",
        NAME "; client_max_window_bits=16",
        NAME "; client_max_window_bits=08",
        NAME "; client_max_window_bits=ten",
        NAME "; client_max_window_bits; client_max_window_bits",
        NAME "; client_max_window_bits=10; client_max_window_bits=10",
        NAME "; server_max_window_bits=10; server_max_window_bits=11",
        NAME "; server_no_context_takeover; server_no_context_takeover",
        NAME "; client_no_context_takeover; client_no_context_takeover",
        NAME "; level=9",
        NAME "; Server_no_context_takeover",
        NAME "2",
        "Permessage-Deflate",
        "permessage-bzip2; server_no_context_takeover",
        "x-webkit-deflate-frame; no_context_takeover",
        "mux; max-channels=4; flow-control",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        expect(table[i], &plain, NULL);
        expect(table[i], &takeover, NULL);
    }
}

/* The first offer that can be met; others around it do not matter. */
static void several(void **state)
{
    (void)state;
    expect("permessage-foo; use_y, permessage-foo", &plain, NULL); /* section 5.1 */
    expect(NAME "; client_max_window_bits; server_max_window_bits=10, " NAME "; client_max_window_bits", &plain,
           BOTH "; server_max_window_bits=10"); /* section 7.1.3 */
    expect(NAME "; server_max_window_bits=8, " NAME "; server_max_window_bits=9, " NAME, &plain,
           BOTH "; server_max_window_bits=9");
    expect(NAME "; unknown, " NAME, &plain, BOTH);
    expect("mux, foo; bar=\"baz\"," NAME ",quux", &plain, BOTH);
    expect(NAME "; server_max_window_bits, " NAME "; client_max_window_bits=\"x\" , mux", &plain, NULL);
}

static void grammar(void **state)
{
    static const char *const good[] = {
        NAME,
        "  " NAME "\t",
        NAME " ; server_no_context_takeover ;client_no_context_takeover",
        NAME "; client_no_context_takeover; server_no_context_takeover,",
        ", ,\t," NAME,
        "foo; a = b; c\t=\t\"d\" ;e," NAME,
        "foo; bar=\"\\b\\a\\z\", " NAME,
        "!#$%&'*+-.^_`|~0aZ; x=!," NAME,
    };
    static const char *const bad[] = {
        "",
        " ",
        ",",
        " , ,",
        ";",
        NAME ";",
        NAME "; ",
        NAME "; ;",
        NAME "; =1",
        NAME "; server_max_window_bits=",
        NAME "; server_max_window_bits=, foo",
        NAME "; server_max_window_bits=\"",
        NAME "; server_max_window_bits=\"10",
        NAME "; server_max_window_bits=\"10\\",
        NAME "; server_max_window_bits=\"10\\\"",
        NAME "; server_max_window_bits=\"\"",
        NAME "; server_max_window_bits=\" 10\"",
        NAME "; server_max_window_bits=\"10,11\"",
        NAME "; server_max_window_bits=\"1\"0",
        NAME "; server_max_window_bits==10",
        NAME " server_max_window_bits=10",
        NAME "=1",
        NAME ", \"foo\"",
        NAME ", foo; bar=(baz)",
        NAME ", foo/bar",
        NAME ", f\xc3\xbc",
        NAME ", foo\x01",
        NAME "; a=b c",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        expect(good[i], &plain, BOTH);
        expect(good[i], &off, NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        expect(bad[i], &plain, "bad");
        expect(bad[i], &off, "bad");
    }
}

/* A quoted value is the value. */
static void quoted(void **state)
{
    (void)state;
    expect(NAME "; server_max_window_bits=\"10\"", &plain, BOTH "; server_max_window_bits=10");
    expect(NAME "; server_max_window_bits=\"\\1\\0\"", &plain, BOTH "; server_max_window_bits=10");
    expect(NAME "; client_max_window_bits=\"8\"", &plain, BOTH "; client_max_window_bits=8");
    expect(NAME "; server_max_window_bits=\"8\"", &plain, NULL);
    expect(NAME "; server_max_window_bits=\"110\"", &plain, NULL);
    expect(NAME "; client_no_context_takeover=\"x\"", &plain, NULL);
}

static void lines(void **state)
{
    struct span two[] = {SPAN_LIT("mux"), SPAN_LIT(NAME)}, empty[] = {SPAN_LIT(""), SPAN_LIT(NAME), {NULL, 0}},
                none[] = {SPAN_LIT(""), {NULL, 0}}, second_bad[] = {SPAN_LIT(NAME), SPAN_LIT("a;")};
    struct ws_deflate d;

    (void)state;
    assert_int_equal(ws_ext_negotiate(NULL, 0, &plain, &d), WS_EXT_NONE);
    assert_int_equal(ws_ext_negotiate(two, 2, &plain, &d), WS_EXT_DEFLATE);
    assert_int_equal(ws_ext_negotiate(empty, 3, &plain, &d), WS_EXT_DEFLATE);
    assert_int_equal(ws_ext_negotiate(none, 2, &plain, &d), WS_EXT_BAD);
    assert_int_equal(ws_ext_negotiate(second_bad, 2, &plain, &d), WS_EXT_BAD);
    assert_int_equal(d.server_bits, 0);
}

/* Each prefix of a long header, read up to a page that is not there. */
static void every_prefix(void **state)
{
    static const char header[] =
        "a; b=\"c\\d\", " NAME "; server_max_window_bits=\"10\"; client_max_window_bits = 9 ,e";
    struct guard g;
    struct ws_deflate d;
    unsigned outcomes[3] = {0};

    (void)state;
    guard_open(&g, sizeof(header));
    for (size_t n = 0; n < sizeof(header); n++) {
        struct span line = guard_load(&g, span_of(header, n));
        outcomes[ws_ext_negotiate(&line, 1, &plain, &d)]++;
    }
    guard_free(&g);
    assert_true(outcomes[WS_EXT_BAD] && outcomes[WS_EXT_NONE] && outcomes[WS_EXT_DEFLATE]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agreed),   cmocka_unit_test(with_takeover), cmocka_unit_test(every_combination),
        cmocka_unit_test(declined), cmocka_unit_test(several),       cmocka_unit_test(grammar),
        cmocka_unit_test(quoted),   cmocka_unit_test(lines),         cmocka_unit_test(every_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
