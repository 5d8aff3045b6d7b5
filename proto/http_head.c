/*
 * http_head.c - HTTP/1.1 request heads (RFC 9112), read strictly, and what is asked of them afterwards.
 *
 * The idea: first find where the head ends, then read it once. The search goes from line feed to line feed and
 * remembers where it stopped (*scanned), so a head that arrives a byte at a time costs no more than one that arrives
 * whole; a line feed without its carriage return, a first byte that cannot begin a method and a head past its limit are
 * refused during the search, without waiting for an end that may never come. Only a whole head is parsed, so the
 * parser proper never sees a partial line and has no state.
 *
 * Strict, because a proxy in front may read a sloppy head differently, and two readings of one head are how requests
 * are smuggled: what RFC 9112 lets a server repair is refused here.
 *
 * Pure; any thread. Nothing is allocated; all spans point into the input (or at the literal "/").
 */
#include "proto/http_head.h"

#include "proto/http_text.h"

static int refuse(struct http_error *err, unsigned status, const char *what)
{
    err->status = status;
    err->what = what;
    return -1;
}

/* ---- the search for the end ---- */

#define MAX_EMPTY_LINES 2

/* Steps over the empty lines RFC 9112 section 2.2 asks a server to ignore. */
static int skip_empty_lines(struct span in, size_t *start, struct http_error *err)
{
    size_t at = 0;

    while (in.n - at >= 2 && in.p[at] == '\r' && in.p[at + 1] == '\n') {
        at += 2;
        if (at > 2 * MAX_EMPTY_LINES) {
            return refuse(err, 400, "empty lines in front of the request line");
        }
    }
    *start = at;
    if (in.n == at || (in.n == at + 1 && in.p[at] == '\r')) {
        return 0;
    }
    return http_is_token(in.p[at]) ? 1 : refuse(err, 400, "the request does not begin with a method");
}

/* Goes on from *scanned. >0: bytes up to and with the empty line; 0: not there yet; <0: refused. */
static ptrdiff_t find_end(struct span in, size_t start, size_t *scanned, struct http_error *err)
{
    size_t at = *scanned > start ? *scanned : start;
    const uint8_t *lf;

    while (at < in.n && (lf = memchr(in.p + at, '\n', in.n - at)) != NULL) {
        size_t pos = (size_t)(lf - in.p);
        if (in.p[pos - 1] != '\r') {
            return refuse(err, 400, "a line feed without a carriage return");
        }
        if (in.p[pos - 2] == '\n') {
            return (ptrdiff_t)pos + 1;
        }
        at = pos + 1;
    }
    *scanned = in.n;
    return 0;
}

static int too_long(struct span in, size_t start, struct http_error *err)
{
    if (in.n == start || memchr(in.p + start, '\n', in.n - start) == NULL) {
        return refuse(err, 414, "the request line is too long");
    }
    return refuse(err, 431, "the request head is too long");
}

/* ---- the request line ---- */

static enum http_method method_of(struct span s)
{
    static const struct {
        struct span name;
        enum http_method method;
    } known[] = {
        {{(const uint8_t *)"GET", 3}, HTTP_GET},       {{(const uint8_t *)"POST", 4}, HTTP_POST},
        {{(const uint8_t *)"PUT", 3}, HTTP_PUT},       {{(const uint8_t *)"HEAD", 4}, HTTP_HEAD},
        {{(const uint8_t *)"DELETE", 6}, HTTP_DELETE}, {{(const uint8_t *)"OPTIONS", 7}, HTTP_OPTIONS},
    };

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (span_eq(s, known[i].name)) {
            return known[i].method;
        }
    }
    return HTTP_OTHER;
}

static int parse_version(struct span s, struct http_head *h, struct http_error *err)
{
    if (s.n != 8 || memcmp(s.p, "HTTP/", 5) != 0 || !http_is_digit(s.p[5]) || s.p[6] != '.' || !http_is_digit(s.p[7])) {
        return refuse(err, 400, "the request line does not end with an HTTP version");
    }
    if (s.p[5] != '1') {
        return refuse(err, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    }
    h->minor = s.p[7] == '0' ? 0 : 1; /* RFC 9110 section 2.5: a higher minor version is read as the highest known */
    return 0;
}

/* uri-host [ ":" port ] of RFC 3986, without IPvFuture and zones; never empty (RFC 9110 section 4.2.1). */
static bool authority_ok(struct span s)
{
    size_t i = 0;

    if (s.n > 0 && s.p[0] == '[') {
        bool colon = false;
        for (i = 1; i < s.n && s.p[i] != ']'; i++) {
            colon = colon || s.p[i] == ':';
            if (http_hex(s.p[i]) < 0 && s.p[i] != ':' && s.p[i] != '.') {
                return false;
            }
        }
        if (i++ == s.n || !colon) {
            return false;
        }
    } else {
        for (; i < s.n && s.p[i] != ':'; i++) {
            bool escape = s.p[i] == '%' && s.n - i > 2 && http_hex(s.p[i + 1]) >= 0 && http_hex(s.p[i + 2]) >= 0;
            if (!http_is_host(s.p[i]) && !escape) {
                return false;
            }
        }
    }
    if (i == 0 || (i < s.n && s.p[i] != ':')) {
        return false;
    }
    uint64_t port = 0;
    return s.n - i <= 1 || (s.n - i <= 6 && http_decimal(span_of(s.p + i + 1, s.n - i - 1), &port) && port <= 65535);
}

/* absolute-form, as sent to proxies but to be understood by all (RFC 9112 section 3.2.2): `rest` becomes what follows
 * the authority. */
static bool split_absolute(struct span *rest, struct span *authority)
{
    struct span s = *rest;
    size_t scheme, n;

    if (http_starts_with(s, "http://")) {
        scheme = 7;
    } else if (http_starts_with(s, "https://")) {
        scheme = 8;
    } else {
        return false;
    }
    s = span_of(s.p + scheme, s.n - scheme);
    for (n = 0; n < s.n && s.p[n] != '/' && s.p[n] != '?'; n++) {
    }
    *authority = span_of(s.p, n);
    *rest = span_of(s.p + n, s.n - n);
    return authority_ok(*authority);
}

static int parse_target(struct http_head *h, struct http_error *err)
{
    struct span rest = h->target;
    const uint8_t *mark;

    for (size_t i = 0; i < rest.n; i++) {
        if (rest.p[i] <= ' ' || rest.p[i] >= 0x7F || rest.p[i] == '#') {
            return refuse(err, 400, "the request target holds a byte that is not allowed there");
        }
    }
    if (SPAN_IS(rest, "*") && h->method == HTTP_OPTIONS) {
        h->path = rest;
        h->query = span_of(rest.p + 1, 0);
        return 0;
    }
    if ((rest.n == 0 || rest.p[0] != '/') && !split_absolute(&rest, &h->host)) {
        return refuse(err, 400, "the request target is neither a path nor an http URL");
    }
    mark = rest.n ? memchr(rest.p, '?', rest.n) : NULL;
    h->path = span_of(rest.p, mark ? (size_t)(mark - rest.p) : rest.n);
    h->query = mark ? span_of(mark + 1, (size_t)(rest.p + rest.n - mark - 1)) : span_of(rest.p + rest.n, 0);
    if (h->path.n == 0) {
        h->path = SPAN_LIT("/");
    }
    return 0;
}

static int parse_request_line(struct span line, struct http_head *h, struct http_error *err)
{
    size_t n = 0;
    const uint8_t *space;

    while (n < line.n && http_is_token(line.p[n])) {
        n++;
    }
    if (n == 0 || n == line.n || line.p[n] != ' ') {
        return refuse(err, 400, "the request line does not begin with a method and a space");
    }
    h->method_name = span_of(line.p, n);
    h->method = method_of(h->method_name);
    line = span_of(line.p + n + 1, line.n - n - 1);
    space = line.n ? memchr(line.p, ' ', line.n) : NULL;
    if (!space) {
        return refuse(err, 400, "the request line does not end with an HTTP version");
    }
    h->target = span_of(line.p, (size_t)(space - line.p));
    if (parse_version(span_of(space + 1, line.n - h->target.n - 1), h, err) != 0) {
        return -1;
    }
    return parse_target(h, err);
}

/* ---- the fields ---- */

static int parse_field(struct span line, struct http_head *h, struct http_error *err)
{
    size_t n = 0, i;

    if (line.p[0] == ' ' || line.p[0] == '\t') {
        return refuse(err, 400, "a header line begins with white space");
    }
    while (n < line.n && http_is_token(line.p[n])) {
        n++;
    }
    if (n == 0 || n == line.n || line.p[n] != ':') {
        return refuse(err, 400, "a header line does not begin with a field name and a colon");
    }
    if (h->nfields == HTTP_MAX_HEADERS) {
        return refuse(err, 431, "too many header fields");
    }
    for (i = n + 1; i < line.n; i++) {
        if (!http_is_value(line.p[i])) {
            return refuse(err, 400, "a header field holds a control character");
        }
    }
    h->fields[h->nfields].name = span_of(line.p, n);
    h->fields[h->nfields].value = http_trim(span_of(line.p + n + 1, line.n - n - 1));
    h->nfields++;
    return 0;
}

static int parse_lines(struct span in, struct http_head *h, struct http_error *err)
{
    for (bool first = true; in.n > 2; first = false) { /* the last two bytes are the empty line */
        const uint8_t *lf = memchr(in.p, '\n', in.n);
        size_t whole = (size_t)(lf - in.p) + 1;
        struct span line = span_of(in.p, whole - 2);

        if ((first ? parse_request_line(line, h, err) : parse_field(line, h, err)) != 0) {
            return -1;
        }
        in = span_of(in.p + whole, in.n - whole);
    }
    return 0;
}

/* ---- what the fields mean for the connection and the body ---- */

static int judge_host(struct http_head *h, struct http_error *err)
{
    struct span host = {NULL, 0};

    for (unsigned i = 0; i < h->nfields; i++) {
        if (http_name_is(h->fields[i].name, "host")) {
            if (host.p) {
                return refuse(err, 400, "more than one Host");
            }
            host = h->fields[i].value;
        }
    }
    if (!host.p) {
        return h->minor == 0 ? 0 : refuse(err, 400, "no Host");
    }
    if (!authority_ok(host)) {
        return refuse(err, 400, "Host is not a host name or address");
    }
    if (!h->host.p) {
        h->host = host;
    }
    return 0;
}

static int judge_length(struct http_head *h, struct http_error *err)
{
    uint64_t n;

    for (unsigned i = 0; i < h->nfields; i++) {
        if (!http_name_is(h->fields[i].name, "content-length")) {
            continue;
        }
        if (!http_decimal(h->fields[i].value, &n)) {
            return refuse(err, 400, "Content-Length is not a number");
        }
        if (h->has_length && n != h->length) {
            return refuse(err, 400, "two different Content-Lengths");
        }
        h->has_length = true;
        h->length = n;
    }
    return 0;
}

static int judge_coding(struct http_head *h, struct http_error *err)
{
    struct http_list list;
    struct span coding;
    bool present = false;

    http_list_start(&list, h, "transfer-encoding");
    while (http_list_next(&list, &coding)) {
        if (!http_name_is(coding, "chunked")) {
            return refuse(err, 501, "a transfer coding other than chunked");
        }
        if (h->chunked) {
            return refuse(err, 400, "chunked more than once");
        }
        h->chunked = true;
    }
    present = http_field(h, "transfer-encoding").p != NULL;
    if (present && !h->chunked) {
        return refuse(err, 400, "an empty Transfer-Encoding");
    }
    if (present && h->minor == 0) {
        return refuse(err, 400, "Transfer-Encoding in an HTTP/1.0 request");
    }
    if (present && h->has_length) {
        return refuse(err, 400, "Transfer-Encoding together with Content-Length");
    }
    return 0;
}

static void judge_connection(struct http_head *h)
{
    bool close = http_list_has(h, "connection", "close");

    h->keep_alive = !close && (h->minor == 1 || http_list_has(h, "connection", "keep-alive"));
    /* RFC 9110 sections 7.8 and 10.1.1: neither means anything in an HTTP/1.0 request. */
    h->upgrade_websocket =
        h->minor == 1 && http_list_has(h, "connection", "upgrade") && http_list_has(h, "upgrade", "websocket");
    h->expect_continue = h->minor == 1 && http_list_has(h, "expect", "100-continue");
}

int http_head_parse(struct span in, size_t max, size_t *scanned, struct http_head *out, struct http_error *err)
{
    struct span seen = span_of(in.p, in.n < max ? in.n : max);
    size_t start;
    ptrdiff_t end;
    int begun = skip_empty_lines(seen, &start, err);

    if (begun < 0) {
        return -1;
    }
    end = begun == 0 ? 0 : find_end(seen, start, scanned, err);
    if (end < 0) {
        return -1;
    }
    if (end == 0) {
        return in.n < max ? 0 : too_long(seen, start, err);
    }
    *out = (struct http_head){0};
    if (parse_lines(span_of(in.p + start, (size_t)end - start), out, err) != 0 || judge_host(out, err) != 0 ||
        judge_length(out, err) != 0 || judge_coding(out, err) != 0) {
        return -1;
    }
    judge_connection(out);
    return (int)end;
}
