/*
 * wire.c - the publisher's connection, in the publisher's process alone. Commands are queued in one buffer and leave in
 * one write; replies are read whenever the socket has some, so neither side waits for the other's buffers. A refused
 * message ends the run with the server's own words: a benchmark of errors is none.
 */
#include "wire.h"

#include "proto/ws_frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_START 65536u
#define OUT_MAX   (64u * 1024 * 1024)
#define REPLY_MS  10000

static int out_bytes(struct wire *w, const void *p, size_t n)
{
    if (w->out_n + n > w->out_cap) {
        size_t cap = w->out_cap ? w->out_cap : OUT_START;
        while (cap < w->out_n + n)
            cap *= 2;
        uint8_t *bigger = cap <= OUT_MAX ? realloc(w->out, cap) : NULL;
        if (!bigger)
            return -1;
        w->out = bigger;
        w->out_cap = cap;
    }
    memcpy(w->out + w->out_n, p, n);
    w->out_n += n;
    return 0;
}

static int out_text(struct wire *w, const char *text)
{
    return out_bytes(w, text, strlen(text));
}

/* ---- opening ---- */

static void choose_body(struct wire *w, bool unicast)
{
    const char *body = w->o->body;
    if (strcmp(body, "auto") == 0)
        body = w->url.scheme == URL_REDIS ? "envelope" : "raw";
    w->before = w->after = "";
    w->call = strcmp(body, "call") == 0;
    if (strcmp(body, "envelope") == 0 || w->call)
        w->before = "{\"data\":";
    else if (strcmp(body, "live") == 0)
        w->before = "{\"ttl\":0,\"data\":";
    else if (strcmp(body, "api") == 0)
        w->before = unicast ? "{\"user\":\"{}\",\"data\":" : "{\"room\":\"{}\",\"data\":";
    if (w->before[0])
        w->after = "}";
}

static int greet(struct wire *w)
{
    if (w->url.scheme == URL_FEED)
        return out_text(w, FEED_HELLO);
    if (w->url.scheme != URL_REDIS || !w->url.password[0])
        return 0;
    char auth[256];
    snprintf(auth, sizeof auth, "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n", strlen(w->url.password), w->url.password);
    w->unanswered++;
    return out_text(w, auth);
}

int wire_open(struct wire *w, const struct options *o, bool unicast)
{
    memset(w, 0, sizeof *w);
    w->fd = -1;
    w->o = o;
    if (url_parse(&w->url, o->publish))
        return -1;
    if (w->url.scheme == URL_WS || w->url.scheme == URL_WSS || (w->url.scheme == URL_REDIS && !o->channel)) {
        fprintf(stderr, "crier-bench: --publish wants redis://host:port with --channel, or http://host:port/path\n");
        return -1;
    }
    choose_body(w, unicast);
    w->fd = url_dial(&w->url);
    if (w->fd < 0)
        return -1;
    (void)fcntl(w->fd, F_SETFL, O_NONBLOCK);
    return greet(w);
}

void wire_close(struct wire *w)
{
    if (w->fd >= 0)
        close(w->fd);
    free(w->out);
    w->fd = -1;
    w->out = NULL;
}

/* ---- queueing ---- */

/* to: a channel, or the user. */
static int add_redis(struct wire *w, const char *to, const char *before, const void *payload, size_t n)
{
    char head[512];
    const char *command = w->call ? "*5\r\n$5\r\nFCALL\r\n$10\r\ncrier_user\r\n$1\r\n0" : "*3\r\n$7\r\nPUBLISH";
    int len = snprintf(head, sizeof head, "%s\r\n$%zu\r\n%s\r\n$%zu\r\n%s", command, strlen(to), to,
                       strlen(before) + n + strlen(w->after), before);
    if (len < 0 || (size_t)len >= sizeof head || out_bytes(w, head, (size_t)len) || out_bytes(w, payload, n) ||
        out_text(w, w->after) || out_text(w, "\r\n"))
        return -1;
    w->unanswered++;
    return 0;
}

static int add_http(struct wire *w, const char *path, const char *before, const void *payload, size_t n)
{
    char head[1024];
    int len =
        snprintf(head, sizeof head,
                 "POST %s HTTP/1.1\r\nHost: %s:%u\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 path, w->url.host, w->url.port, strlen(before) + n + strlen(w->after), before);
    if (len < 0 || (size_t)len >= sizeof head || out_bytes(w, head, (size_t)len) || out_bytes(w, payload, n) ||
        out_text(w, w->after))
        return -1;
    w->unanswered++;
    return 0;
}

static int add_feed(struct wire *w, uint32_t index, const void *payload, size_t n)
{
    uint8_t frame[WS_MAX_HEAD];
    unsigned head = ws_head_write(frame, true, false, WS_TEXT, n, NULL);
    struct feed_head f = {index, (uint32_t)(head + n)};
    return out_bytes(w, &f, sizeof f) || out_bytes(w, frame, head) || out_bytes(w, payload, n) ? -1 : 0;
}

int wire_add(struct wire *w, const char *target, uint32_t index, const void *payload, size_t n)
{
    char before[256], where[512];
    if (w->url.scheme == URL_FEED)
        return add_feed(w, index, payload, n);
    const char *address = w->call ? "{}" : w->url.scheme == URL_REDIS ? w->o->channel : w->url.path;
    if (url_fill(before, sizeof before, w->before, target) < 0 || url_fill(where, sizeof where, address, target) < 0)
        return -1;
    return w->url.scheme == URL_REDIS ? add_redis(w, where, before, payload, n)
                                      : add_http(w, where, before, payload, n);
}

/* ---- replies ---- */

static int refused(const char *line, size_t n)
{
    fprintf(stderr, "crier-bench: the publisher was answered: %.*s\n", (int)(n < 200 ? n : 200), line);
    return -1;
}

/* One line of RESP, or of an array of numbers. Bytes used, 0: more wanted, -1: an error reply. */
static ptrdiff_t reply_redis(struct wire *w, const char *p, size_t n)
{
    const char *end = memmem(p, n, "\r\n", 2);
    if (!end)
        return 0;
    if (p[0] != ':' && p[0] != '+' && p[0] != '*')
        return refused(p, (size_t)(end - p));
    if (p[0] == '*') {
        w->lines = strtoul(p + 1, NULL, 10);
        return end + 2 - p;
    }
    if (w->lines == 0 && p[0] == ':' && p[1] == '0')
        w->unheard++;
    if (w->lines == 0 || --w->lines == 0)
        w->unanswered--;
    return end + 2 - p;
}

/* Content-Length of a response head, or -1. */
static long body_length(const char *p, const char *end)
{
    for (; p < end; p++)
        if (*p == '\n' && end - p > 16 && strncasecmp(p + 1, "Content-Length:", 15) == 0)
            return strtol(p + 16, NULL, 10);
    return -1;
}

/* One response head; its body is skipped as it comes. */
static ptrdiff_t reply_http(struct wire *w, const char *p, size_t n)
{
    const char *end = memmem(p, n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (n < 10 || memcmp(p, "HTTP/1.1 2", 10) != 0)
        return refused(p, strcspn(p, "\r"));
    long length = body_length(p, end);
    if (length < 0)
        return refused("an answer without Content-Length", 32);
    w->skip = (size_t)length;
    w->unanswered--;
    return end + 4 - p;
}

static int parse_replies(struct wire *w)
{
    size_t used = 0;
    while (used < w->in_n) {
        size_t body = w->skip < w->in_n - used ? w->skip : w->in_n - used;
        w->skip -= body;
        used += body;
        if (used == w->in_n)
            break;
        const char *p = w->in + used;
        ptrdiff_t r = w->url.scheme == URL_REDIS ? reply_redis(w, p, w->in_n - used) : reply_http(w, p, w->in_n - used);
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        used += (size_t)r;
    }
    memmove(w->in, w->in + used, w->in_n - used);
    w->in_n -= used;
    return 0;
}

static int read_replies(struct wire *w)
{
    for (;;) {
        if (w->in_n == sizeof w->in)
            return refused("a reply longer than this tool's buffer", 38);
        ssize_t r = recv(w->fd, w->in + w->in_n, sizeof w->in - w->in_n, 0);
        if (r < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (r <= 0) {
            fprintf(stderr, "crier-bench: the publisher's connection ended\n");
            return -1;
        }
        w->in_n += (size_t)r;
        if (parse_replies(w) < 0)
            return -1;
    }
}

int wire_flush(struct wire *w, uint64_t unanswered)
{
    size_t sent = 0;
    for (;;) {
        while (sent < w->out_n) {
            ssize_t r = send(w->fd, w->out + sent, w->out_n - sent, MSG_NOSIGNAL);
            if (r <= 0)
                break;
            sent += (size_t)r;
        }
        if (read_replies(w) < 0)
            return -1;
        if (sent == w->out_n && w->unanswered <= unanswered)
            break;
        struct pollfd pfd = {.fd = w->fd, .events = (short)(POLLIN | (sent < w->out_n ? POLLOUT : 0))};
        if (poll(&pfd, 1, REPLY_MS) == 0) {
            fprintf(stderr, "crier-bench: the publisher got no answer for %d s\n", REPLY_MS / 1000);
            return -1;
        }
    }
    w->out_n = 0;
    return 0;
}
