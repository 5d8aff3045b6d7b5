/* Memory fetched ahead costs no page faults when it is taken. */
#include "core/heap.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cmocka.h>

#if defined(__GLIBC__) && !defined(CRIER_DEBUG) /* a sanitizer's heap is another one */
enum { PIECES = 200, PIECE = 1000 };

/* Page faults of a thread that takes small pieces. */
static void *take_pieces(void *arg)
{
    const bool *ahead = arg;
    static _Thread_local char *piece[PIECES];
    struct rusage before, after;
    if (*ahead)
        heap_ahead(PIECES * (PIECE + 16));
    (void)getrusage(RUSAGE_THREAD, &before);
    for (unsigned i = 0; i < PIECES; i++) {
        piece[i] = malloc(PIECE);
        memset(piece[i], 1, PIECE);
    }
    (void)getrusage(RUSAGE_THREAD, &after);
    for (unsigned i = 0; i < PIECES; i++)
        free(piece[i]);
    return (void *)(intptr_t)(after.ru_minflt - before.ru_minflt);
}

static void memory_ahead(void **state)
{
    (void)state;
    void *faults[2];
    for (int ahead = 0; ahead < 2; ahead++) {
        bool fetch = ahead;
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, take_pieces, &fetch), 0);
        assert_int_equal(pthread_join(t, &faults[ahead]), 0);
    }
    if ((intptr_t)faults[0] > 40) /* else its heap was warm already */
        assert_true((intptr_t)faults[1] < (intptr_t)faults[0] / 2);
}
#else
static void memory_ahead(void **state)
{
    (void)state;
    heap_ahead(1000);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
