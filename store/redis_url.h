/*
 * redis_url.h - where Redis is: redis://[[user]:pass@]host[:port][/db], or unix://[[user]:pass@]/path[?db=N].
 */
#ifndef STORE_REDIS_URL_H
#define STORE_REDIS_URL_H

#include "core/base.h"

struct redis_url {
    char *host; /* NULL: `path` is a Unix socket */
    char *path;
    uint16_t port;
    char *user, *pass; /* NULL: none */
    unsigned db;
};

/* False with a sentence in err (which never holds the password). On success the caller calls redis_url_fini. */
bool redis_url_parse(const char *text, struct redis_url *out, char *err, size_t errlen) MUST_CHECK;
void redis_url_fini(struct redis_url *u);

#endif
