/*
 * redis_cluster.h - what the connections of a node ask for first: functions, channels, its name. Dispatcher thread,
 * Redis back-end.
 */
#ifndef STORE_REDIS_CLUSTER_H
#define STORE_REDIS_CLUSTER_H

#include "store/redis_conn.h"

struct op;
struct redis_store;

void redis_setup(struct redis_store *s);
void redis_query(struct redis_store *s, struct op *op);
void redis_name_node(struct redis_store *s, bool renew);
bool redis_subscribe_base(struct redis_store *s) MUST_CHECK;
bool redis_base_confirmed(struct redis_store *s);
/* The channel of this node's own name. */
bool redis_own_channel_add(struct redis_store *s) MUST_CHECK;
void redis_own_channel_remove(struct redis_store *s);
/* The patterns that bring raw messages. */
bool redis_patterns_add(struct redis_store *s) MUST_CHECK;
void redis_patterns_remove(struct redis_store *s);
bool redis_patterns_confirmed(struct redis_store *s);
/* Sends s->args; drops the connection when that cannot be done. */
void redis_must_send(struct redis_store *s, redis_reply_cb *cb);

#endif
