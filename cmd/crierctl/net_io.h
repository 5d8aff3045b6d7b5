/*
 * net_io.h - one blocking TCP or TLS connection with timeouts.
 */
#ifndef CMD_CRIERCTL_NET_IO_H
#define CMD_CRIERCTL_NET_IO_H

#include "cmd/crierctl/ctl.h"
#include "cmd/crierctl/url.h"

struct ssl_st;
struct ssl_ctx_st;

struct link {
    int fd; /* -1: closed */
    struct ssl_st *ssl;
    struct ssl_ctx_st *ctx;
};

enum { LINK_EOF = 0, LINK_FAILED = -1, LINK_TIMEOUT = -2 };

/* Connects to the first address that answers and does TLS where the URL says so. False: one sentence in err that says
 * what to do; nothing is left open. */
bool link_open(struct link *l, const struct url *u, const struct server *s, char *err, size_t errlen) MUST_CHECK;
void link_close(struct link *l);

/* >0: bytes; LINK_EOF, LINK_FAILED, LINK_TIMEOUT. */
ptrdiff_t link_read(struct link *l, void *out, size_t cap, unsigned timeout_ms) MUST_CHECK;
bool link_write(struct link *l, struct span bytes) MUST_CHECK;
/* Bytes that can be had without asking the kernel. */
bool link_pending(const struct link *l);

#endif
