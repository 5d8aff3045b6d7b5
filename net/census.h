/*
 * census.h - answering the dispatcher's question who is on this shard and what they have got. Runs on the shard.
 */
#ifndef NET_CENSUS_H
#define NET_CENSUS_H

#include "core/base.h"

struct census;
struct shard;

/* Fills the page and sends it back. Takes it. */
void census_take(struct shard *s, struct census *c);
/* Sends back what found the dispatcher's lane full. */
void census_retry(struct shard *s);

#endif
