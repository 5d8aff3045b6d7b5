/*
 * map.c - open addressing with linear probing; two tables of the same kind, keyed by bytes and by numbers.
 *
 * One thread at a time. A slot is empty (value NULL), dead (value == TOMB) or holds an entry. Taking an entry out moves
 * nothing, so a walk may take out the entry it was just given, and a walk that was cut may go on later. A dead slot is
 * turned back into an empty one at once when the slot behind it is empty, which is the usual case; the rest are swept
 * when the table is built anew, in put alone. A table whose last entry goes is freed: 100,000 users that left leave
 * nothing.
 *
 * Invariants: count + tombs <= 3/4 cap, so every probe ends at an empty slot; cap is 0 or a power of two; count entries
 * are alive. Values belong to the caller, and so do the key bytes of `struct map`, of which a slot knows only where in
 * the value they are: half of what an idle user takes in a table is empty slots.
 */
#include "core/map.h"

#include <stdlib.h>

#include "core/hash.h"

enum {
    LEAST_CAP = 8,
    SPARSE = 8, /* built smaller when fewer than one slot in so many is used */
};

static const char tomb_mark;
#define TOMB ((void *)(uintptr_t)&tomb_mark)

static bool alive(const void *value)
{
    return value != NULL && value != TOMB;
}

/* No room for one more entry: a probe might soon find no empty slot to end at. */
static bool full(size_t cap, size_t count, size_t tombs)
{
    return count + tombs + 1 > cap - cap / 4;
}

/* The capacity to build anew with before one more entry is put in; 0 when the table is good as it is. */
static size_t wanted_cap(size_t cap, size_t count, size_t tombs)
{
    bool sparse = cap > LEAST_CAP && count + 1 < cap / SPARSE;
    if (!sparse && !full(cap, count, tombs))
        return 0;
    size_t want = LEAST_CAP;
    while (want / 2 < count + 1)
        want *= 2;
    return want;
}

/* ---- byte-string keys ---- */

struct map_slot {
    uint32_t hash;
    uint16_t keylen, keyoff; /* the key's bytes: at value + keyoff */
    void *value;
};

static struct span key_in(const struct map_slot *s)
{
    return span_of((const uint8_t *)s->value + s->keyoff, s->keylen);
}

/* Where in the value the key lies; over UINT16_MAX: not where it may. */
static size_t offset_of(struct span key, const void *value)
{
    return key.n ? (uintptr_t)key.p - (uintptr_t)value : 0;
}

void map_init(struct map *m)
{
    *m = (struct map){0};
    random_bytes(m->seed, sizeof(m->seed));
}

void map_init_seeded(struct map *m, const uint64_t seed[2])
{
    *m = (struct map){.seed = {seed[0], seed[1]}};
}

void map_fini(struct map *m)
{
    free(m->slots);
    m->slots = NULL;
    m->count = m->cap = m->tombs = 0;
    m->epoch++;
}

/* The slot that holds the key, or cap. */
static size_t find(const struct map *m, struct span key, uint32_t hash)
{
    if (m->count == 0)
        return m->cap;
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        const struct map_slot *s = &m->slots[i];
        if (s->value == NULL)
            return m->cap;
        if (s->value != TOMB && s->hash == hash && span_eq(key_in(s), key))
            return i;
    }
}

static bool rebuild(struct map *m, size_t cap)
{
    struct map_slot *slots = calloc(cap, sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < m->cap; i++) {
        if (!alive(m->slots[i].value))
            continue;
        size_t at = m->slots[i].hash & (cap - 1);
        while (slots[at].value)
            at = (at + 1) & (cap - 1);
        slots[at] = m->slots[i];
    }
    free(m->slots);
    m->slots = slots;
    m->cap = cap;
    m->tombs = 0;
    m->epoch++;
    return true;
}

uint32_t map_hash(const struct map *m, struct span key)
{
    return map_hash_of(siphash13(m->seed, key));
}

void map_expect(const struct map *m, uint32_t hash)
{
    if (m->cap)
        __builtin_prefetch(&m->slots[hash & (m->cap - 1)]);
}

const void *map_guess(const struct map *m, uint32_t hash)
{
    for (size_t i = hash & (m->cap - 1); m->cap && m->slots[i].value; i = (i + 1) & (m->cap - 1)) {
        if (m->slots[i].hash != hash || m->slots[i].value == TOMB)
            continue;
        __builtin_prefetch(m->slots[i].value);
        __builtin_prefetch(key_in(&m->slots[i]).p); /* find will compare it */
        return m->slots[i].value;
    }
    return NULL;
}

void *map_get_hashed(const struct map *m, struct span key, uint32_t hash)
{
    size_t at = find(m, key, hash);
    return at < m->cap ? m->slots[at].value : NULL;
}

void *map_get(const struct map *m, struct span key)
{
    return map_get_hashed(m, key, map_hash(m, key));
}

bool map_put(struct map *m, struct span key, void *value)
{
    assert(alive(value));
    uint32_t hash = map_hash(m, key);
    size_t off = offset_of(key, value);
    assert(off <= UINT16_MAX);
    if (key.n > UINT16_MAX || off > UINT16_MAX || find(m, key, hash) < m->cap)
        return false;
    size_t want = wanted_cap(m->cap, m->count, m->tombs);
    if (want && !rebuild(m, want) && full(m->cap, m->count, m->tombs))
        return false;
    size_t at = hash & (m->cap - 1);
    while (alive(m->slots[at].value))
        at = (at + 1) & (m->cap - 1);
    if (m->slots[at].value == TOMB)
        m->tombs--;
    m->slots[at] = (struct map_slot){hash, (uint16_t)key.n, (uint16_t)off, value};
    m->count++;
    return true;
}

void *map_remove(struct map *m, struct span key)
{
    size_t at = find(m, key, map_hash(m, key));
    if (at >= m->cap)
        return NULL;
    void *value = m->slots[at].value;
    if (m->count == 1) {
        map_fini(m);
        return value;
    }
    m->count--;
    m->tombs++;
    m->slots[at] = (struct map_slot){.value = TOMB};
    if (m->slots[(at + 1) & (m->cap - 1)].value == NULL) {
        for (; m->slots[at].value == TOMB; at = (at - 1) & (m->cap - 1)) {
            m->slots[at].value = NULL;
            m->tombs--;
        }
    }
    return value;
}

void *map_next(const struct map *m, size_t *it)
{
    while (*it < m->cap) {
        void *value = m->slots[(*it)++].value;
        if (alive(value))
            return value;
    }
    return NULL;
}

/* ---- number keys ---- */

struct idmap_slot {
    void *value;
};

static uint64_t id_in(const struct idmap *m, const void *value)
{
    uint64_t id;
    memcpy(&id, (const uint8_t *)value + m->keyoff, sizeof(id));
    return id;
}

/* Ids are counted up by ourselves, so nobody can choose them; they only need spreading. */
static size_t spread(uint64_t key)
{
    key ^= key >> 32;
    key *= 0x9e3779b97f4a7c15;
    return (size_t)(key ^ (key >> 29));
}

void idmap_init(struct idmap *m, size_t keyoff)
{
    *m = (struct idmap){.keyoff = keyoff};
}

void idmap_fini(struct idmap *m)
{
    free(m->slots);
    *m = (struct idmap){.keyoff = m->keyoff};
}

static size_t idfind(const struct idmap *m, uint64_t key)
{
    if (m->count == 0)
        return m->cap;
    for (size_t i = spread(key) & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        if (m->slots[i].value == NULL)
            return m->cap;
        if (m->slots[i].value != TOMB && id_in(m, m->slots[i].value) == key)
            return i;
    }
}

static bool idrebuild(struct idmap *m, size_t cap)
{
    struct idmap_slot *slots = calloc(cap, sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < m->cap; i++) {
        if (!alive(m->slots[i].value))
            continue;
        size_t at = spread(id_in(m, m->slots[i].value)) & (cap - 1);
        while (slots[at].value)
            at = (at + 1) & (cap - 1);
        slots[at] = m->slots[i];
    }
    free(m->slots);
    m->slots = slots;
    m->cap = cap;
    m->tombs = 0;
    return true;
}

void *idmap_get(const struct idmap *m, uint64_t key)
{
    size_t at = idfind(m, key);
    return at < m->cap ? m->slots[at].value : NULL;
}

bool idmap_put(struct idmap *m, void *value)
{
    assert(alive(value));
    uint64_t key = id_in(m, value);
    if (key == 0 || idfind(m, key) < m->cap)
        return false;
    size_t want = wanted_cap(m->cap, m->count, m->tombs);
    if (want && !idrebuild(m, want) && full(m->cap, m->count, m->tombs))
        return false;
    size_t at = spread(key) & (m->cap - 1);
    while (alive(m->slots[at].value))
        at = (at + 1) & (m->cap - 1);
    if (m->slots[at].value == TOMB)
        m->tombs--;
    m->slots[at] = (struct idmap_slot){value};
    m->count++;
    return true;
}

void *idmap_remove(struct idmap *m, uint64_t key)
{
    size_t at = idfind(m, key);
    if (at >= m->cap)
        return NULL;
    void *value = m->slots[at].value;
    if (m->count == 1) {
        idmap_fini(m);
        return value;
    }
    m->count--;
    m->tombs++;
    m->slots[at] = (struct idmap_slot){.value = TOMB};
    if (m->slots[(at + 1) & (m->cap - 1)].value == NULL) {
        for (; m->slots[at].value == TOMB; at = (at - 1) & (m->cap - 1)) {
            m->slots[at].value = NULL;
            m->tombs--;
        }
    }
    return value;
}

void *idmap_next(const struct idmap *m, size_t *it)
{
    while (*it < m->cap) {
        void *value = m->slots[(*it)++].value;
        if (alive(value))
            return value;
    }
    return NULL;
}
