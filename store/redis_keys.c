/*
 * redis_keys.c - keys, channels and calls of the Redis schema (DELIVERY.md section 2).
 *
 * The partition of a user is the first byte of SHA-1(name), written as two hex digits in braces: the only hash tag, so
 * that all keys of one user stand in one slot of a cluster.
 *
 * Dispatcher thread.
 */
#include <stdio.h>

#include "core/config.h"
#include "core/hash.h"
#include "store/redis_keys.h"
#include "store/redis_store.h"

void redis_hash(struct span name, uint8_t first[4])
{
    uint8_t hash[20];
    sha1(name, hash);
    memcpy(first, hash, 4);
}

uint8_t redis_part(struct span name)
{
    uint8_t hash[4];
    redis_hash(name, hash);
    return hash[0];
}

static struct span tag(uint8_t part, char to[5])
{
    static const char digits[] = "0123456789abcdef";
    to[0] = '{';
    to[1] = digits[part >> 4];
    to[2] = digits[part & 15];
    to[3] = '}';
    to[4] = ':';
    return span_of(to, 5);
}

void redis_key(const struct redis_store *s, struct resp_args *a, uint8_t part, const char *kind, struct span name)
{
    char t[5];
    const struct span pieces[] = {s->prefix, tag(part, t), span_str(kind), SPAN_LIT(":"), name};
    resp_join(a, pieces, ARRAY_LEN(pieces));
}

void redis_id_key(const struct redis_store *s, struct resp_args *a, uint8_t part, struct span user, struct span id)
{
    char t[5];
    const struct span pieces[] = {s->prefix, tag(part, t), SPAN_LIT("i:u:"), user, SPAN_LIT(":"), id};
    resp_join(a, pieces, ARRAY_LEN(pieces));
}

void redis_room_id_key(const struct redis_store *s, struct resp_args *a, uint8_t part, struct span room, struct span id)
{
    char t[5];
    const struct span pieces[] = {s->prefix, tag(part, t), SPAN_LIT("i:r:"), room, SPAN_LIT(":"), id};
    resp_join(a, pieces, ARRAY_LEN(pieces));
}

void redis_part_key(const struct redis_store *s, struct resp_args *a, uint8_t part, const char *rest)
{
    char t[5];
    const struct span pieces[] = {s->prefix, tag(part, t), span_str(rest)};
    resp_join(a, pieces, ARRAY_LEN(pieces));
}

void redis_part_join(const struct redis_store *s, struct resp_args *a, uint8_t part, const struct span *pieces,
                     unsigned n)
{
    char t[5];
    struct span all[8] = {s->prefix, tag(part, t)};
    assert(n <= ARRAY_LEN(all) - 2);
    memcpy(all + 2, pieces, n * sizeof(*pieces));
    resp_join(a, all, n + 2);
}

void redis_cluster_key(const struct redis_store *s, struct resp_args *a, const char *name)
{
    const struct span pieces[] = {s->prefix, SPAN_LIT("{c}:"), span_str(name)};
    resp_join(a, pieces, ARRAY_LEN(pieces));
}

void redis_channel(const struct redis_store *s, struct resp_args *a, const char *kind, struct span name)
{
    const struct span pieces[] = {s->prefix, span_str(kind), name};
    resp_join(a, pieces, ARRAY_LEN(pieces));
}

void redis_fcall(struct redis_store *s, const char *function, unsigned nkeys)
{
    resp_reset(&s->args);
    resp_str(&s->args, "FCALL");
    resp_str(&s->args, function);
    resp_u64(&s->args, nkeys);
}

enum redis_sent redis_send(struct redis_store *s, redis_reply_cb *cb, void *arg, bool patient)
{
    redis_batch_flush(s);
    const struct resp_args *parts[] = {&s->args};
    return redis_conn_send(s->cmd, parts, 1, cb, arg, patient);
}
