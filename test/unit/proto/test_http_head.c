/*
 * test_http_head.c - request heads: what RFC 9112 and 9110 allow and what is refused, with its status. Every input is
 * parsed at each of its prefixes, against a guard page, once afresh and once with *scanned carried along: "need more"
 * until the verdict, then that verdict for good.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/http_head.h"

#define MAX_HEAD 8192

/* >0 bytes consumed, 0 more, <0 minus the status; the same at every prefix from the verdict on. `head` holds the
 * verdict's head (spans into s itself). */
static int parse_at_every_prefix(struct span s, size_t max, struct http_head *head)
{
    struct guard g;
    struct http_error err = {0};
    int verdict = 0;
    size_t carried = 0;

    guard_open(&g, s.n);
    for (size_t n = 0; n <= s.n; n++) {
        size_t fresh = 0, before = carried;
        struct span in = guard_load(&g, span_of(s.p, n));
        int rc = http_head_parse(in, max, &carried, head, &err);
        int got = rc < 0 ? -(int)err.status : rc;

        assert_true(carried >= before && carried <= n);
        if (rc < 0) {
            assert_non_null(err.what);
        }
        rc = http_head_parse(in, max, &fresh, head, &err);
        assert_int_equal(rc < 0 ? -(int)err.status : rc, got);
        if (verdict != 0) {
            assert_int_equal(got, verdict);
        } else if (got > 0) {
            assert_int_equal(got, n); /* not a byte late */
        }
        verdict = got;
    }
    guard_free(&g);
    if (verdict > 0) {
        size_t scanned = 0;
        assert_int_equal(http_head_parse(s, max, &scanned, head, &err), verdict);
    }
    return verdict;
}

static int status_of(const char *text)
{
    struct http_head h;

    return parse_at_every_prefix(span_str(text), MAX_HEAD, &h);
}

static void parsed(struct http_head *h, const char *text)
{
    int rc = parse_at_every_prefix(span_str(text), MAX_HEAD, h);

    if (rc != (int)strlen(text)) {
        fail_msg("%d for %s", rc, text);
    }
}

static void assert_span(struct span s, const char *text)
{
    if (!s.p || !span_eq(s, span_str(text))) {
        fail_msg("\"%.*s\" is not \"%s\"", SPAN_ARG(s), text);
    }
}

static void reads_a_browser_upgrade(void **state)
{
    struct http_head h;

    (void)state;
    parsed(&h, "GET /ws?token=a.b.c&session=60 HTTP/1.1\r\n"
               "Host: push.example.org:8443\r\n"
               "connection: keep-alive, Upgrade\r\n"
               "Upgrade: WebSocket\r\n"
               "Sec-WebSocket-Key: \t dGhlIHNhbXBsZSBub25jZQ== \t\r\n"
               "Sec-WebSocket-Protocol: crier.v1.json, bearer.x\r\n"
               "Sec-WebSocket-Protocol:crier.v1.msgpack\r\n"
               "Cookie: a=1; token=\"t=1\"; b=\r\n"
               "X-Empty:\r\n"
               "X-Latin: caf\xE9\r\n"
               "\r\n");
    assert_int_equal(h.method, HTTP_GET);
    assert_span(h.method_name, "GET");
    assert_span(h.target, "/ws?token=a.b.c&session=60");
    assert_span(h.path, "/ws");
    assert_span(h.query, "token=a.b.c&session=60");
    assert_span(h.host, "push.example.org:8443");
    assert_int_equal(h.minor, 1);
    assert_true(h.keep_alive && h.upgrade_websocket);
    assert_false(h.chunked || h.has_length || h.expect_continue);
    assert_int_equal(h.nfields, 9);
    assert_span(http_field(&h, "SEC-websocket-KEY"), "dGhlIHNhbXBsZSBub25jZQ==");
    assert_span(http_field(&h, "x-empty"), "");
    assert_null(http_field(&h, "X-Empt").p);
    assert_span(http_field(&h, "Sec-WebSocket-Protocol"), "crier.v1.json, bearer.x");
    assert_true(http_list_has(&h, "Sec-WebSocket-Protocol", "crier.v1.msgpack"));
    assert_true(http_list_has(&h, "Sec-WebSocket-Protocol", "bearer.x"));
    assert_false(http_list_has(&h, "Sec-WebSocket-Protocol", "bearer"));
    assert_span(http_cookie(&h, "a"), "1");
    assert_span(http_cookie(&h, "token"), "t=1");
    assert_span(http_cookie(&h, "b"), "");
    assert_null(http_cookie(&h, "A").p);
    assert_null(http_cookie(&h, "").p);
}

static void reads_targets(void **state)
{
    static const struct {
        const char *method, *target, *path, *query, *host;
    } table[] = {
        {"GET", "/", "/", "", "h"},
        {"GET", "//", "//", "", "h"},
        {"GET", "/a%2Fb;c=1", "/a%2Fb;c=1", "", "h"},
        {"GET", "/?", "/", "", "h"},
        {"GET", "/a?b?c=/d", "/a", "b?c=/d", "h"},
        {"GET", "/{x}|\"^`\\", "/{x}|\"^`\\", "", "h"},
        {"OPTIONS", "*", "*", "", "h"},
        {"OPTIONS", "/x", "/x", "", "h"},
        {"GET", "http://other:81/a?b", "/a", "b", "other:81"},
        {"GET", "HTTPS://other/a", "/a", "", "other"},
        {"GET", "http://other", "/", "", "other"},
        {"GET", "http://other?q=1", "/", "q=1", "other"},
        {"GET", "http://[::1]:80/", "/", "", "[::1]:80"},
    };
    struct http_head h;
    char text[200];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: h\r\n\r\n", table[i].method, table[i].target);
        parsed(&h, text);
        assert_span(h.target, table[i].target);
        assert_span(h.path, table[i].path);
        assert_span(h.query, table[i].query);
        assert_span(h.host, table[i].host);
    }
}

static void reads_methods(void **state)
{
    static const struct {
        const char *name;
        enum http_method method;
    } table[] = {
        {"GET", HTTP_GET},
        {"HEAD", HTTP_HEAD},
        {"POST", HTTP_POST},
        {"PUT", HTTP_PUT},
        {"DELETE", HTTP_DELETE},
        {"OPTIONS", HTTP_OPTIONS},
        {"get", HTTP_OTHER},
        {"GETS", HTTP_OTHER},
        {"PATCH", HTTP_OTHER},
        {"M-SEARCH", HTTP_OTHER},
        {"!#$%&'*+-.^_`|~", HTTP_OTHER},
    };
    struct http_head h;
    char text[100];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: h\r\n\r\n", table[i].name);
        parsed(&h, text);
        assert_int_equal(h.method, table[i].method);
        assert_span(h.method_name, table[i].name);
    }
}

#define GET  "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\nHost: h\r\n"
#define OLD  "GET / HTTP/1.0\r\n"

static void knows_when_to_keep_the_connection(void **state)
{
    static const struct {
        const char *text;
        bool keep;
    } table[] = {
        {GET "Host: h\r\n\r\n", true},
        {GET "Host: h\r\nConnection: close\r\n\r\n", false},
        {GET "Host: h\r\nConnection: foo , CLOSE\r\n\r\n", false},
        {GET "Host: h\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false},
        {GET "Host: h\r\nConnection: closed\r\n\r\n", true},
        {GET "Host: h\r\nConnection: ,,\r\n\r\n", true},
        {OLD "\r\n", false},
        {OLD "Connection: Keep-Alive\r\n\r\n", true},
        {OLD "Connection: keep-alive, close\r\n\r\n", false},
        {OLD "Host: h\r\n\r\n", false},
        {"GET / HTTP/1.7\r\nHost: h\r\n\r\n", true},
    };
    struct http_head h;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        parsed(&h, table[i].text);
        assert_int_equal(h.keep_alive, table[i].keep);
    }
}

static void knows_upgrades_and_expectations(void **state)
{
    struct http_head h;

    (void)state;
    parsed(&h, GET "Host: h\r\nConnection: upgrade\r\n\r\n");
    assert_false(h.upgrade_websocket);
    parsed(&h, GET "Host: h\r\nUpgrade: websocket\r\n\r\n");
    assert_false(h.upgrade_websocket);
    parsed(&h, GET "Host: h\r\nUpgrade: h2c, websocket\r\nConnection: a\r\nConnection: b,upgrade\r\n\r\n");
    assert_true(h.upgrade_websocket);
    parsed(&h, GET "Host: h\r\nUpgrade: h2c, \"x, websocket, y\"\r\nConnection: upgrade\r\n\r\n");
    assert_false(h.upgrade_websocket);
    parsed(&h, GET "Host: h\r\nUpgrade: \"x\\\", websocket, \\\"y\"\r\nConnection: upgrade\r\n\r\n");
    assert_false(h.upgrade_websocket);
    parsed(&h, OLD "Host: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\nExpect: 100-continue\r\n\r\n");
    assert_false(h.upgrade_websocket || h.expect_continue);
    parsed(&h, POST "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
    assert_true(h.expect_continue);
}

static void knows_the_length_of_bodies(void **state)
{
    static const struct {
        const char *fields;
        bool has_length, chunked;
        uint64_t length;
    } table[] = {
        {"", false, false, 0},
        {"Content-Length: 0\r\n", true, false, 0},
        {"content-length:42\r\n", true, false, 42},
        {"Content-Length: 042\r\n", true, false, 42},
        {"Content-Length: 9223372036854775807\r\n", true, false, INT64_MAX},
        {"Content-Length: 7\r\nContent-Length: 7\r\n", true, false, 7},
        {"Transfer-Encoding: chunked\r\n", false, true, 0},
        {"Transfer-Encoding: , Chunked ,\r\n", false, true, 0},
    };
    struct http_head h;
    char text[200];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        snprintf(text, sizeof(text), POST "%s\r\n", table[i].fields);
        parsed(&h, text);
        assert_int_equal(h.has_length, table[i].has_length);
        assert_int_equal(h.chunked, table[i].chunked);
        assert_true(h.length == table[i].length);
    }
}

struct refusal {
    int status;
    const char *text;
};

static void refuse_all(const struct refusal *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int got = status_of(table[i].text);
        if (got != -table[i].status) {
            fail_msg("%d instead of %d for %s", got, -table[i].status, table[i].text);
        }
    }
}

static void refuses_request_lines(void **state)
{
    static const struct refusal table[] = {
        {400, " GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "\x16\x03\x01"}, /* a TLS hello on the plain port: refused at its first byte */
        {400, "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /  HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET / HTTP/1.1 \r\nHost: h\r\n\r\n"},
        {400, "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET / HTTP/1.1\nHost: h\n\n"}, /* bare line feeds */
        {400, "GET / HTTP/1.1\r\nHost: h\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\n\n"},
        {400, "GET / HTTP/1.1\rX\r\nHost: h\r\n\r\n"},
        {400, "GET /\r\n\r\n"}, /* HTTP/0.9 */
        {400, "GET\r\n\r\n"},
        {400, "GET / \r\n\r\n"},
        {400, "GET / HTTP\r\n\r\n"},
        {400, "GET / HTTP/1\r\n\r\n"},
        {400, "GET / HTTP/1.\r\n\r\n"},
        {400, "GET / HTTP/11.1\r\n\r\n"},
        {400, "GET / http/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET / HTTP/1,1\r\nHost: h\r\n\r\n"},
        {400, "G@T / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET x HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET * HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "OPTIONS ** HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /#top HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /\x7F HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /\t HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /caf\xC3\xA9 HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET http:/// HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET http:/h/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET http://user@h/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET http://h\\@x/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {505, "GET / HTTP/2.0\r\nHost: h\r\n\r\n"},
        {505, "GET / HTTP/0.9\r\nHost: h\r\n\r\n"},
        {505, "PRI * HTTP/2.0\r\n\r\n"},
        {400, "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "\r\n\rGET / HTTP/1.1\r\nHost: h\r\n\r\n"},
    };
    static const char nul[] = "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n";
    struct http_head h;

    (void)state;
    refuse_all(table, ARRAY_LEN(table));
    assert_int_equal(parse_at_every_prefix(span_of(nul, sizeof(nul) - 1), MAX_HEAD, &h), -400);
}

static void skips_two_empty_lines(void **state)
{
    struct http_head h;

    (void)state;
    parsed(&h, "\r\n" GET "Host: h\r\n\r\n");
    parsed(&h, "\r\n\r\n" GET "Host: h\r\n\r\n");
    assert_span(h.path, "/");
}

static void refuses_fields(void **state)
{
    static const struct refusal table[] = {
        {400, GET "Host : h\r\n\r\n"},
        {400, GET "Host\t: h\r\n\r\n"},
        {400, GET " Host: h\r\n\r\n"},
        {400, GET "\tHost: h\r\n\r\n"},
        {400, GET "Host: h\r\nX: a\r\n b\r\n\r\n"}, /* obs-fold */
        {400, GET "Host: h\r\nX: a\r\n\tb\r\n\r\n"},
        {400, GET "Host: h\r\nX: a\r\n \r\n\r\n"},
        {400, GET "Host: h\r\nno colon\r\n\r\n"},
        {400, GET "Host: h\r\nnocolon\r\n\r\n"},
        {400, GET "Host: h\r\n: x\r\n\r\n"},
        {400, GET "Host: h\r\nX(y): a\r\n\r\n"},
        {400, GET "Host: h\r\nX\xC3\xA9: a\r\n\r\n"},
        {400, GET "Host: h\r\nX: a\rb\r\n\r\n"},
        {400, GET "Host: h\r\nX: a\r\r\n\r\n"},
        {400, GET "Host: h\r\nX: a\nb\r\n\r\n"},
        {400, GET "Host: h\r\nX: \x01\r\n\r\n"},
        {400, GET "Host: h\r\nX: \x7F\r\n\r\n"},
        {400, GET "Host: h\r\nX: \x0B\r\n\r\n"},
    };
    static const char nul[] = GET "Host: h\r\nX: a\0b\r\n\r\n";
    struct http_head h;

    (void)state;
    refuse_all(table, ARRAY_LEN(table));
    assert_int_equal(parse_at_every_prefix(span_of(nul, sizeof(nul) - 1), MAX_HEAD, &h), -400);
}

/* Each byte in the middle of a value: HTAB, SP, VCHAR and obs-text pass, nothing else does; the same for names. */
static void judges_every_byte(void **state)
{
    static const char separators[] = "\"(),/:;<=>?@[\\]{}";
    char text[] = GET "Host: h\r\nXaX: XbX\r\n\r\n";
    char *name = strstr(text, "a"), *value = strstr(text, "b");
    struct http_error err;
    struct http_head h;

    (void)state;
    for (int c = 0; c < 256; c++) {
        size_t s1 = 0, s2 = 0;
        bool token = c > ' ' && c < 0x7F && !strchr(separators, c);

        *value = (char)c;
        assert_int_equal(http_head_parse(span_of(text, sizeof(text) - 1), MAX_HEAD, &s1, &h, &err) > 0,
                         c == '\t' || (c >= ' ' && c != 0x7F));
        *value = 'b';
        *name = (char)c;
        if (c != ':') { /* which ends the name, and is fine */
            assert_int_equal(http_head_parse(span_of(text, sizeof(text) - 1), MAX_HEAD, &s2, &h, &err) > 0, token);
        }
        *name = 'a';
    }
}

static void judges_host(void **state)
{
    static const struct {
        const char *host;
        bool ok;
    } table[] = {
        {"example.org", true},
        {"EXAMPLE.org:443", true},
        {"127.0.0.1:1", true},
        {"[::1]", true},
        {"[fe80::1.2.3.4]:65535", true},
        {"a_b", true},
        {"h:", true},
        {"x%41y", true},
        {"h:00080", true},
        {"", false},
        {"a b", false},
        {"a/b", false},
        {"user@h", false},
        {"h:80:80", false},
        {"h:65536", false},
        {"h:x", false},
        {"h:-1", false},
        {":80", false},
        {"[", false},
        {"[]", false},
        {"[::1", false},
        {"[::1]x", false},
        {"[12]", false},
        {"[::1%25eth0]", false},
        {"h?x", false},
        {"h#x", false},
        {"a\\b", false},
        {"x%4", false},
        {"x%zz", false},
        {"h\xE9", false},
        {"h:000080", false},
        {"<h>", false},
    };
    static const struct refusal others[] = {
        {400, GET "\r\n"},
        {400, GET "X: y\r\n\r\n"},
        {400, GET "Host: h\r\nHost: h\r\n\r\n"},
        {400, OLD "Host: h\r\nhost: i\r\n\r\n"},
        {400, OLD "Host: a b\r\n\r\n"},
    };
    struct http_head h;
    char text[100];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        snprintf(text, sizeof(text), GET "Host: %s\r\n\r\n", table[i].host);
        if (table[i].ok) {
            parsed(&h, text);
            assert_span(h.host, table[i].host);
        } else if (status_of(text) != -400) {
            fail_msg("Host: %s", table[i].host);
        }
    }
    refuse_all(others, ARRAY_LEN(others));
    parsed(&h, OLD "\r\n");
    assert_int_equal(h.host.n, 0);
}

static void refuses_ambiguous_bodies(void **state)
{
    static const struct refusal table[] = {
        {400, POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {400, POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"},
        {400, POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"},
        {400, POST "Content-Length: 5, 5\r\n\r\n"},
        {400, POST "Content-Length: +5\r\n\r\n"},
        {400, POST "Content-Length: -5\r\n\r\n"},
        {400, POST "Content-Length: 0x5\r\n\r\n"},
        {400, POST "Content-Length: 5a\r\n\r\n"},
        {400, POST "Content-Length: 5 5\r\n\r\n"},
        {400, POST "Content-Length:\r\n\r\n"},
        {400, POST "Content-Length: 9223372036854775808\r\n\r\n"},
        {400, POST "Content-Length: 99999999999999999999\r\n\r\n"},
        {400, POST "Content-Length: 18446744073709551621\r\n\r\n"}, /* 2^64 + 5 */
        {501, POST "Transfer-Encoding: gzip\r\n\r\n"},
        {501, POST "Transfer-Encoding: identity\r\n\r\n"},
        {501, POST "Transfer-Encoding: gzip, chunked\r\n\r\n"},
        {501, POST "Transfer-Encoding: chunked, gzip\r\n\r\n"},
        {501, POST "Transfer-Encoding: xchunked\r\n\r\n"},
        {501, POST "Transfer-Encoding: chunked;q=1\r\n\r\n"},
        {501, POST "Transfer-Encoding: \"chunked\"\r\n\r\n"},
        {501, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n"},
        {400, POST "Transfer-Encoding: chunked, chunked\r\n\r\n"},
        {400, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {400, POST "Transfer-Encoding:\r\n\r\n"},
        {400, POST "Transfer-Encoding: \x0B"
                   "chunked\r\n\r\n"},
        {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
    };

    (void)state;
    refuse_all(table, ARRAY_LEN(table));
}

static void counts_fields(void **state)
{
    char text[2048] = GET "Host: h\r\n";
    size_t n = strlen(text);
    struct http_head h;

    (void)state;
    for (unsigned i = 1; i < HTTP_MAX_HEADERS; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "X%u: y\r\n", i);
    }
    snprintf(text + n, sizeof(text) - n, "\r\n");
    parsed(&h, text);
    assert_int_equal(h.nfields, HTTP_MAX_HEADERS);
    snprintf(text + n, sizeof(text) - n, "Z: y\r\n\r\n");
    assert_int_equal(status_of(text), -431);
}

static void bounds_heads(void **state)
{
    const char *fits = "GET /0123456789 HTTP/1.1\r\nHost: h\r\n\r\n";
    size_t n = strlen(fits);
    struct http_head h;

    (void)state;
    assert_int_equal(parse_at_every_prefix(span_str(fits), n, &h), n);
    assert_int_equal(parse_at_every_prefix(span_str(fits), n - 1, &h), -431);
    assert_int_equal(parse_at_every_prefix(span_str(fits), 26, &h), -431);
    assert_int_equal(parse_at_every_prefix(span_str(fits), 25, &h), -414);
    assert_int_equal(parse_at_every_prefix(span_str(fits), 8, &h), -414);
    assert_int_equal(parse_at_every_prefix(span_str("\r\n\r\n"), 4, &h), -414);
}

/* A second call begins where the first one stopped: what it has seen is not searched again. */
static void searches_once(void **state)
{
    const char *text = GET "Host: h\r\nX: y\r\n";
    struct http_error err;
    struct http_head h;
    size_t scanned = 0;

    (void)state;
    for (size_t n = 1; n <= strlen(text); n++) {
        assert_int_equal(http_head_parse(span_of(text, n), MAX_HEAD, &scanned, &h, &err), 0);
        assert_int_equal(scanned, n);
    }
}

/* What follows a head is not looked at, whatever it is. */
static void leaves_the_rest_alone(void **state)
{
    const char *text = GET "Host: h\r\n\r\n\n\x01 GET";
    struct http_head h;

    (void)state;
    assert_int_equal(parse_at_every_prefix(span_str(text), MAX_HEAD, &h), strlen(text) - 6);
}

static void queries(void **state)
{
    static const struct {
        const char *query, *name;
        int rc;
        const char *value;
    } table[] = {
        {"user=alice", "user", 5, "alice"},
        {"a=1&user=bob&user=x", "user", 3, "bob"},
        {"user=", "user", 0, ""},
        {"user", "user", 0, ""},
        {"a=b=c", "a", 3, "b=c"},
        {"&&a=1&", "a", 1, "1"},
        {"u%73er=x", "user", 1, "x"},
        {"a=%E6%97%A5+x%2B", "a", 6, "日 x+"},
        {"a=%2f%2F", "a", 2, "//"},
        {"", "a", -1, NULL},
        {"=x", "", -1, NULL},
        {"ab=1", "a", -1, NULL},
        {"a=1", "ab", -1, NULL},
        {"A=1", "a", -1, NULL},
        {"a%=1&b=2", "a", -1, NULL},
        {"a%00=1", "a", -1, NULL},
        {"b=%&a=1", "a", 1, "1"},
        {"a=%", "a", -2, NULL},
        {"a=%4", "a", -2, NULL},
        {"a=%4&b=12", "a", -2, NULL},
        {"a=%zz", "a", -2, NULL},
        {"a=%4g", "a", -2, NULL},
        {"a=x%00y", "a", -2, NULL},
        {"a=123456789", "a", -2, NULL}, /* longer than out */
        {"a=12345678", "a", 8, "12345678"},
    };
    struct guard g;
    char out[8];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        int rc = http_query(guard_copy(&g, span_str(table[i].query)), table[i].name, out, sizeof(out));
        if (rc != table[i].rc) {
            fail_msg("%d for %s in %s", rc, table[i].name, table[i].query);
        }
        if (rc > 0) {
            assert_memory_equal(out, table[i].value, (size_t)rc);
        }
        guard_free(&g);
    }
}

static void unescapes(void **state)
{
    char out[16];

    (void)state;
    assert_int_equal(http_unescape(SPAN_LIT(""), out, sizeof(out)), 0);
    assert_int_equal(http_unescape(SPAN_LIT("a+b%20c"), out, sizeof(out)), 5);
    assert_memory_equal(out, "a+b c", 5);
    assert_int_equal(http_unescape(SPAN_LIT("%ff%0A"), out, sizeof(out)), 2);
    assert_memory_equal(out, "\xFF\n", 2);
    assert_int_equal(http_unescape(SPAN_LIT("%"), out, sizeof(out)), -2);
    assert_int_equal(http_unescape(SPAN_LIT("%1"), out, sizeof(out)), -2);
    assert_int_equal(http_unescape(SPAN_LIT("%00"), out, sizeof(out)), -2);
    assert_int_equal(http_unescape(SPAN_LIT("%%20"), out, sizeof(out)), -2);
    assert_int_equal(http_unescape(SPAN_LIT("a"), out, 0), -2);
}

static void cookies(void **state)
{
    struct http_head h;

    (void)state;
    parsed(&h, GET "Host: h\r\nCookie: flag; a = 1;; token=x;token=y\r\ncookie: late=\"; q=\"\"\r\n\r\n");
    assert_null(http_cookie(&h, "flag").p);
    assert_null(http_cookie(&h, "a").p); /* white space is part of neither name nor value */
    assert_span(http_cookie(&h, "token"), "x");
    assert_span(http_cookie(&h, "late"), "\"");
    assert_span(http_cookie(&h, "q"), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_browser_upgrade),
        cmocka_unit_test(reads_targets),
        cmocka_unit_test(reads_methods),
        cmocka_unit_test(knows_when_to_keep_the_connection),
        cmocka_unit_test(knows_upgrades_and_expectations),
        cmocka_unit_test(knows_the_length_of_bodies),
        cmocka_unit_test(refuses_request_lines),
        cmocka_unit_test(skips_two_empty_lines),
        cmocka_unit_test(refuses_fields),
        cmocka_unit_test(judges_every_byte),
        cmocka_unit_test(judges_host),
        cmocka_unit_test(refuses_ambiguous_bodies),
        cmocka_unit_test(counts_fields),
        cmocka_unit_test(bounds_heads),
        cmocka_unit_test(searches_once),
        cmocka_unit_test(leaves_the_rest_alone),
        cmocka_unit_test(queries),
        cmocka_unit_test(unescapes),
        cmocka_unit_test(cookies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
