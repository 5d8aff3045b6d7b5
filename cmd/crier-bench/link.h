/*
 * link.h - a non-blocking client socket, plain or TLS, behind four calls.
 */
#ifndef BENCH_LINK_H
#define BENCH_LINK_H

#include "url.h"

#include <sys/types.h>

struct ssl_st;
struct ssl_ctx_st;
struct ssl_session_st;

/* Of a process: TLS settings, and the session to resume when asked to. */
struct link_ctx {
    struct ssl_ctx_st *ssl;
    struct ssl_session_st *session; /* never used itself: a TLS 1.3 session may be used once, so copies are */
    bool resume;
};

struct link {
    int fd;
    struct ssl_st *ssl; /* NULL: plain */
    const char *why;    /* what TLS said when it failed, or NULL */
};

enum link_step { LINK_DONE, LINK_WANT_READ, LINK_WANT_WRITE, LINK_FAILED };

/* tls: "1.2", "1.3" or NULL (negotiated). Certificates are not verified: this is a load generator. 0 or -1. */
int link_ctx_init(struct link_ctx *c, bool secure, const char *tls, bool resume) MUST_CHECK;
void link_ctx_fini(struct link_ctx *c);

/* Starts connecting. To a loopback address, from 127.0.0.2 and, each 10,000 indexes, the next, so that ports never run
 * out. 0 or -1. */
int link_dial(struct link *l, const struct sockaddr_in *to, unsigned index) MUST_CHECK;
/* After the socket became writable: errors of connect, then the TLS handshake. */
enum link_step link_shake(struct link *l, struct link_ctx *c) MUST_CHECK;
/* >0 bytes, 0 nothing now, -1 ended or failed (errno; 0: closed by the peer). */
ssize_t link_read(struct link *l, void *p, size_t n) MUST_CHECK;
/* All n bytes, or -1: the socket had no room, or failed. */
int link_write(struct link *l, const void *p, size_t n) MUST_CHECK;
bool link_resumed(const struct link *l);
void link_close(struct link *l);

#endif
