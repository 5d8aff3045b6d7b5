/*
 * sse_id.c - see sse_id.h. A room stands in it by a hash of its name, so that ids stay short and hold no character that
 * a header could not. Any thread; pure; nothing is owned.
 */
#include "proto/sse_id.h"

#include "core/hash.h"

#define HASH_DIGITS 10
#define SEQ_DIGITS  16 /* 2^53 has as many */

static void hash_of(struct span room, char out[HASH_DIGITS])
{
    static const uint64_t key[2] = {0x65767374726d2d72ull, 0x6f6f6d2d706c6163ull};
    uint64_t h = siphash13(key, room);
    for (unsigned i = 0; i < HASH_DIGITS; i++, h >>= 4)
        out[i] = "0123456789abcdef"[h & 15];
}

bool sse_id_seq(struct span text, uint64_t *seq)
{
    uint64_t n = 0;
    if (text.n == 0 || text.n > SEQ_DIGITS)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(text.p[i] - '0');
    }
    *seq = n;
    return true;
}

/* The part up to the next ';'. */
static struct span next_part(struct span *rest)
{
    const uint8_t *end = rest->n ? memchr(rest->p, ';', rest->n) : NULL;
    struct span part = span_of(rest->p, end ? (size_t)(end - rest->p) : rest->n);
    size_t used = end ? part.n + 1 : part.n;
    *rest = span_of(rest->p + used, rest->n - used);
    return part;
}

bool sse_id_write_user(struct buf *out, uint64_t seq)
{
    return buf_printf(out, "%llu", (unsigned long long)seq);
}

bool sse_id_write_room(struct buf *out, struct span room, uint64_t seq)
{
    char hash[HASH_DIGITS];
    hash_of(room, hash);
    return buf_printf(out, ";%.*s=%llu", HASH_DIGITS, hash, (unsigned long long)seq);
}

bool sse_id_user(struct span id, uint64_t *seq)
{
    return sse_id_seq(next_part(&id), seq);
}

bool sse_id_room(struct span id, struct span room, uint64_t *seq)
{
    char hash[HASH_DIGITS];
    uint64_t user;
    hash_of(room, hash);
    if (!sse_id_seq(next_part(&id), &user))
        return false;
    while (id.n) {
        struct span part = next_part(&id);
        if (part.n > HASH_DIGITS && part.p[HASH_DIGITS] == '=' && memcmp(part.p, hash, HASH_DIGITS) == 0)
            return sse_id_seq(span_of(part.p + HASH_DIGITS + 1, part.n - HASH_DIGITS - 1), seq);
    }
    return false;
}
