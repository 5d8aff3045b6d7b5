/*
 * http.c - a small HTTP/1.1 client: one request at a time, answers with Content-Length, chunked, or ended by the close.
 * Everything read has a ceiling: a head of 32 KiB, a body of 16 MiB.
 */
#include "cmd/crierctl/http.h"

#include <stdio.h>
#include <strings.h>

#include "cmd/crierctl/json_find.h"
#include "proto/http_head.h"

enum { MAX_HEAD = 32 * 1024, MAX_BODY = 16 * 1024 * 1024, READ_SIZE = 16 * 1024 };

void http_reply_init(struct http_reply *r)
{
    r->status = 0;
    buf_init(&r->head, MAX_HEAD);
    buf_init(&r->body, MAX_BODY);
}

void http_reply_fini(struct http_reply *r)
{
    buf_fini(&r->head);
    buf_fini(&r->body);
}

static const char *read_failure(ptrdiff_t n)
{
    switch (n) {
    case LINK_EOF:
        return "the server closed the connection before it had answered";
    case LINK_TIMEOUT:
        return "no answer in time (--timeout)";
    default:
        return "the connection broke";
    }
}

/* Reads once and appends: >0, or what link_read said. */
static ptrdiff_t read_more(struct link *l, const struct server *s, struct buf *in)
{
    uint8_t *room = buf_reserve(in, READ_SIZE);
    if (!room) {
        return LINK_FAILED;
    }
    ptrdiff_t n = link_read(l, room, READ_SIZE, (unsigned)s->timeout_s * 1000);
    if (n > 0) {
        buf_commit(in, (size_t)n);
    }
    return n;
}

static bool parse_status(struct http_reply *r)
{
    const uint8_t *p = r->head.data;
    if (r->head.len < 12 || memcmp(p, "HTTP/1.", 7) != 0 || p[8] != ' ') {
        return false;
    }
    r->status = 0;
    for (int i = 9; i < 12; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return false;
        }
        r->status = r->status * 10 + (unsigned)(p[i] - '0');
    }
    return r->status >= 100;
}

bool http_read_head(struct link *l, const struct server *s, struct buf *in, struct http_reply *r, char *err,
                    size_t errlen)
{
    const uint8_t *end;
    while (!(end = in->len ? memmem(in->data, in->len, "\r\n\r\n", 4) : NULL)) {
        ptrdiff_t n = in->len > MAX_HEAD ? LINK_FAILED : read_more(l, s, in);
        if (n <= 0) {
            snprintf(err, errlen, "%s", read_failure(n));
            return false;
        }
    }
    size_t size = (size_t)(end - in->data) + 4;
    r->head.len = 0;
    if (!buf_append(&r->head, in->data, size) || !parse_status(r)) {
        snprintf(err, errlen, "what answers there does not speak HTTP/1.1");
        return false;
    }
    buf_consume(in, size);
    return true;
}

struct span http_reply_field(const struct http_reply *r, const char *name)
{
    const char *p = (const char *)r->head.data, *end = p + r->head.len;
    size_t n = strlen(name);
    while (p < end) {
        const char *eol = memmem(p, (size_t)(end - p), "\r\n", 2);
        if (!eol) {
            break;
        }
        if ((size_t)(eol - p) > n && p[n] == ':' && !strncasecmp(p, name, n)) {
            const char *v = p + n + 1;
            while (v < eol && (*v == ' ' || *v == '\t')) {
                v++;
            }
            while (eol > v && (eol[-1] == ' ' || eol[-1] == '\t')) {
                eol--;
            }
            return span_of(v, (size_t)(eol - v));
        }
        p = eol + 2;
    }
    return (struct span){NULL, 0};
}

static bool read_length(struct link *l, const struct server *s, struct buf *in, uint64_t length, struct buf *body,
                        ptrdiff_t *failure)
{
    while (in->len < length) {
        *failure = read_more(l, s, in);
        if (*failure <= 0) {
            return false;
        }
    }
    *failure = LINK_FAILED;
    return buf_append(body, in->data, (size_t)length);
}

static bool read_chunked(struct link *l, const struct server *s, struct buf *in, struct buf *body, ptrdiff_t *failure)
{
    struct chunked state;
    chunked_init(&state);
    for (bool done = false; !done;) {
        struct span data;
        ptrdiff_t used = chunked_next(&state, buf_span(in), &data, &done);
        *failure = LINK_FAILED;
        if (used < 0 || (data.n && !buf_append_span(body, data))) {
            return false;
        }
        buf_consume(in, (size_t)used);
        if (used == 0 && !done) {
            *failure = read_more(l, s, in);
            if (*failure <= 0) {
                return false;
            }
        }
    }
    return true;
}

static bool read_to_end(struct link *l, const struct server *s, struct buf *in, struct buf *body, ptrdiff_t *failure)
{
    do {
        *failure = read_more(l, s, in);
    } while (*failure > 0);
    return *failure == LINK_EOF && buf_append_span(body, buf_span(in));
}

static bool read_body(struct link *l, const struct server *s, struct buf *in, struct http_reply *r, ptrdiff_t *failure)
{
    struct span length = http_reply_field(r, "Content-Length");
    struct span coding = http_reply_field(r, "Transfer-Encoding");
    if (r->status == 204 || r->status == 304) {
        return true;
    }
    if (coding.p) {
        return read_chunked(l, s, in, &r->body, failure);
    }
    if (!length.p) {
        return read_to_end(l, s, in, &r->body, failure);
    }
    uint64_t n = 0;
    *failure = LINK_FAILED;
    for (size_t i = 0; i < length.n; i++) {
        if (length.p[i] < '0' || length.p[i] > '9' || n > MAX_BODY) {
            return false;
        }
        n = n * 10 + (unsigned)(length.p[i] - '0');
    }
    return n <= MAX_BODY && read_length(l, s, in, n, &r->body, failure);
}

static bool write_request(struct link *l, const struct url *u, const char *method, const char *path, const char *bearer,
                          struct span body)
{
    struct buf b;
    buf_init(&b, MAX_BODY + MAX_HEAD);
    bool ok = buf_printf(&b, "%s %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: crierctl\r\nAccept: application/json\r\n",
                         method, u->base, path, u->host_port) &&
              (!bearer || buf_printf(&b, "Authorization: Bearer %s\r\n", bearer)) &&
              (!body.n || buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.n)) &&
              buf_append_str(&b, "\r\n") && buf_append_span(&b, body) && link_write(l, buf_span(&b));
    buf_fini(&b);
    return ok;
}

bool http_call(struct link *l, const struct url *u, const struct server *s, const char *method, const char *path,
               const char *bearer, struct span body, struct http_reply *out, char *err, size_t errlen)
{
    struct buf in;
    buf_init(&in, MAX_BODY + MAX_HEAD + READ_SIZE);
    out->body.len = 0;
    /* A server that refuses may answer before it has read everything: the answer is looked for even if writing failed.
     */
    bool wrote = write_request(l, u, method, path, bearer, body);
    bool ok = http_read_head(l, s, &in, out, err, errlen);
    while (ok && out->status == 100) {
        ok = http_read_head(l, s, &in, out, err, errlen);
    }
    ptrdiff_t failure = LINK_FAILED;
    if (ok && !read_body(l, s, &in, out, &failure)) {
        snprintf(err, errlen, "%s", read_failure(failure));
        ok = false;
    } else if (!ok && !wrote) {
        snprintf(err, errlen, "the server closed the connection while the request was sent");
    }
    buf_fini(&in);
    return ok;
}

void http_error_text(const struct http_reply *r, char *out, size_t cap)
{
    char code[64], message[512];
    struct json_value error;
    if (json_find(buf_span(&r->body), "error", &error) && error.kind == JSON_OBJECT &&
        json_find_text(error.raw, "code", code, sizeof(code)) &&
        json_find_text(error.raw, "message", message, sizeof(message))) {
        snprintf(out, cap, "%s: %s (HTTP %u)", code, message, r->status);
        return;
    }
    size_t n = r->body.len < 200 ? r->body.len : 200;
    snprintf(out, cap, "HTTP %u%s", r->status, n ? ": " : "");
    size_t at = strlen(out);
    for (size_t i = 0; i < n && at + 1 < cap; i++) {
        uint8_t c = r->body.data[i];
        out[at++] = (char)(c < ' ' || c == 0x7f ? ' ' : c);
    }
    out[at < cap ? at : cap - 1] = '\0';
}
