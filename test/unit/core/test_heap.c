/* Memory fetched ahead costs no page faults when it is taken. */
#include "core/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__GLIBC__) && !defined(CRIER_DEBUG) /* a sanitizer's heap is another one */
enum { PIECES = 200, PIECE = 1000 };

/* Page faults of a process that takes small pieces; each begins with the heap as it is here. */
static int faults_of(bool ahead)
{
    static char *piece[PIECES];
    struct rusage before, after;
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (ahead)
            heap_ahead(PIECES * (PIECE + 16));
        (void)getrusage(RUSAGE_SELF, &before);
        for (unsigned i = 0; i < PIECES; i++) {
            piece[i] = malloc(PIECE);
            memset(piece[i], 1, PIECE);
        }
        (void)getrusage(RUSAGE_SELF, &after);
        _exit((int)(after.ru_minflt - before.ru_minflt));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void memory_ahead(void **state)
{
    (void)state;
    heap_setup(); /* as the broker: what is fetched is to be a piece of the heap, not a mapping of its own */
    heap_trim();
    int without = faults_of(false), with = faults_of(true);
    print_message("%d page faults, %d with the memory fetched ahead\n", without, with);
    if (without < PIECES * PIECE / 8192)
        skip(); /* larger pages than were thought of */
    assert_true(with < without / 2);
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
