/*
 * url.h - http, https, ws, wss, tcp and tcps URLs of a server, taken apart.
 */
#ifndef CMD_CRIERCTL_URL_H
#define CMD_CRIERCTL_URL_H

#include "core/base.h"

struct url {
    bool tls;
    bool raw;            /* tcp, tcps: no HTTP behind it */
    char host[256];      /* without the brackets of an IPv6 address */
    char port[6];        /* digits */
    char host_port[270]; /* as it goes into the Host field */
    char base[256];      /* path in front of the server's own, without a slash at its end; "" mostly */
};

/* False: one sentence in err. */
bool url_parse(const char *text, struct url *out, char *err, size_t errlen) MUST_CHECK;

#endif
