/*
 * map.h - hash table from byte-string keys to pointers. Open addressing, SipHash with a per-table key.
 * The key bytes are borrowed: they lie in the value's own memory, within 64 KiB of where it begins.
 * One thread at a time; not to be changed while iterating except by map_remove of the entry just given.
 */
#ifndef CORE_MAP_H
#define CORE_MAP_H

#include "core/base.h"

struct map {
    struct map_slot *slots;
    size_t count;
    size_t cap; /* 0 or a power of two */
    size_t tombs;
    unsigned epoch; /* how often the table has changed size */
    uint64_t seed[2];
};

void map_init(struct map *m);
/* A table whose hashes others compute as well: map_hash_of(siphash13(seed, key)). */
void map_init_seeded(struct map *m, const uint64_t seed[2]);
/* The low bits choose among shards (core/msg.h): the table takes the high ones. */
static inline uint32_t map_hash_of(uint64_t siphash)
{
    return (uint32_t)(siphash >> 32);
}
void map_fini(struct map *m); /* frees the table, not the values */
void *map_get(const struct map *m, struct span key);
/* The same in steps, for many keys at once: what the next step reads is asked for from memory while the others have
 * theirs. map_hash; map_expect (where the hash leads to); map_guess (the value found there, asked for in turn: it is
 * the right one if the key is in the table at all, but for two keys of one hash; NULL: it is not); map_get_hashed. */
uint32_t map_hash(const struct map *m, struct span key);
void map_expect(const struct map *m, uint32_t hash);
const void *map_guess(const struct map *m, uint32_t hash);
void *map_get_hashed(const struct map *m, struct span key, uint32_t hash);
/* False when memory is out or the key is there already. value != NULL; at most 65535 bytes of key. The table grows
 * here, and shrinks here when it has become sparse: map_remove moves nothing (the last entry taken out frees the
 * table). */
bool map_put(struct map *m, struct span key, void *value) MUST_CHECK;
/* Returns the value taken out, or NULL. */
void *map_remove(struct map *m, struct span key);

/* Iteration: `size_t it = 0; while ((v = map_next(&m, &it)) != NULL) ...`. Order is arbitrary. A walk may be cut and
 * taken up again later with the same `it` if the table did not change size meanwhile (map_epoch tells). */
void *map_next(const struct map *m, size_t *it);
static inline unsigned map_epoch(const struct map *m)
{
    return m->epoch;
}

/* The same for uint64_t keys (connection ids): each value holds its own, which does not change while it is in. */
struct idmap {
    struct idmap_slot *slots;
    size_t count, cap, tombs;
    size_t keyoff; /* where in a value the key is */
};
void idmap_init(struct idmap *m, size_t keyoff);
void idmap_fini(struct idmap *m);
void *idmap_get(const struct idmap *m, uint64_t key);
bool idmap_put(struct idmap *m, void *value) MUST_CHECK; /* its key != 0 */
void *idmap_remove(struct idmap *m, uint64_t key);
void *idmap_next(const struct idmap *m, size_t *it);

#endif
