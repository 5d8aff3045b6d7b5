/*
 * url.c - addresses: split, resolve, dial. Used while a process starts, never on the measured path.
 */
#include "url.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct {
    const char *name;
    enum url_scheme scheme;
    unsigned port;
} SCHEMES[] = {
    {"ws://", URL_WS, 80},        {"wss://", URL_WSS, 443},      {"http://", URL_HTTP, 80},
    {"https://", URL_HTTPS, 443}, {"redis://", URL_REDIS, 6379}, {"feed://", URL_FEED, 0},
};

static int fail(const char *text, const char *what)
{
    fprintf(stderr, "crier-bench: '%s': %s\n", text, what);
    return -1;
}

/* "host[:port]" or ":password@host[:port]". */
static int split_authority(struct url *u, const char *p, size_t n)
{
    const char *at = memchr(p, '@', n);
    if (at) {
        const char *secret = memchr(p, ':', (size_t)(at - p));
        secret = secret ? secret + 1 : p;
        size_t len = (size_t)(at - secret);
        if (len >= sizeof u->password)
            return -1;
        memcpy(u->password, secret, len);
        n -= (size_t)(at + 1 - p);
        p = at + 1;
    }
    const char *colon = memchr(p, ':', n);
    size_t host = colon ? (size_t)(colon - p) : n;
    if (host == 0 || host >= sizeof u->host)
        return -1;
    memcpy(u->host, p, host);
    if (!colon)
        return 0;
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (end != p + n || port == 0 || port > 65535)
        return -1;
    u->port = (unsigned)port;
    return 0;
}

static int resolve(struct url *u)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *list = NULL;
    if (getaddrinfo(u->host, NULL, &hints, &list) != 0 || !list)
        return -1;
    memcpy(&u->addr, list->ai_addr, sizeof u->addr);
    u->addr.sin_port = htons((uint16_t)u->port);
    freeaddrinfo(list);
    return 0;
}

int url_parse(struct url *u, const char *text)
{
    memset(u, 0, sizeof *u);
    const char *rest = NULL;
    for (size_t i = 0; i < ARRAY_LEN(SCHEMES) && !rest; i++) {
        size_t n = strlen(SCHEMES[i].name);
        if (strncmp(text, SCHEMES[i].name, n) == 0) {
            u->scheme = SCHEMES[i].scheme;
            u->port = SCHEMES[i].port;
            rest = text + n;
        }
    }
    if (!rest)
        return fail(text, "an address begins with ws://, wss://, http://, https:// or redis://");
    size_t n = strcspn(rest, "/?");
    if (split_authority(u, rest, n) < 0)
        return fail(text, "not host[:port]");
    const char *path = rest[n] ? rest + n : "/";
    if (strlen(path) + 2 > sizeof u->path)
        return fail(text, "path too long");
    snprintf(u->path, sizeof u->path, "%s%s", path[0] == '?' ? "/" : "", path);
    return resolve(u) ? fail(text, "no such host") : 0;
}

int url_dial(const struct url *u)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&u->addr, sizeof u->addr) == 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        return fd;
    }
    fprintf(stderr, "crier-bench: cannot connect to %s:%u: %s\n", u->host, u->port, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

int url_fill(char *out, size_t outlen, const char *in, const char *value)
{
    size_t n = 0, vn = strlen(value);
    while (*in) {
        bool hole = in[0] == '{' && in[1] == '}';
        size_t add = hole ? vn : 1;
        if (n + add >= outlen)
            return -1;
        memcpy(out + n, hole ? value : in, add);
        n += add;
        in += hole ? 2 : 1;
    }
    out[n] = '\0';
    return (int)n;
}
