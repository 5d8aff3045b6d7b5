/*
 * flush.h - the end of a turn: the output of all connections that have some. Shard thread.
 */
#ifndef NET_FLUSH_H
#define NET_FLUSH_H

#include "core/base.h"

struct flusher;
struct shard;

/* A flusher that sends by io_uring. NULL (errno): memory is out, or the kernel has or allows no io_uring. */
struct flusher *flusher_new(void) MUST_CHECK;
void flusher_free(struct flusher *f);
/* Writes for every connection on s->dirty, each once; by s->flusher where there is one. */
void flush_dirty(struct shard *s);

#endif
