/*
 * memory_presence.c - who is in which room: a table of rooms, each a table of names.
 *
 * Names are put in order when somebody asks for them. A room lives while somebody is in it or watches it. Dispatcher
 * thread.
 */
#include "store/memory_presence.h"

#include <stdlib.h>

struct person {
    size_t len;
    char name[];
};

struct place {
    struct map people;
    uint64_t seq; /* of the last change */
    bool watched;
    size_t len;
    char name[];
};

void memory_presence_init(struct memory_presence *p)
{
    map_init(&p->rooms);
}

static void free_place(struct place *r)
{
    size_t it = 0;
    void *x;
    while ((x = map_next(&r->people, &it)) != NULL)
        free(x);
    map_fini(&r->people);
    free(r);
}

void memory_presence_fini(struct memory_presence *p)
{
    size_t it = 0;
    struct place *r;
    while ((r = map_next(&p->rooms, &it)) != NULL)
        free_place(r);
    map_fini(&p->rooms);
}

static struct place *place_of(struct memory_presence *p, struct span room)
{
    struct place *r = map_get(&p->rooms, room);
    if (r)
        return r;
    r = calloc(1, sizeof(*r) + room.n);
    if (!r)
        return NULL;
    r->len = room.n;
    memcpy(r->name, room.p, room.n);
    map_init(&r->people);
    if (map_put(&p->rooms, span_of(r->name, r->len), r))
        return r;
    free(r);
    return NULL;
}

static void drop_if_idle(struct memory_presence *p, struct place *r)
{
    if (r->people.count || r->watched)
        return;
    map_remove(&p->rooms, span_of(r->name, r->len));
    free_place(r);
}

static bool add_person(struct place *r, struct span user)
{
    struct person *x = malloc(sizeof(*x) + user.n);
    if (!x)
        return false;
    x->len = user.n;
    memcpy(x->name, user.p, user.n);
    if (map_put(&r->people, span_of(x->name, x->len), x))
        return true;
    free(x);
    return false;
}

enum presence_set memory_presence_set(struct memory_presence *p, struct span room, struct span user, bool here,
                                      uint64_t now_us, uint64_t *seq, bool *watched)
{
    struct place *r = here ? place_of(p, room) : map_get(&p->rooms, room);
    if (!r)
        return here ? PRESENCE_NO_MEMORY : PRESENCE_SAME;
    if ((map_get(&r->people, user) != NULL) == here)
        return PRESENCE_SAME;
    if (here && !add_person(r, user)) {
        drop_if_idle(p, r);
        return PRESENCE_NO_MEMORY;
    }
    if (!here)
        free(map_remove(&r->people, user));
    r->seq = now_us > r->seq ? now_us : r->seq + 1;
    *seq = r->seq;
    *watched = r->watched;
    drop_if_idle(p, r);
    return PRESENCE_CHANGED;
}

bool memory_presence_watch(struct memory_presence *p, struct span room, bool on)
{
    struct place *r = on ? place_of(p, room) : map_get(&p->rooms, room);
    if (!r)
        return !on;
    r->watched = on;
    drop_if_idle(p, r);
    return true;
}

uint64_t memory_presence_count(const struct memory_presence *p, struct span room)
{
    const struct place *r = map_get(&p->rooms, room);
    return r ? r->people.count : 0;
}

static int compare(struct span a, struct span b)
{
    int d = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int by_name(const void *a, const void *b)
{
    return compare(*(const struct span *)a, *(const struct span *)b);
}

struct span *memory_presence_list(const struct memory_presence *p, struct span room, struct span after, size_t limit,
                                  size_t *n, uint64_t *seq)
{
    const struct place *r = map_get(&p->rooms, room);
    struct span *names = malloc(((r ? r->people.count : 0) + 1) * sizeof(*names));
    size_t it = 0, found = 0;
    const struct person *x;
    if (!names)
        return NULL;
    while (r && (x = map_next(&r->people, &it)) != NULL) {
        struct span name = span_of(x->name, x->len);
        if (after.n == 0 || compare(name, after) > 0)
            names[found++] = name;
    }
    qsort(names, found, sizeof(*names), by_name);
    *n = found > limit ? limit + 1 : found;
    *seq = r ? r->seq : 0;
    return names;
}
