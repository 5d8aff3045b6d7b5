/*
 * http_head.h - a strict HTTP/1.1 request head parser (RFC 9112) and chunked body decoder. Pure; spans borrow from the
 * input.
 *
 * Refused, each with its status: anything but "METHOD SP origin-form SP HTTP/1.x CRLF" (a bare LF too), obs-fold, white
 * space before a colon, control bytes, more than HTTP_MAX_HEADERS fields, Transfer-Encoding together with
 * Content-Length, two different Content-Lengths, a coding other than chunked, HTTP/1.1 without exactly one Host,
 * absolute-form to another scheme, HTTP/2 and 0.9. Empty lines before the request line are skipped (at most 2).
 */
#ifndef PROTO_HTTP_HEAD_H
#define PROTO_HTTP_HEAD_H

#include "core/base.h"

#define HTTP_MAX_HEADERS 64

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER };

struct http_field {
    struct span name, value; /* value trimmed */
};

struct http_head {
    enum http_method method;
    struct span method_name;
    struct span target; /* as sent */
    struct span path;   /* up to '?', still percent-encoded */
    struct span query;  /* behind '?', may be empty */
    struct span host;   /* authority: of an absolute-form target, else the Host field; empty in a 1.0 request without */
    unsigned minor;     /* HTTP/1.minor: 0 or 1 */
    bool keep_alive;
    bool chunked;
    bool has_length;
    uint64_t length;
    bool expect_continue;
    bool upgrade_websocket; /* Connection has "upgrade" and Upgrade has "websocket" */
    unsigned nfields;
    struct http_field fields[HTTP_MAX_HEADERS];
};

struct http_error {
    unsigned status;  /* 400, 414, 431, 501, 505 */
    const char *what; /* a sentence naming the fault */
};

/* >0: bytes consumed (head with its empty line); 0: need more; <0: err filled. `max` bounds the head: more bytes
 * without an end are 431 (414 when still in the request line). Safe to call again with more bytes; cost is linear in
 * all calls as long as the caller passes *scanned (0 at first) along. */
int http_head_parse(struct span in, size_t max, size_t *scanned, struct http_head *out,
                    struct http_error *err) MUST_CHECK;

/* Field by case-insensitive name: its value, or an empty span with p == NULL. The first one, if there are several. */
struct span http_field(const struct http_head *h, const char *name);
/* Does a comma-separated list field (all lines of that name) contain a token, case-insensitively? */
bool http_list_has(const struct http_head *h, const char *name, const char *token);
/* One parameter of a query string, percent-decoded ('+' is a space) into out: its length, -1 when not there, -2 when
 * malformed (a broken escape, %00) or longer than outlen. The first one, if there are several. Not NUL-terminated. */
int http_query(struct span query, const char *name, char *out, size_t outlen) MUST_CHECK;
/* Percent-decodes a path segment; the same returns. */
int http_unescape(struct span in, char *out, size_t outlen) MUST_CHECK;
/* A cookie by name out of the Cookie header, without the quotes around its value; p == NULL when not there. */
struct span http_cookie(const struct http_head *h, const char *name);

/* Chunked bodies (RFC 9112 section 7.1), incrementally: extensions are skipped, trailers read and dropped, all bounded.
 */
struct chunked {
    uint64_t left; /* of the current chunk */
    unsigned state;
    unsigned line; /* bytes of the current size line or trailer section */
};
void chunked_init(struct chunked *c);
/* Consumes from `in`; *data is the piece of body found (may be empty). Returns bytes consumed (>= 0; 0 with empty data:
 * need more), or -1 when malformed; *done when the last chunk and trailers are in. */
ptrdiff_t chunked_next(struct chunked *c, struct span in, struct span *data, bool *done) MUST_CHECK;

#endif
