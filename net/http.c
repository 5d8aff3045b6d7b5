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
 * Anything may close the connection (a write, a handler, a timer); then `gone` has freed struct http, and `http_alive`
 * is the question to ask before it is touched again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/buf.h"
#include "core/call.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/msg.h"
#include "net/auth.h"
#include "net/http_state.h"
#include "net/route.h"
#include "net/shard.h"

#define BODY_PACE_BYTES 1024 /* a body brings at least this much in each handshake_ms, or its end */
#define REQUEST_ID_MAX  64

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

/* ---- one request's own state ---- */

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
    http_forget_request(h);
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

/* ---- what handlers do beside answering ---- */

void http_wait_with(struct conn *c, void (*done)(struct conn *c, void *arg, struct op *op), void (*drop)(void *arg),
                    void *arg)
{
    struct http *h = c->ext;

    h->phase = PHASE_WAIT;
    h->done = done;
    h->drop = drop;
    h->arg = arg;
    conn_pause(c);
}

void http_wait_call(struct conn *c, const struct http_waiter *w, void *arg, uint32_t late_ms)
{
    struct http *h = c->ext;

    h->phase = PHASE_WAIT;
    h->waiter = w;
    h->drop = free;
    h->arg = arg;
    if (w->late)
        conn_timer(c, late_ms);
}

void http_wait(struct conn *c, void (*done)(struct conn *c, void *arg, struct op *op), void *arg)
{
    http_wait_with(c, done, free, arg);
}

void http_release(struct conn *c, unsigned status)
{
    struct http *h = c->ext;

    http_log_answer(c, status, 0);
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
    http_fail_why(c, 413, "too_big", message, CLOSE_TOO_BIG);
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
        metric_add(c->shard->m, M_HANDSHAKE_AUTH, 1);
        log_limited(&c->shard->log_http, 10, LOG_WARN, "http",
                    "peer=%s refused: %.*s without an API key of this broker", conn_peer(c, peer, sizeof(peer)),
                    SPAN_ARG(head->path));
        http_fail(c, 401, "unauthorized", "an API key is needed: Authorization: Bearer <key>", 0);
        return true;
    }
    return false;
}

/* A page of an allowed origin may read what this path answers. */
static void note_cors(struct conn *c, bool cors, const struct http_head *head)
{
    struct http *h = c->ext;
    struct span origin = http_field(head, "Origin");
    char lines[512];
    int n;

    if (!cors || origin.n == 0 || !auth_origin(c->shard->env->auth, head))
        return;
    n = snprintf(lines, sizeof(lines),
                 "Access-Control-Allow-Origin: %.*s\r\nAccess-Control-Allow-Credentials: true\r\n"
                 "Access-Control-Expose-Headers: Retry-After, X-Request-Id\r\nVary: Origin\r\n",
                 SPAN_ARG(origin));
    if (n > 0 && (size_t)n < sizeof(lines))
        h->cors = span_dup(span_of(lines, (size_t)n));
}

/* A path that is not there, a method it has not, or OPTIONS. */
static void answer_unrouted(struct conn *c, const struct http_head *head, const char *allow)
{
    const struct http *h = c->ext;
    char line[512];
    int n = snprintf(line, sizeof(line), "Allow: %s\r\n", allow);

    if (h->cors && head->method == HTTP_OPTIONS)
        snprintf(line + n, sizeof(line) - (size_t)n,
                 "Access-Control-Allow-Methods: %s\r\nAccess-Control-Allow-Headers: Authorization, Content-Type, "
                 "Idempotency-Key, X-Request-Id\r\nAccess-Control-Max-Age: 600\r\n",
                 allow);
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
    char allow[64];
    const struct route *route = route_find(c->shard->env, c->public, head, allow, sizeof(allow));
    struct http_request req = {.route = route, .head = *head};
    size_t limit = route && route->limit ? route->limit(cfg) : 0;
    bool body = head->chunked || (head->has_length && head->length > 0);
    size_t used = 0;

    note_request(c, head);
    note_cors(c, route ? route->flags & ROUTE_CORS : route_has_cors(c->shard->env, c->public, head), head);
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

    if (!h->first && !h->in_head)
        conn_timer(c, c->shard->cfg->handshake_ms);
    h->in_head = true;
    n = http_head_parse(in, c->shard->cfg->max_head, &h->scanned, &head, &err);
    if (n == 0)
        return 0;
    h->scanned = 0;
    h->in_head = false;
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
    struct http_request req = {.route = p->route, .head = p->head, .body = buf_span(&p->body)};

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
        http_fail_why(c, 503, "no_memory", "the broker is out of memory", CLOSE_MEMORY);
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
            http_fail_why(c, 503, "no_memory", "the broker is out of memory", CLOSE_MEMORY);
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

    while (used < n && http_alive(c) && !c->paused) {
        struct http *h = c->ext;
        struct span in = span_of(p + used, n - used);
        size_t k;

        if (h->phase == PHASE_WAIT) { /* for a call: the next request is kept, and no more of it is read */
            conn_pause(c);
            break;
        }
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

static void http_call_done(struct conn *c, struct call *call)
{
    struct http *h = c->ext;
    const struct http_waiter *w = h->waiter;
    void *arg = h->arg;

    if (!w) {
        call_free(call);
        return;
    }
    h->waiter = NULL;
    h->arg = NULL;
    w->done(c, arg, call);
}

static void head_too_late(struct conn *c, struct http *h)
{
    bool partly = h->in_head;

    if (!partly)
        conn_close(c, h->first ? CLOSE_HANDSHAKE_TIMEOUT : CLOSE_IDLE);
    else
        http_fail_why(c, 408, "timeout", "the request's head took too long", CLOSE_HANDSHAKE_TIMEOUT);
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
            http_fail_why(c, 408, "timeout", "the request's body came too slowly", CLOSE_IDLE);
            break;
        }
        h->pending->paced = h->pending->body.len;
        conn_timer(c, c->shard->cfg->handshake_ms);
        break;
    case PHASE_WAIT: /* the store answers every op in bounded time */
        if (h->waiter && h->waiter->late)
            h->waiter->late(c, h->arg);
        break;
    }
}

static void http_gone(struct conn *c)
{
    struct http *h = c->ext;

    if (h && h->waiter) {
        h->waiter->left(c, h->arg);
        h->arg = NULL;
    }
    http_free(h);
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
    .call_done = http_call_done,
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
    http_forget_request(h);
    h->first = true;
    h->keep_alive = false; /* an error before the first head closes */
    conn_timer(c, c->shard->cfg->handshake_ms);
    return true;
}
