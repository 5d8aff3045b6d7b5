/*
 * ask.c - one question, one answer. Blocking, so that a caller who asks once after the other has exactly one under way:
 * that is what "one message a call" means. The first process only. An answer that does not fit is an error.
 */
#include "ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const struct ask *a, const char *what)
{
    fprintf(stderr, "crier-bench: %s:%u: %s\n", a->url.host, a->url.port, what);
    return -1;
}

int ask_open(struct ask *a, const char *url)
{
    a->fd = -1;
    if (url_parse(&a->url, url))
        return -1;
    if (a->url.scheme != URL_HTTP && a->url.scheme != URL_REDIS)
        return fail(a, "http:// or redis:// is wanted here");
    a->fd = url_dial(&a->url);
    return a->fd < 0 ? -1 : 0;
}

void ask_close(struct ask *a)
{
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
}

static int send_all(struct ask *a, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t r = send(a->fd, a->out + at, n - at, MSG_NOSIGNAL);
        if (r < 0 && errno != EINTR)
            return fail(a, strerror(errno));
        at += r > 0 ? (size_t)r : 0;
    }
    return 0;
}

/* Reads until whole() says how long the answer is and that much is there. */
static int read_answer(struct ask *a, size_t (*whole)(const char *in, size_t n))
{
    size_t n = 0;
    while (n + 1 < sizeof a->in) {
        ssize_t r = recv(a->fd, a->in + n, sizeof a->in - n - 1, 0);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return fail(a, r < 0 ? strerror(errno) : "the connection ended");
        n += (size_t)r;
        a->in[n] = '\0';
        size_t want = whole(a->in, n);
        if (want && n >= want)
            return 0;
    }
    return fail(a, "an answer longer than this tool's buffer");
}

/* ---- the broker ---- */

static size_t whole_http(const char *in, size_t n)
{
    const char *end = memmem(in, n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    for (const char *p = in; p < end; p++)
        if (*p == '\n' && strncasecmp(p + 1, "Content-Length:", 15) == 0)
            return (size_t)(end + 4 - in) + strtoul(p + 16, NULL, 10);
    return (size_t)(end + 4 - in);
}

int ask_push(struct ask *a, const char *prefix, unsigned first, unsigned n, unsigned of, unsigned size)
{
    char body[ASK_MAX - 512];
    size_t len = (size_t)snprintf(body, sizeof body, n == 1 ? "{\"user\":" : "{\"users\":[");
    for (unsigned i = 0; i < n && len < sizeof body; i++)
        len += (size_t)snprintf(body + len, sizeof body - len, "%s\"%s%u\"", i ? "," : "", prefix, (first + i) % of);
    if (len + size + 64 > sizeof body)
        return fail(a, "a push that does not fit");
    len += (size_t)snprintf(body + len, sizeof body - len, "%s,\"data\":\"", n == 1 ? "" : "]");
    memset(body + len, 'x', size - 2); /* with its quotes the data is `size` bytes long */
    len += size - 2;
    len += (size_t)snprintf(body + len, sizeof body - len, "\"}");
    int head = snprintf(a->out, sizeof a->out,
                        "POST /api/push HTTP/1.1\r\nHost: %s:%u\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        a->url.host, a->url.port, len);
    if (head < 0 || (size_t)head + len > sizeof a->out)
        return fail(a, "a push that does not fit");
    memcpy(a->out + head, body, len);
    if (send_all(a, (size_t)head + len) || read_answer(a, whole_http))
        return -1;
    if (strncmp(a->in, "HTTP/1.1 200", 12) != 0 || strstr(a->in, "\"error\"")) {
        fprintf(stderr, "crier-bench: the broker answered: %.300s\n", a->in);
        return -1;
    }
    return 0;
}

/* ---- Redis ---- */

static size_t whole_resp(const char *in, size_t n)
{
    const char *end = memmem(in, n, "\r\n", 2);
    if (!end)
        return 0;
    size_t line = (size_t)(end + 2 - in);
    return in[0] == '$' ? line + strtoul(in + 1, NULL, 10) + 2 : line;
}

static int ask_redis(struct ask *a, const char *command)
{
    size_t n = (size_t)snprintf(a->out, sizeof a->out, "%s\r\n", command);
    if (send_all(a, n) || read_answer(a, whole_resp))
        return -1;
    if (a->in[0] == '-')
        return fail(a, a->in);
    return 0;
}

static double number_after(const char *text, const char *name)
{
    const char *p = strstr(text, name);
    return p ? strtod(p + strlen(name), NULL) : 0;
}

int ask_memory(struct ask *a, double *bytes)
{
    if (ask_redis(a, "INFO memory"))
        return -1;
    *bytes = number_after(a->in, "used_memory:") - number_after(a->in, "mem_clients_normal:");
    return 0;
}

int ask_keys(struct ask *a, double *keys)
{
    if (ask_redis(a, "DBSIZE"))
        return -1;
    *keys = number_after(a->in, ":");
    return 0;
}
