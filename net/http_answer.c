/*
 * http_answer.c - the answers of HTTP: heads, bodies, errors in the request's own format, and what follows an answer
 * (the next request, or the end).
 *
 * Runs on the connection's shard. A write may close the connection, and then struct http is gone: nothing touches it
 * after a write that failed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/clock.h"
#include "core/config.h"
#include "net/http_state.h"
#include "net/shard.h"
#include "proto/emit.h"

#define ANSWER_HEAD_MAX  8192
#define SMALL_BODY_BYTES 4096 /* leaves in one piece with its head */
#define ENDLESS          SIZE_MAX

void http_forget_request(struct http *h)
{
    free(h->request_id);
    free(h->what);
    free(h->cors);
    if (h->arg)
        h->drop(h->arg);
    h->request_id = h->what = h->cors = NULL;
    h->arg = NULL;
    h->done = NULL;
    h->waiter = NULL;
    h->answering = h->head_only = h->old = false;
    h->format = CODEC_JSON;
    h->why = CLOSE_HTTP_DONE;
}

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
                 {409, "Conflict"},
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
    if (ok && status != 204 && status != 304 && length != ENDLESS)
        ok = buf_printf(out, "Content-Length: %zu\r\n", length);
    if (ok && status == 401) /* RFC 9110 section 15.5.2 */
        ok = buf_append_str(out, "WWW-Authenticate: Bearer realm=\"crier\"\r\n");
    if (ok && !h->keep_alive)
        ok = buf_append_str(out, "Connection: close\r\n");
    else if (ok && h->old)
        ok = buf_append_str(out, "Connection: keep-alive\r\n");
    if (ok && h->request_id)
        ok = buf_printf(out, "X-Request-Id: %s\r\n", h->request_id);
    if (ok && h->cors)
        ok = buf_append_str(out, h->cors);
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

void http_log_answer(struct conn *c, unsigned status, size_t bytes)
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

    http_forget_request(h);
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

    assert(http_alive(c));
    if (c->shard->draining) {
        h->keep_alive = false;
        h->why = h->why == CLOSE_HTTP_DONE ? CLOSE_DRAIN : h->why;
    }
    if (status >= 500)
        metric_add(c->shard->m, M_HTTP_5XX, 1);
    else if (status >= 400)
        metric_add(c->shard->m, M_HTTP_4XX, 1);
    http_log_answer(c, status, body.n);
    if (send_answer(c, status, type, body, headers))
        after_answer(c);
}

bool http_stream(struct conn *c, const char *type, const char *headers)
{
    struct http *h = c->ext;
    struct buf out;
    bool ok;

    h->keep_alive = false;
    conn_cork(c, true);
    buf_init(&out, ANSWER_HEAD_MAX);
    if (!write_head(h, 200, type, ENDLESS, headers, &out)) {
        conn_close(c, CLOSE_MEMORY);
        ok = false;
    } else if ((ok = conn_write(c, buf_span(&out)))) {
        http_release(c, 200);
    }
    buf_fini(&out);
    return ok;
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

void http_fail_why(struct conn *c, unsigned status, const char *code, const char *message, enum close_reason why)
{
    struct http *h = c->ext;

    h->keep_alive = false;
    h->why = why;
    http_fail_with(c, status, code, message, NULL);
}

void http_fail_close(struct conn *c, unsigned status, const char *code, const char *message)
{
    http_fail_why(c, status, code, message, CLOSE_PROTOCOL);
}
