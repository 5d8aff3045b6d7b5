/*
 * ws_client.h - a WebSocket client on a socket of the test's own thread: what it needs to drive one shard.
 */
#ifndef TEST_UNIT_NET_WS_CLIENT_H
#define TEST_UNIT_NET_WS_CLIENT_H

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shard_world.h"

struct client {
    int fd;
    uint8_t buf[65536 + 64];
    size_t len;
    char text[65536];
};

static inline void fill(struct client *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (poll(&p, 1, DEADLINE_MS) != 1)
        fail_msg("the broker sent nothing");
    ssize_t n = recv(c->fd, c->buf + c->len, sizeof c->buf - c->len, 0);
    if (n <= 0)
        fail_msg("the broker closed the connection");
    c->len += (size_t)n;
}

static inline void consume(struct client *c, size_t n)
{
    memmove(c->buf, c->buf + n, c->len - n);
    c->len -= n;
}

static inline void dial(struct world *w, struct client *c, const char *query)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port)};
    char req[512];
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->len = 0;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&a, sizeof a), 0);
    int n = snprintf(req, sizeof req,
                     "GET /ws?%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                     query);
    assert_int_equal(send(c->fd, req, (size_t)n, 0), n);
}

static inline void skip_head(struct client *c)
{
    uint8_t *end;
    while (!(end = memmem(c->buf, c->len, "\r\n\r\n", 4)))
        fill(c);
    assert_memory_equal(c->buf, "HTTP/1.1 101", 12);
    consume(c, (size_t)(end - c->buf) + 4);
}

/* The next frame of the server (all are short here): its opcode; payload in c->text. */
static inline int next_frame(struct client *c)
{
    for (;;) {
        size_t head = c->len >= 2 && (c->buf[1] & 0x7f) == 126 ? 4 : 2;
        if (c->len >= head) {
            size_t n = head == 4 ? (size_t)c->buf[2] << 8 | c->buf[3] : (size_t)(c->buf[1] & 0x7f);
            if (c->len >= head + n) {
                int op = c->buf[0] & 15;
                memcpy(c->text, c->buf + head, n);
                c->text[n] = '\0';
                consume(c, head + n);
                return op;
            }
        }
        fill(c);
    }
}

static inline void expect_text(struct client *c, const char *part)
{
    assert_int_equal(next_frame(c), 1);
    if (!strstr(c->text, part))
        fail_msg("expected %s in %s", part, c->text);
}

static inline void expect_seq(struct client *c, uint64_t seq)
{
    char part[64];
    snprintf(part, sizeof part, "\"seq\":%llu,", (unsigned long long)seq);
    expect_text(c, part);
}

static inline void say(struct client *c, const char *text)
{
    uint8_t f[256] = {0x81, (uint8_t)(0x80 | strlen(text)), 0, 0, 0, 0};
    memcpy(f + 6, text, strlen(text));
    assert_int_equal(send(c->fd, f, 6 + strlen(text), 0), 6 + strlen(text));
}

/* A round trip: everything the client said before has been handled. */
static inline void sync_client(struct client *c)
{
    say(c, "{\"type\":\"unsubscribe\",\"ref\":\"sync\",\"room\":\"none\"}");
    expect_text(c, "not_subscribed");
}

#endif
