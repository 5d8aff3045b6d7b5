/*
 * alone.h - handshakes of OpenSSL with itself, in memory: no socket, no loop, no server.
 */
#ifndef BENCH_ALONE_H
#define BENCH_ALONE_H

#include "options.h"

/* --subs handshakes (--resume), the server's side timed. The exit status after a line of JSON. */
int alone_run(const struct options *o) MUST_CHECK;

#endif
