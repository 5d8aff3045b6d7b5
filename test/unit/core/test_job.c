/* References and wire forms of jobs and blobs, one thread and several. Leaks and use after free show under ASan and
 * TSan. */
#include "core/job.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/blob.h"

enum { THREADS = 4, ROUNDS = 2000 };

static struct job *job_of(const char *bytes)
{
    size_t n = strlen(bytes);
    struct job *j = job_new(NULL, n);
    assert_non_null(j);
    j->len = n;
    memcpy(j->bytes, bytes, n);
    return j;
}

static void blobs(void **state)
{
    (void)state;
    struct blob *b = blob_copy(SPAN_LIT("hello"));
    assert_non_null(b);
    assert_int_equal(b->len, 5);
    assert_memory_equal(b->data, "hello", 5);
    assert_ptr_equal(blob_ref(b), b);
    blob_unref(b);
    blob_unref(b);
    b = blob_copy((struct span){0});
    assert_int_equal(b->len, 0);
    blob_unref(b);
    blob_unref(NULL);
    assert_null(blob_new((size_t)UINT32_MAX + 1));
    assert_null(blob_new(SIZE_MAX));
}

static void the_first_form_stays(void **state)
{
    (void)state;
    struct job *j = job_of("x");
    struct blob *first = blob_copy(SPAN_LIT("first")), *second = blob_copy(SPAN_LIT("second"));
    assert_null(job_wire(j, WIRE_SSE));
    assert_ptr_equal(job_set_wire(j, WIRE_SSE, first), first);
    assert_ptr_equal(job_set_wire(j, WIRE_SSE, second), first); /* second is dropped */
    assert_ptr_equal(job_wire(j, WIRE_SSE), first);
    assert_null(job_wire(j, WIRE_WS_JSON));
    blob_ref(first); /* an output queue outlives the job */
    assert_ptr_equal(job_ref(j), j);
    job_unref(j);
    job_unref(j);
    job_unref(NULL);
    assert_memory_equal(first->data, "first", 5);
    blob_unref(first);
}

/* Several threads want every form of the same job at once, keep a reference to one, and drop the job. */
struct worker {
    struct job *const *jobs; /* [ROUNDS], one reference each for this worker */
    pthread_barrier_t *start;
    struct blob *kept[ROUNDS];
    bool wrong;
};

static void use(struct worker *w, unsigned round)
{
    struct job *j = w->jobs[round];
    for (unsigned k = 0; k < WIRE_KINDS; k++) {
        struct blob *b = job_wire(j, (enum wire)k);
        if (!b) {
            uint8_t form[2] = {(uint8_t)k, j->bytes[0]};
            struct blob *mine = blob_copy(span_of(form, sizeof(form)));
            b = mine ? job_set_wire(j, (enum wire)k, mine) : NULL;
        }
        w->wrong |= !b || b->len != 2 || b->data[0] != k || b->data[1] != j->bytes[0];
        if (b && k == round % WIRE_KINDS)
            w->kept[round] = blob_ref(b);
    }
    job_unref(job_ref(j));
    job_unref(j);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (unsigned r = 0; r < ROUNDS; r++) {
        if (r % 100 == 0)
            (void)pthread_barrier_wait(w->start); /* close together again */
        use(w, r);
    }
    return NULL;
}

static void shared_by_threads(void **state)
{
    static struct worker workers[THREADS];
    struct job **jobs = calloc(ROUNDS, sizeof(struct job *));
    pthread_t threads[THREADS];
    pthread_barrier_t start;
    (void)state;
    assert_non_null(jobs);
    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (unsigned r = 0; r < ROUNDS; r++) {
        jobs[r] = job_of("payload");
        for (unsigned t = 1; t < THREADS; t++)
            (void)job_ref(jobs[r]);
    }
    for (unsigned t = 0; t < THREADS; t++) {
        workers[t] = (struct worker){.jobs = jobs, .start = &start};
        assert_int_equal(pthread_create(&threads[t], NULL, work, &workers[t]), 0);
    }
    for (unsigned t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    /* The jobs are gone; every thread was given the same form, and what they kept is alive with their references alone.
     */
    for (unsigned r = 0; r < ROUNDS; r++) {
        for (unsigned t = 1; t < THREADS; t++)
            assert_ptr_equal(workers[t].kept[r], workers[0].kept[r]);
        assert_int_equal(atomic_load(&workers[0].kept[r]->refs), THREADS);
        for (unsigned t = 0; t < THREADS; t++)
            blob_unref(workers[t].kept[r]);
    }
    for (unsigned t = 0; t < THREADS; t++)
        assert_false(workers[t].wrong);
    (void)pthread_barrier_destroy(&start);
    free(jobs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blobs),
        cmocka_unit_test(the_first_form_stays),
        cmocka_unit_test(shared_by_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
