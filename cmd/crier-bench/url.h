/*
 * url.h - addresses as the command line gives them.
 */
#ifndef BENCH_URL_H
#define BENCH_URL_H

#include "core/base.h"

#include <netinet/in.h>

enum url_scheme { URL_WS, URL_WSS, URL_HTTP, URL_HTTPS, URL_REDIS, URL_FEED };

struct url {
    enum url_scheme scheme;
    char host[128]; /* as written, without the port */
    unsigned port;
    char path[512];     /* with the query; "/" when empty */
    char password[128]; /* redis://:password@host */
    struct sockaddr_in addr;
};

/* Parses and resolves (IPv4). 0, or -1 after a sentence on standard error. */
int url_parse(struct url *u, const char *text) MUST_CHECK;
/* A connected blocking socket, or -1 after a sentence on standard error. */
int url_dial(const struct url *u) MUST_CHECK;
/* Copies `in` to `out` (outlen bytes, NUL-terminated) with each "{}" replaced; its length, or -1: too long. */
int url_fill(char *out, size_t outlen, const char *in, const char *value) MUST_CHECK;

#endif
