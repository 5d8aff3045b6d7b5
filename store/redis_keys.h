/*
 * redis_keys.h - keys, channels and calls of the Redis schema (DELIVERY.md section 2). Private to the Redis back-end.
 */
#ifndef STORE_REDIS_KEYS_H
#define STORE_REDIS_KEYS_H

#include "store/redis_conn.h"

struct redis_store;

/* The first bytes of SHA-1(name); the first of them is the partition. */
void redis_hash(struct span name, uint8_t first[4]);
uint8_t redis_part(struct span name);
/* "<prefix>{T}:<kind>:<name>" */
void redis_key(const struct redis_store *s, struct resp_args *a, uint8_t part, const char *kind, struct span name);
/* "<prefix>{T}:<rest>" */
void redis_part_key(const struct redis_store *s, struct resp_args *a, uint8_t part, const char *rest);
/* "<prefix>{T}:" and at most six pieces. */
void redis_part_join(const struct redis_store *s, struct resp_args *a, uint8_t part, const struct span *pieces,
                     unsigned n);
void redis_room_id_key(const struct redis_store *s, struct resp_args *a, uint8_t part, struct span room,
                       struct span id);
void redis_id_key(const struct redis_store *s, struct resp_args *a, uint8_t part, struct span user, struct span id);
void redis_cluster_key(const struct redis_store *s, struct resp_args *a, const char *name); /* "<prefix>{c}:<name>" */
void redis_channel(const struct redis_store *s, struct resp_args *a, const char *kind, struct span name);
/* Begins "FCALL <function> <nkeys>" in s->args. */
void redis_fcall(struct redis_store *s, const char *function, unsigned nkeys);
/* Sends s->args, after what an open batch holds. */
enum redis_sent redis_send(struct redis_store *s, redis_reply_cb *cb, void *arg, bool patient) MUST_CHECK;

#endif
