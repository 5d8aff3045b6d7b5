/*
 * metrics_http.c - libevent's HTTP server with two paths. Requests have small ceilings and ten seconds.
 */
#include "cmd/crier-relay/metrics_http.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "cmd/crier-relay/counters.h"
#include "core/buf.h"

enum { TEXT_MAX = 64 * 1024, HEAD_MAX = 8192, BODY_MAX = 1024, TIMEOUT_S = 10 };

struct metrics_http {
    struct evhttp *http;
    const struct counters *counters;
    char host[64]; /* as it was given */
    unsigned port;
};

static void answer(struct evhttp_request *q, const char *type, struct span text)
{
    struct evbuffer *body = evbuffer_new();
    evhttp_add_header(evhttp_request_get_output_headers(q), "Content-Type", type);
    evhttp_add_header(evhttp_request_get_output_headers(q), "Cache-Control", "no-store");
    if (body && evbuffer_add(body, text.p, text.n) == 0)
        evhttp_send_reply(q, HTTP_OK, "OK", body);
    else
        evhttp_send_reply(q, HTTP_INTERNAL, "Internal Server Error", NULL);
    if (body)
        evbuffer_free(body);
}

static void on_metrics(struct evhttp_request *q, void *arg)
{
    const struct metrics_http *m = arg;
    struct buf b;
    buf_init(&b, TEXT_MAX);
    if (counters_render(m->counters, &b))
        answer(q, "text/plain; version=0.0.4", buf_span(&b));
    else
        evhttp_send_reply(q, HTTP_INTERNAL, "Internal Server Error", NULL);
    buf_fini(&b);
}

/* The loop turns: whoever reads this has been answered by it. */
static void on_healthz(struct evhttp_request *q, void *arg)
{
    (void)arg;
    answer(q, "text/plain", SPAN_LIT("ok\n"));
}

/* "ADDR:PORT" taken apart; the address without brackets into `host`. */
static bool take_apart(const char *where, char *host, size_t len, uint16_t *port)
{
    const char *colon = strrchr(where, ':');
    size_t n = colon ? (size_t)(colon - where) : 0;
    bool brackets = n > 2 && where[0] == '[' && where[n - 1] == ']';
    if (n == 0 || n >= len)
        return false;
    snprintf(host, len, "%.*s", (int)(brackets ? n - 2 : n), where + brackets);
    *port = (uint16_t)strtoul(colon + 1, NULL, 10);
    return true;
}

static unsigned port_of(int fd)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);
    if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
        return 0;
    if (sa.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)&sa)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)&sa)->sin_port);
}

static bool listen_at(struct metrics_http *m, struct event_base *base, const char *where)
{
    uint16_t port;
    m->http = evhttp_new(base);
    if (!m->http || !take_apart(where, m->host, sizeof(m->host), &port))
        return false;
    evhttp_set_max_headers_size(m->http, HEAD_MAX);
    evhttp_set_max_body_size(m->http, BODY_MAX);
    evhttp_set_timeout(m->http, TIMEOUT_S);
    evhttp_set_allowed_methods(m->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    struct evhttp_bound_socket *s = evhttp_bind_socket_with_handle(m->http, m->host, port);
    if (!s)
        return false;
    m->port = port_of(evhttp_bound_socket_get_fd(s));
    return evhttp_set_cb(m->http, "/metrics", on_metrics, m) == 0 &&
           evhttp_set_cb(m->http, "/healthz", on_healthz, m) == 0;
}

struct metrics_http *metrics_http_new(struct event_base *base, const char *where, const struct counters *c, char *err,
                                      size_t errlen)
{
    struct metrics_http *m = calloc(1, sizeof(*m));
    if (m)
        m->counters = c;
    if (m && listen_at(m, base, where))
        return m;
    snprintf(err, errlen, "cannot listen on %s (metrics-listen)", where);
    metrics_http_free(m);
    return NULL;
}

void metrics_http_free(struct metrics_http *m)
{
    if (!m)
        return;
    if (m->http)
        evhttp_free(m->http);
    free(m);
}

void metrics_http_address(const struct metrics_http *m, char *out, size_t len)
{
    bool six = strchr(m->host, ':') != NULL;
    snprintf(out, len, "%s%s%s:%u", six ? "[" : "", m->host, six ? "]" : "", m->port);
}
