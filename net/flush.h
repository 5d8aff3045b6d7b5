/*
 * flush.h - the end of a turn: the output of all connections that have some. Shard thread.
 */
#ifndef NET_FLUSH_H
#define NET_FLUSH_H

#include "core/config.h"

struct flusher;
struct shard;

/* NULL: each connection is written by itself (BATCH_OFF, or the kernel has or allows nothing else; the log says why).
 */
struct flusher *flusher_new(enum batch_sends how) MUST_CHECK;
/* How connections are written. */
const char *flusher_name(const struct flusher *f);
void flusher_free(struct flusher *f);
/* Writes for every connection on s->dirty, each once; by s->flusher where there is one. */
void flush_dirty(struct shard *s);

#endif
