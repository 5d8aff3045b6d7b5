/*
 * memory_ids.c - remembered ids of the embedded store.
 *
 * A table by (user, id), and a list by age: every id is remembered equally long, so the list is in order by itself. An
 * id belongs to both until it is forgotten. Dispatcher thread.
 */
#include "store/memory_ids.h"

#include <stdlib.h>

struct used_id {
    struct list link;
    uint64_t seq, until_s;
    size_t len;
    uint8_t key[]; /* user NUL id */
};

void used_ids_init(struct used_ids *u)
{
    map_init(&u->map);
    list_init(&u->by_age);
    u->bytes = 0;
}

static struct used_id *first(const struct used_ids *u)
{
    return CONTAINER_OF(u->by_age.next, struct used_id, link);
}

void used_ids_fini(struct used_ids *u)
{
    while (!list_empty(&u->by_age))
        used_ids_forget(u, first(u));
    map_fini(&u->map);
}

static struct used_id *make(const char *user, struct span id)
{
    size_t user_len = strlen(user) + 1;
    struct used_id *x = calloc(1, sizeof(*x) + user_len + id.n);
    if (!x)
        return NULL;
    x->len = user_len + id.n;
    memcpy(x->key, user, user_len);
    memcpy(x->key + user_len, id.p, id.n);
    return x;
}

static size_t cost(const struct used_id *x)
{
    return sizeof(*x) + x->len;
}

const struct used_id *used_ids_find(struct used_ids *u, const char *user, struct span id, uint64_t now_s)
{
    struct used_id *key = make(user, id);
    if (!key)
        return NULL; /* the claim that follows fails for the same reason */
    struct used_id *x = map_get(&u->map, span_of(key->key, key->len));
    free(key);
    if (x && x->until_s <= now_s) {
        used_ids_forget(u, x);
        x = NULL;
    }
    return x;
}

struct used_id *used_ids_claim(struct used_ids *u, const char *user, struct span id, uint64_t until_s)
{
    struct used_id *x = make(user, id);
    if (!x)
        return NULL;
    x->until_s = until_s;
    if (!map_put(&u->map, span_of(x->key, x->len), x)) {
        free(x);
        return NULL;
    }
    list_push(&u->by_age, &x->link);
    u->bytes += cost(x);
    return x;
}

void used_ids_forget(struct used_ids *u, struct used_id *x)
{
    map_remove(&u->map, span_of(x->key, x->len));
    list_unlink(&x->link);
    u->bytes -= cost(x);
    free(x);
}

uint64_t used_ids_sweep(struct used_ids *u, uint64_t now_s)
{
    while (!list_empty(&u->by_age)) {
        struct used_id *x = first(u);
        if (x->until_s > now_s)
            return x->until_s;
        used_ids_forget(u, x);
    }
    return UINT64_MAX;
}

uint64_t used_id_seq(const struct used_id *x)
{
    return x->seq;
}

void used_id_set(struct used_id *x, uint64_t seq)
{
    x->seq = seq;
}
