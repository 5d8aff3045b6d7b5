/*
 * peer_http.c - subscribers that speak plain HTTP: event streams and polls. The same rules as peer.c: what a read
 * brought is parsed in place, what is cut is left to the next read. A stream is taken line by line, so that it does not
 * matter whether the server sends it in chunks (a chunk's length is a line like any other and no field).
 */
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

int peer_ask(struct peer *p, struct peer_env *env)
{
    char path[600], head[1400];
    int n = peer_path(p, env, path, sizeof path);
    if (n < 0)
        return -1;
    n = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: %s:%u\r\n%s%s\r\n", path, env->url.host, env->url.port,
                 env->kind == KIND_SSE ? "Accept: text/event-stream\r\n" : "", p->mark ? p->mark : "");
    if (n < 0 || (size_t)n >= sizeof head)
        return -1;
    return link_write(&p->link, head, (size_t)n);
}

/* ---- event streams ---- */

static bool begins(struct span s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && memcmp(s.p, with, n) == 0;
}

/* The whole head, or 0: more wanted, or -1: not 200. */
static ptrdiff_t on_stream_head(struct peer *p, struct peer_env *env, struct span in)
{
    const uint8_t *end = memmem(in.p, in.n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (!begins(in, "HTTP/1.1 200")) {
        errno = 0;
        peer_fail(p, env, "stream refused", in);
        return -1;
    }
    p->state = PEER_SUBSCRIBE;
    if (!env->room)
        peer_ready(p, env);
    return end + 4 - in.p;
}

static void on_stream_line(struct peer *p, struct peer_env *env, struct span line, struct batch *b)
{
    if (!begins(line, "data:"))
        return;
    const char *at = stamp_find(&env->stamp, line.p, line.n);
    if (at)
        peer_stamp(p, env, at, b);
    else if (p->state == PEER_SUBSCRIBE && memmem(line.p, line.n, "\"ok\"", 4))
        peer_ready(p, env);
    else if (p->state == PEER_READY)
        b->others++;
}

ptrdiff_t peer_stream(struct peer *p, struct peer_env *env, struct span in, struct batch *b)
{
    size_t used = 0;
    if (p->state == PEER_UPGRADE) {
        ptrdiff_t n = on_stream_head(p, env, in);
        if (n <= 0)
            return n;
        used = (size_t)n;
    }
    while (used < in.n) {
        const uint8_t *end = memchr(in.p + used, '\n', in.n - used);
        if (!end)
            break;
        on_stream_line(p, env, span_of(in.p + used, (size_t)(end - in.p) - used), b);
        used = (size_t)(end + 1 - in.p);
    }
    return (ptrdiff_t)used;
}

/* ---- polls ---- */

/* The value of a header in a head, or an empty span. */
static struct span header(struct span head, const char *name)
{
    size_t n = strlen(name);
    for (const uint8_t *p = head.p, *end = head.p + head.n; p < end;) {
        const uint8_t *eol = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((eol ? eol : end) - p);
        if (len > n && p[n] == ':' && strncasecmp((const char *)p, name, n) == 0) {
            const uint8_t *v = p + n + 1;
            size_t vn = len - n - 1;
            for (; vn && *v == ' '; v++)
                vn--;
            return span_of(v, vn && v[vn - 1] == '\r' ? vn - 1 : vn);
        }
        p += len + 1;
    }
    return (struct span){0};
}

/* nchan tells a poller where it is by two headers, to be sent back. */
static int keep_mark(struct peer *p, struct span head)
{
    struct span since = header(head, "Last-Modified"), tag = header(head, "Etag");
    if (!since.n)
        return 0;
    size_t n = since.n + tag.n + 48;
    char *mark = realloc(p->mark, n);
    if (!mark)
        return -1;
    p->mark = mark;
    snprintf(mark, n, "If-Modified-Since: %.*s\r\nIf-None-Match: %.*s\r\n", (int)since.n, (const char *)since.p,
             (int)tag.n, (const char *)tag.p);
    return 0;
}

static void on_body(struct peer *p, struct peer_env *env, struct span body, struct batch *b)
{
    size_t used = 0;
    for (;;) {
        const char *at = stamp_next(&env->stamp, body.p + used, body.n - used);
        if (!at)
            return;
        peer_stamp(p, env, at, b);
        used = (size_t)((const uint8_t *)at - body.p) + STAMP_LEN;
    }
}

ptrdiff_t peer_answer(struct peer *p, struct peer_env *env, struct span in, struct batch *b)
{
    const uint8_t *end = memmem(in.p, in.n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    struct span head = span_of(in.p, (size_t)(end + 2 - in.p)), length = header(head, "Content-Length");
    bool empty = begins(in, "HTTP/1.1 204") || begins(in, "HTTP/1.1 304");
    size_t n = empty || !length.n ? 0 : strtoul((const char *)length.p, NULL, 10), whole = head.n + 2 + n;
    if (!(empty || (begins(in, "HTTP/1.1 200") && length.n)) || whole > PEER_REST) {
        errno = 0;
        peer_fail(p, env, "poll refused", in);
        return -1;
    }
    if (in.n < whole)
        return 0;
    on_body(p, env, span_of(in.p + whole - n, n), b);
    b->answers++;
    /* Nobody sends two answers to one question. */
    if (board_phase(env->board) != PHASE_END && (keep_mark(p, head) < 0 || peer_ask(p, env) < 0)) {
        peer_fail(p, env, "cannot ask again", (struct span){0});
        return -1;
    }
    return (ptrdiff_t)whole;
}
