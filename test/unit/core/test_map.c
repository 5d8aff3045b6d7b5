/* Both tables against a naive model under random operations, removal during a walk, growth and shrinking. */
#include "core/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rng.h"

enum { KEYS = 3000 };

/* The model: entry i is in the table or is not. Key bytes are of several lengths, with NULs inside. */
struct entry {
    char key[24];
    size_t len;
    bool in;
    bool seen;
};

static struct entry *entries_new(void)
{
    struct entry *e = calloc(KEYS, sizeof(*e));
    assert_non_null(e);
    for (unsigned i = 0; i < KEYS; i++) {
        e[i].len = 4 + i % 20;
        memcpy(e[i].key, &i, sizeof(i));
    }
    return e;
}

static struct span key_of(const struct entry *e)
{
    return span_of(e->key, e->len);
}

static void same_as_model(const struct map *m, struct entry *e)
{
    size_t count = 0, it = 0, walked = 0;
    struct entry *v;
    for (unsigned i = 0; i < KEYS; i++) {
        assert_ptr_equal(map_get(m, key_of(&e[i])), e[i].in ? &e[i] : NULL);
        count += e[i].in;
        e[i].seen = false;
    }
    assert_int_equal(m->count, count);
    while ((v = map_next(m, &it)) != NULL) {
        assert_true(v->in && !v->seen);
        v->seen = true;
        walked++;
    }
    assert_int_equal(walked, count);
}

static void random_operations(void **state)
{
    struct entry *e = entries_new();
    struct rng r = {1};
    struct map m;
    (void)state;
    map_init(&m);
    /* Waves: mostly putting, then mostly removing, so that the table grows, fills with dead slots and shrinks. */
    for (unsigned step = 0; step < 120000; step++) {
        struct entry *x = &e[rng_below(&r, KEYS)];
        if (rng_below(&r, 10) < ((step / 20000) % 2 ? 3u : 7u)) {
            assert_int_equal(map_put(&m, key_of(x), x), !x->in);
            x->in = true;
        } else {
            assert_ptr_equal(map_remove(&m, key_of(x)), x->in ? x : NULL);
            x->in = false;
        }
        const struct entry *y = &e[rng_below(&r, KEYS)]; /* and in steps */
        uint32_t hash = map_hash(&m, key_of(y));
        map_expect(&m, hash);
        assert_ptr_equal(map_guess(&m, hash), y->in ? y : NULL);
        assert_ptr_equal(map_get_hashed(&m, key_of(y), hash), y->in ? y : NULL);
        if (step % 5000 == 0)
            same_as_model(&m, e);
    }
    same_as_model(&m, e);
    map_fini(&m);
    assert_null(map_guess(&m, 0));
    assert_null(map_get(&m, key_of(&e[0])));
    free(e);
}

/* Churn on a small live set: dead slots must be swept, the table must not creep. */
static void churn_stays_small(void **state)
{
    struct entry *e = entries_new();
    struct map m;
    (void)state;
    map_init(&m);
    for (unsigned i = 0; i < 50000; i++) {
        struct entry *x = &e[i % KEYS], *old = &e[(i + KEYS - 10) % KEYS];
        assert_true(map_put(&m, key_of(x), x));
        if (i >= 10)
            assert_ptr_equal(map_remove(&m, key_of(old)), old);
        assert_true(m.cap <= 64);
    }
    map_fini(&m);
    free(e);
}

static void shrinks(void **state)
{
    struct entry *e = entries_new();
    struct map m;
    (void)state;
    map_init(&m);
    for (unsigned i = 0; i < KEYS; i++)
        assert_true(map_put(&m, key_of(&e[i]), &e[i]));
    size_t big = m.cap;
    for (unsigned i = 1; i < KEYS; i++)
        assert_ptr_equal(map_remove(&m, key_of(&e[i])), &e[i]);
    assert_int_equal(m.cap, big); /* removing moves nothing */
    assert_true(map_put(&m, key_of(&e[1]), &e[1]));
    assert_true(m.cap <= 16);
    assert_ptr_equal(map_get(&m, key_of(&e[0])), &e[0]);
    (void)map_remove(&m, key_of(&e[0]));
    (void)map_remove(&m, key_of(&e[1]));
    assert_int_equal(m.cap, 0); /* nothing left, nothing held */
    assert_null(m.slots);
    assert_true(map_put(&m, key_of(&e[2]), &e[2]));
    map_fini(&m);
    free(e);
}

/* Taking out the entry just given, with every fraction of entries taken: each is given exactly once. */
static void removal_while_walking(void **state)
{
    struct entry *e = entries_new();
    (void)state;
    for (unsigned every = 1; every < 8; every++) {
        struct map m;
        map_init(&m);
        for (unsigned i = 0; i < KEYS; i++) {
            assert_true(map_put(&m, key_of(&e[i]), &e[i]));
            e[i].in = true;
            e[i].seen = false;
        }
        size_t it = 0, n = 0;
        struct entry *v;
        while ((v = map_next(&m, &it)) != NULL) {
            assert_false(v->seen);
            v->seen = true;
            if (n++ % every == 0) {
                assert_ptr_equal(map_remove(&m, key_of(v)), v);
                v->in = false;
            }
        }
        assert_int_equal(n, KEYS);
        same_as_model(&m, e);
        map_fini(&m);
    }
    free(e);
}

static void a_cut_walk_goes_on(void **state)
{
    struct entry *e = entries_new();
    struct map m;
    size_t it = 0;
    struct entry *v;
    (void)state;
    map_init(&m);
    for (unsigned i = 0; i < 100; i++)
        assert_true(map_put(&m, key_of(&e[i]), &e[i]));
    unsigned epoch = map_epoch(&m);
    for (unsigned i = 0; i < 40; i++) {
        v = map_next(&m, &it);
        assert_non_null(v);
        v->seen = true;
    }
    for (unsigned i = 0; i < 100; i += 3) /* meanwhile entries go, seen or not */
        assert_ptr_equal(map_remove(&m, key_of(&e[i])), &e[i]);
    assert_int_equal(map_epoch(&m), epoch);
    while ((v = map_next(&m, &it)) != NULL) {
        assert_false(v->seen);
        v->seen = true;
    }
    for (unsigned i = 0; i < 100; i++)
        assert_true(e[i].seen || i % 3 == 0);
    for (unsigned i = 100; i < KEYS; i++)
        assert_true(map_put(&m, key_of(&e[i]), &e[i]));
    assert_int_not_equal(map_epoch(&m), epoch); /* grown: an old walk is void */
    map_fini(&m);
    free(e);
}

static void small_questions(void **state)
{
    struct map m;
    size_t it = 0;
    int value, other;
    (void)state;
    map_init(&m);
    assert_null(map_get(&m, SPAN_LIT("x")));
    assert_null(map_remove(&m, SPAN_LIT("x")));
    assert_null(map_next(&m, &it));
    assert_true(map_put(&m, SPAN_LIT(""), &value)); /* the empty key is a key */
    assert_false(map_put(&m, SPAN_LIT(""), &other));
    assert_ptr_equal(map_get(&m, (struct span){0}), &value);
    assert_null(map_get(&m, span_of("\0", 1)));
    map_fini(&m);
    struct map n;
    map_init(&n);
    assert_true(m.seed[0] != n.seed[0] || m.seed[1] != n.seed[1]);
}

static void ids_against_a_model(void **state)
{
    static uint8_t in[KEYS];
    static uint64_t values[KEYS]; /* each its own key */
    struct rng r = {3};
    struct idmap m;
    (void)state;
    memset(in, 0, sizeof(in));
    idmap_init(&m, 0);
    for (unsigned step = 0; step < 120000; step++) {
        unsigned i = rng_below(&r, KEYS);
        uint64_t key = (uint64_t)(i + 1) << (i % 3 * 20); /* ids with the shard in high bits look like this */
        values[i] = key;
        if (rng_below(&r, 10) < ((step / 20000) % 2 ? 3u : 7u)) {
            assert_int_equal(idmap_put(&m, &values[i]), !in[i]);
            in[i] = 1;
        } else {
            assert_ptr_equal(idmap_remove(&m, key), in[i] ? &values[i] : NULL);
            in[i] = 0;
        }
        assert_ptr_equal(idmap_get(&m, key), in[i] ? &values[i] : NULL);
    }
    size_t it = 0, n = 0, count = 0;
    uint64_t *v, none = 0;
    for (unsigned i = 0; i < KEYS; i++)
        count += in[i];
    while ((v = idmap_next(&m, &it)) != NULL) {
        unsigned i = (unsigned)(v - values);
        assert_int_equal(in[i], 1);
        assert_ptr_equal(idmap_remove(&m, (uint64_t)(i + 1) << (i % 3 * 20)), v);
        in[i] = 0;
        n++;
    }
    assert_int_equal(n, count);
    assert_int_equal(m.count, 0);
    assert_int_equal(m.cap, 0);
    assert_false(idmap_put(&m, &none)); /* 0 is no id */
    idmap_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
        cmocka_unit_test(churn_stays_small),
        cmocka_unit_test(shrinks),
        cmocka_unit_test(removal_while_walking),
        cmocka_unit_test(a_cut_walk_goes_on),
        cmocka_unit_test(small_questions),
        cmocka_unit_test(ids_against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
