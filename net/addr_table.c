/*
 * addr_table.c - connections by address. Connections of one address lie on all shards and move between them, so the
 * count is the node's: the one thing besides metrics that shards write together.
 *
 * There is no map and no lock: each address has one counter in each of two rows, picked by a keyed hash, and its count
 * is the lower of the two. It is never too low. It is too high only for an address that shares both counters with
 * others, by what those have: with a hundred thousand clients that is one or two connections for a few addresses, so
 * the limit should not be tiny.
 *
 * enter and leave may run together with themselves and each other: a counter is only ever added to and taken from. Who
 * enters adds to both rows, then reads both: whoever of those inside added last has seen all the others in both, so
 * never more than the limit are inside; that needs one order of all these steps (sequential consistency). Who finds too
 * many takes back what he has added; two that come together for the last place may then both be refused.
 */
#include "net/addr_table.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "core/hash.h"

#define CELLS (1u << 16)
#define ROWS  2

struct addr_table {
    unsigned max;
    uint64_t key[2];
    atomic_uint cell[ROWS][CELLS];
};

struct addr_table *addr_table_new(unsigned max)
{
    struct addr_table *t = calloc(1, sizeof *t);
    if (t) {
        t->max = max;
        random_bytes(t->key, sizeof t->key);
    }
    return t;
}

void addr_table_free(struct addr_table *t)
{
    free(t);
}

static struct span counted_part(struct span addr)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (addr.n == 16 && memcmp(addr.p, mapped, sizeof mapped) == 0)
        return span_of(addr.p + sizeof mapped, 4);
    return span_of(addr.p, addr.n == 16 ? 8 : addr.n);
}

static void find(struct addr_table *t, struct span addr, atomic_uint *cell[ROWS])
{
    uint64_t h = siphash13(t->key, counted_part(addr));
    for (unsigned row = 0; row < ROWS; row++)
        cell[row] = &t->cell[row][h >> (16 * row) & (CELLS - 1)];
}

static void take_back(atomic_uint *cell[ROWS])
{
    for (unsigned row = 0; row < ROWS; row++)
        atomic_fetch_sub(cell[row], 1);
}

bool addr_enter(struct addr_table *t, struct span addr)
{
    atomic_uint *cell[ROWS];
    unsigned count = UINT32_MAX;
    find(t, addr, cell);
    for (unsigned row = 0; row < ROWS; row++)
        atomic_fetch_add(cell[row], 1);
    for (unsigned row = 0; row < ROWS; row++) {
        unsigned n = atomic_load(cell[row]);
        count = n < count ? n : count;
    }
    if (count <= t->max)
        return true;
    take_back(cell);
    return false;
}

void addr_leave(struct addr_table *t, struct span addr)
{
    atomic_uint *cell[ROWS];
    find(t, addr, cell);
    take_back(cell);
}
