/*
 * http.c - HTTP/1.1 on a connection, until a route takes the connection over.
 *
 * Runs on the connection's shard. State hangs on c->ext (struct http): small, and a body's buffer exists only while a
 * request has a body that did not come with its head. A request is answered by exactly one http_answer; while it waits
 * for an op, input is paused, so pipelined requests stay in the connection's own buffer or in the kernel, in order. The
 * same happens when answers pile up unread: past the soft limit of the output queue nothing more is read until it has
 * drained.
 *
 * Deadlines hang on the connection's one timer: from accept to the first complete head, from the first byte of any
 * later head to its end, between requests, and for a body, which has to keep a minimum pace.
 *
 * Anything may close the connection (a write, a handler, a timer); then `gone` has freed struct http, and `alive` is
 * the question to ask before it is touched again.
 */
#include "net/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "core/buf.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/msg.h"
#include "net/auth.h"
#include "net/route.h"
#include "net/shard.h"
#include "proto/emit.h"

#define BODY_PACE_BYTES  1024 /* a body brings at least this much in each handshake_ms, or its end */
#define ANSWER_HEAD_MAX  8192
#define SMALL_BODY_BYTES 4096 /* leaves in one piece with its head */
#define REQUEST_ID_MAX   64

enum http_phase { PHASE_HEAD, PHASE_BODY, PHASE_WAIT };

/* A request whose body is still coming; its head's spans point into head_bytes. */
struct http_pending {
    const struct route *route;
    struct http_head head;
    struct chunked chunked;
    struct buf body;
    size_t limit;
    size_t paced; /* bytes of body there were when its timer was armed */
    uint8_t head_bytes[];
};

struct http {
    enum http_phase phase;
    bool first;      /* no head has been complete yet */
    bool answering;  /* a request is in hand */
    bool head_only;  /* HEAD */
    bool keep_alive; /* the connection outlives this answer */
    bool old;        /* HTTP/1.0 */
    bool choked;     /* paused until the output queue has drained */
    enum codec format;
    enum close_reason why; /* of the close after this answer */
    size_t scanned;        /* by http_head_parse */
    struct http_pending *pending;
    void (*done)(struct conn *c, void *arg, struct op *op);
    void *arg;
    uint64_t began_us;
    char *request_id; /* to be repeated; NULL: none */
    char *what;       /* "GET /path", for the access log */
    time_t date_s;
    char date[32];
};

static bool alive(const struct conn *c)
{
    return c->proto == &http_proto && c->state == CONN_OPEN;
}

/* ---- one request's own state ---- */

static void forget_request(struct http *h)
{
    free(h->request_id);
    free(h->what);
    free(h->arg);
    h->request_id = h->what = NULL;
    h->arg = NULL;
    h->done = NULL;
    h->answering = h->head_only = h->old = false;
    h->format = CODEC_JSON;
    h->why = CLOSE_HTTP_DONE;
}

static void free_pending(struct http_pending *p)
{
    if (p)
        buf_fini(&p->body);
    free(p);
}

static void http_free(struct http *h)
{
    if (!h)
        return;
    forget_request(h);
    free_pending(h->pending);
    free(h);
}

/* A request id is repeated when it could not be mistaken for anything else in a header or a log. */
static char *sane_request_id(const struct http_head *head)
{
    struct span id = http_field(head, "X-Request-Id");

    if (id.n == 0 || id.n > REQUEST_ID_MAX)
        return NULL;
    for (size_t i = 0; i < id.n; i++) {
        if (id.p[i] <= ' ' || id.p[i] > '~')
            return NULL;
    }
    return span_dup(id);
}

enum codec http_format(const struct http_head *head)
{
    struct span type = http_field(head, "Content-Type");
    const uint8_t *semi = type.n ? memchr(type.p, ';', type.n) : NULL;

    if (semi)
        type.n = (size_t)(semi - type.p);
    while (type.n && (type.p[type.n - 1] == ' ' || type.p[type.n - 1] == '\t'))
        type.n--;
    if ((type.n == 19 && strncasecmp((const char *)type.p, "application/msgpack", 19) == 0) ||
        (type.n == 21 && strncasecmp((const char *)type.p, "application/x-msgpack", 21) == 0))
        return CODEC_MSGPACK;
    return CODEC_JSON;
}

static void note_request(struct conn *c, const struct http_head *head)
{
    struct http *h = c->ext;
    char what[256];

    metric_add(c->shard->m, M_HTTP_REQUESTS, 1);
    h->first = false;
    h->answering = true;
    h->head_only = head->method == HTTP_HEAD;
    h->keep_alive = head->keep_alive;
    h->old = head->minor == 0;
    h->format = http_format(head);
    h->began_us = clock_mono_us();
    h->request_id = sane_request_id(head);
    if (c->shard->cfg->access_log) { /* the path alone: a query may hold a token */
        int n = snprintf(what, sizeof(what), "%.*s %.*s", SPAN_ARG(head->method_name), SPAN_ARG(head->path));
        if (n > 0)
            h->what = span_dup(span_of(what, (size_t)n < sizeof(what) ? (size_t)n : sizeof(what) - 1));
    }
}

/* ---- answers ---- */

static const char *status_text(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } texts[] = {{200, "OK"},
                 {204, "No Content"},
                 {302, "Found"},
                 {304, "Not Modified"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {413, "Content Too Large"},
                 {414, "URI Too Long"},
                 {415, "Unsupported Media Type"},
                 {426, "Upgrade Required"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {503, "Service Unavailable"},
                 {505, "HTTP Version Not Supported"}};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i].status == status)
            return texts[i].text;
    }
    return "Status";
}

/* RFC 9110 section 5.6.7, made once a second. */
static const char *date_now(struct http *h)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = (time_t)(clock_real_us() / 1000000);
    struct tm tm;

    if (now != h->date_s && gmtime_r(&now, &tm)) {
        h->date_s = now;
        snprintf(h->date, sizeof(h->date), "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday],
                 (unsigned)tm.tm_mday % 100, months[tm.tm_mon], (unsigned)(tm.tm_year + 1900) % 10000,
                 (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
    }
    return h->date;
}

static bool write_head(struct http *h, unsigned status, const char *type, size_t length, const char *headers,
                       struct buf *out)
{
    bool ok = buf_printf(out, "HTTP/1.1 %u %s\r\nDate: %s\r\n", status, status_text(status), date_now(h));

    if (ok && type)
        ok = buf_printf(out, "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n", type);
    if (ok && status != 204 && status != 304)
        ok = buf_printf(out, "Content-Length: %zu\r\n", length);
    if (ok && !h->keep_alive)
        ok = buf_append_str(out, "Connection: close\r\n");
    else if (ok && h->old)
        ok = buf_append_str(out, "Connection: keep-alive\r\n");
    if (ok && h->request_id)
        ok = buf_printf(out, "X-Request-Id: %s\r\n", h->request_id);
    if (ok && headers)
        ok = buf_append_str(out, headers);
    return ok && buf_append_str(out, "\r\n");
}

/* False: the connection is gone. */
static bool send_answer(struct conn *c, unsigned status, const char *type, struct span body, const char *headers)
{
    struct http *h = c->ext;
    struct buf out;
    bool small, ok;

    buf_init(&out, ANSWER_HEAD_MAX + SMALL_BODY_BYTES);
    ok = write_head(h, status, type, body.n, headers, &out);
    if (h->head_only || status == 204 || status == 304)
        body.n = 0;
    small = body.n <= SMALL_BODY_BYTES;
    if (ok && small)
        ok = buf_append_span(&out, body);
    if (!ok)
        conn_close(c, CLOSE_MEMORY);
    else
        ok = conn_write(c, buf_span(&out)) && (small || conn_write(c, body));
    buf_fini(&out);
    return ok;
}

static void log_answer(struct conn *c, unsigned status, size_t bytes)
{
    struct http *h = c->ext;
    char peer[64];

    if (c->shard->cfg->access_log)
        log_line(LOG_INFO, "http", "conn=%llu peer=%s \"%s\" status=%u bytes=%zu us=%llu", (unsigned long long)c->id,
                 conn_peer(c, peer, sizeof(peer)), h->what ? h->what : "-", status, bytes,
                 (unsigned long long)(h->answering ? clock_mono_us() - h->began_us : 0));
}

/* The next request, or the end. */
static void after_answer(struct conn *c)
{
    struct http *h = c->ext;
    bool was_waiting = h->phase == PHASE_WAIT;
    enum close_reason why = h->why;
    bool go_on = h->keep_alive;

    forget_request(h);
    h->phase = PHASE_HEAD;
    if (!go_on) {
        conn_finish(c, why);
        return;
    }
    conn_timer(c, c->shard->cfg->keepalive_ms);
    if (c->out.bytes > c->shard->cfg->outq_soft) {
        h->choked = true;
        conn_pause(c);
    } else if (was_waiting) {
        conn_resume(c);
    }
}

void http_answer(struct conn *c, unsigned status, const char *type, struct span body, const char *headers)
{
    struct http *h = c->ext;

    assert(alive(c));
    if (c->shard->draining) {
        h->keep_alive = false;
        h->why = h->why == CLOSE_HTTP_DONE ? CLOSE_DRAIN : h->why;
    }
    if (status >= 500)
        metric_add(c->shard->m, M_HTTP_5XX, 1);
    else if (status >= 400)
        metric_add(c->shard->m, M_HTTP_4XX, 1);
    log_answer(c, status, body.n);
    if (send_answer(c, status, type, body, headers))
        after_answer(c);
}

void http_fail_with(struct conn *c, unsigned status, const char *code, const char *message, const char *headers)
{
    struct http *h = c->ext;
    struct buf body;
    struct emit e;
    bool msgpack = h->format == CODEC_MSGPACK;

    buf_init(&body, SMALL_BODY_BYTES);
    emit_begin(&e, h->format, &body);
    emit_open(&e, SPAN_LIT("error"));
    emit_str(&e, SPAN_LIT("code"), span_str(code));
    emit_str(&e, SPAN_LIT("message"), span_str(message));
    emit_close(&e);
    if (emit_end(&e))
        http_answer(c, status, msgpack ? "application/msgpack" : "application/json", buf_span(&body), headers);
    else
        conn_close(c, CLOSE_MEMORY);
    buf_fini(&body);
}

void http_fail(struct conn *c, unsigned status, const char *code, const char *message, unsigned retry_after)
{
    char line[48];

    snprintf(line, sizeof(line), "Retry-After: %u\r\n", retry_after);
    http_fail_with(c, status, code, message, retry_after ? line : NULL);
}

static void fail_close(struct conn *c, unsigned status, const char *code, const char *message, enum close_reason why)
{
    struct http *h = c->ext;

    h->keep_alive = false;
    h->why = why;
    http_fail_with(c, status, code, message, NULL);
}

void http_fail_close(struct conn *c, unsigned status, const char *code, const char *message)
{
    fail_close(c, status, code, message, CLOSE_PROTOCOL);
}

void http_wait(struct conn *c, void (*done)(struct conn *c, void *arg, struct op *op), void *arg)
{
    struct http *h = c->ext;

    h->phase = PHASE_WAIT;
    h->done = done;
    h->arg = arg;
    conn_pause(c);
}

void http_release(struct conn *c)
{
    struct http *h = c->ext;

    log_answer(c, 101, 0);
    c->ext = NULL;
    c->proto = NULL;
    http_free(h);
}

/* ---- requests in ---- */

static void too_large(struct conn *c, size_t limit)
{
    char message[80];

    if (limit == 0)
        snprintf(message, sizeof(message), "this path takes no body");
    else
        snprintf(message, sizeof(message), "the body is longer than %zu bytes, the limit of this path", limit);
    fail_close(c, 413, "too_big", message, CLOSE_TOO_BIG);
}

/* The head is answered before its body was read: what has come of the body already, or the connection ends. */
static size_t pass_over_body(struct http *h, const struct http_head *head, struct span rest)
{
    if (!head->chunked && (!head->has_length || head->length <= rest.n))
        return head->has_length ? (size_t)head->length : 0;
    h->keep_alive = false;
    return rest.n;
}

/* Refusals that need no body. True: answered. */
static bool refuse_early(struct conn *c, const struct route *route, const struct http_head *head)
{
    const struct auth *auth = c->shard->env->auth;
    char peer[64];

    if (route->flags & ROUTE_ORIGIN && !auth_origin(auth, head)) {
        metric_add(c->shard->m, M_HANDSHAKE_ORIGIN, 1);
        log_limited(&c->shard->log_http, 10, LOG_WARN, "http", "peer=%s refused: origin %.*s is not on the list",
                    conn_peer(c, peer, sizeof(peer)), SPAN_ARG(http_field(head, "Origin")));
        http_fail(c, 403, "forbidden_origin", "this Origin is not on the broker's list", 0);
        return true;
    }
    if (route->flags & ROUTE_API_KEY && !auth_api(auth, head)) {
        http_fail_with(c, 401, "unauthorized", "an API key is needed: Authorization: Bearer <key>",
                       "WWW-Authenticate: Bearer realm=\"crier\"\r\n");
        return true;
    }
    return false;
}

/* A path that is not there, a method it has not, or OPTIONS. */
static void answer_unrouted(struct conn *c, const struct http_head *head, const char *allow)
{
    char line[96];

    snprintf(line, sizeof(line), "Allow: %s\r\n", allow);
    if (!allow[0])
        http_fail(c, 404, "not_found", "there is nothing at this path", 0);
    else if (head->method == HTTP_OPTIONS)
        http_answer(c, 204, NULL, (struct span){NULL, 0}, line);
    else
        http_fail_with(c, 405, "method_not_allowed", "this path has other methods; see Allow", line);
}

/* Keeps a request until its body is there. False: no memory. */
static bool keep_request(struct conn *c, const struct route *route, struct span head_bytes, size_t limit)
{
    struct http *h = c->ext;
    struct http_pending *p = malloc(sizeof(*p) + head_bytes.n);
    struct http_error err;
    size_t scanned = 0;

    if (!p)
        return false;
    memcpy(p->head_bytes, head_bytes.p, head_bytes.n);
    /* The very bytes that were a head a moment ago. */
    if (http_head_parse(span_of(p->head_bytes, head_bytes.n), head_bytes.n, &scanned, &p->head, &err) <= 0) {
        free(p);
        return false;
    }
    p->route = route;
    p->limit = limit;
    p->paced = 0;
    chunked_init(&p->chunked);
    buf_init(&p->body, limit);
    h->pending = p;
    h->phase = PHASE_BODY;
    conn_timer(c, c->shard->cfg->handshake_ms);
    return true;
}

/* Returns the bytes of `rest` that were used up with the head. */
static size_t begin_request(struct conn *c, const struct http_head *head, struct span head_bytes, struct span rest)
{
    const struct config *cfg = c->shard->cfg;
    struct http_request req = {.head = *head, .body = {NULL, 0}};
    char allow[64];
    const struct route *route = route_find(c->shard->env, c->public, head, allow, sizeof(allow));
    size_t limit = route && route->limit ? route->limit(cfg) : 0;
    bool body = head->chunked || (head->has_length && head->length > 0);
    size_t used = 0;

    note_request(c, head);
    if (!route) {
        used = pass_over_body(c->ext, head, rest);
        answer_unrouted(c, head, allow);
    } else if (body && (limit == 0 || (head->has_length && head->length > limit))) {
        too_large(c, limit);
    } else if (!body || (!head->chunked && head->length <= rest.n)) {
        used = body ? (size_t)head->length : 0;
        req.body = span_of(rest.p, used);
        if (!refuse_early(c, route, head))
            route->handle(c, &req);
    } else {
        struct http *h = c->ext;
        bool keep_alive = h->keep_alive;
        h->keep_alive = false; /* a refusal would leave its body unread */
        if (refuse_early(c, route, head))
            return 0;
        h->keep_alive = keep_alive;
        if (!keep_request(c, route, head_bytes, limit))
            conn_close(c, CLOSE_MEMORY);
        else if (head->expect_continue && head->minor > 0 && rest.n == 0)
            (void)conn_write(c, SPAN_LIT("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    return used;
}

static const char *head_fault_code(unsigned status)
{
    switch (status) {
    case 414:
        return "uri_too_long";
    case 431:
        return "head_too_large";
    case 501:
        return "not_implemented";
    case 505:
        return "http_version";
    default:
        return "bad_request";
    }
}

static size_t read_head(struct conn *c, struct span in)
{
    struct http *h = c->ext;
    struct http_head head;
    struct http_error err;
    int n;

    if (!h->first && h->scanned == 0)
        conn_timer(c, c->shard->cfg->handshake_ms);
    n = http_head_parse(in, c->shard->cfg->max_head, &h->scanned, &head, &err);
    if (n == 0)
        return 0;
    h->scanned = 0;
    if (n < 0) {
        metric_add(c->shard->m, M_HANDSHAKE_HTTP_FAILED, 1);
        http_fail_close(c, err.status, head_fault_code(err.status), err.what);
        return in.n;
    }
    return (size_t)n + begin_request(c, &head, span_of(in.p, (size_t)n), span_of(in.p + n, in.n - (size_t)n));
}

static void body_complete(struct conn *c)
{
    struct http *h = c->ext;
    struct http_pending *p = h->pending;
    struct http_request req = {.head = p->head, .body = buf_span(&p->body)};

    h->pending = NULL;
    h->phase = PHASE_HEAD;
    p->route->handle(c, &req);
    free_pending(p);
}

static size_t read_sized_body(struct conn *c, struct span in)
{
    struct http_pending *p = ((struct http *)c->ext)->pending;
    size_t want = (size_t)p->head.length - p->body.len;
    size_t n = in.n < want ? in.n : want;

    if (!buf_append(&p->body, in.p, n))
        fail_close(c, 503, "no_memory", "the broker is out of memory", CLOSE_MEMORY);
    else if (n == want)
        body_complete(c);
    return n;
}

static size_t read_chunked_body(struct conn *c, struct span in)
{
    struct http_pending *p = ((struct http *)c->ext)->pending;
    size_t used = 0;

    while (used < in.n) {
        struct span data;
        bool done = false;
        ptrdiff_t n = chunked_next(&p->chunked, span_of(in.p + used, in.n - used), &data, &done);
        if (n < 0) {
            http_fail_close(c, 400, "bad_request", "the chunked body is malformed");
            return in.n;
        }
        used += (size_t)n;
        if (data.n > p->limit - p->body.len) {
            too_large(c, p->limit);
            return in.n;
        }
        if (!buf_append_span(&p->body, data)) {
            fail_close(c, 503, "no_memory", "the broker is out of memory", CLOSE_MEMORY);
            return in.n;
        }
        if (done) {
            body_complete(c);
            return used;
        }
        if (n == 0 && data.n == 0)
            return used;
    }
    return used;
}

static size_t http_input(struct conn *c, uint8_t *p, size_t n)
{
    size_t used = 0;

    while (used < n && alive(c) && !c->paused) {
        struct http *h = c->ext;
        struct span in = span_of(p + used, n - used);
        size_t k;

        if (h->phase == PHASE_HEAD)
            k = read_head(c, in);
        else
            k = h->pending->head.chunked ? read_chunked_body(c, in) : read_sized_body(c, in);
        if (k == 0)
            break;
        used += k;
    }
    return used;
}

/* ---- the rest of the table ---- */

static void http_op_done(struct conn *c, struct op *op)
{
    struct http *h = c->ext;
    void (*done)(struct conn *, void *, struct op *) = h->done;
    void *arg = h->arg;

    if (h->phase != PHASE_WAIT || !done) {
        op_free(op);
        return;
    }
    h->done = NULL;
    h->arg = NULL;
    done(c, arg, op);
}

static void head_too_late(struct conn *c, struct http *h)
{
    bool partly = c->in || h->scanned;

    if (!partly)
        conn_close(c, h->first ? CLOSE_HANDSHAKE_TIMEOUT : CLOSE_IDLE);
    else
        fail_close(c, 408, "timeout", "the request's head took too long", CLOSE_HANDSHAKE_TIMEOUT);
}

static void http_timer(struct conn *c)
{
    struct http *h = c->ext;

    if (c->state != CONN_OPEN) {
        conn_close(c, CLOSE_HANDSHAKE_TIMEOUT);
        return;
    }
    switch (h->phase) {
    case PHASE_HEAD:
        if (!outq_empty(&c->out)) /* still reading the last answer; a write has its own deadline */
            conn_timer(c, c->shard->cfg->keepalive_ms);
        else
            head_too_late(c, h);
        break;
    case PHASE_BODY:
        if (h->pending->body.len - h->pending->paced < BODY_PACE_BYTES) {
            fail_close(c, 408, "timeout", "the request's body came too slowly", CLOSE_IDLE);
            break;
        }
        h->pending->paced = h->pending->body.len;
        conn_timer(c, c->shard->cfg->handshake_ms);
        break;
    case PHASE_WAIT: /* the store answers every op in bounded time */
        break;
    }
}

static void http_gone(struct conn *c)
{
    http_free(c->ext);
    c->ext = NULL;
}

/* Requests that have begun are still answered; the answer then closes (http_answer looks at draining). */
static void http_drain(struct conn *c)
{
    const struct http *h = c->ext;

    if (h->phase == PHASE_HEAD)
        conn_finish(c, CLOSE_DRAIN);
}

static void http_drained(struct conn *c)
{
    struct http *h = c->ext;

    if (!h->choked)
        return;
    h->choked = false;
    if (h->phase != PHASE_WAIT)
        conn_resume(c);
}

const struct conn_proto http_proto = {
    .name = "http",
    .input = http_input,
    .op_done = http_op_done,
    .timer = http_timer,
    .gone = http_gone,
    .drain = http_drain,
    .drained = http_drained,
};

bool http_start(struct conn *c)
{
    struct http *h = calloc(1, sizeof(*h));

    c->proto = &http_proto;
    c->ext = h;
    if (!h) {
        conn_close(c, CLOSE_MEMORY);
        return false;
    }
    forget_request(h);
    h->first = true;
    h->keep_alive = false; /* an error before the first head closes */
    conn_timer(c, c->shard->cfg->handshake_ms);
    return true;
}
