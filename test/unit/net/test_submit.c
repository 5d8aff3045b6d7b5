/*
 * test_submit.c - sends in one submission, by io_uring and by aio: all their results, in order, on sockets that have
 * room, too little, none, and no reader any more.
 */
#include "net/submit.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAIRS = 4, BIG = 8 * 1024 * 1024 };

struct world {
    struct submit *sends;
    int a[PAIRS], b[PAIRS]; /* written, read */
    unsigned told, announced;
    int32_t result[PAIRS];
    bool in_order;
};

static int setup(void **state, struct submit *sends)
{
    struct world *w = calloc(1, sizeof(*w));
    *state = w;
    w->in_order = true;
    w->sends = sends;
    for (unsigned i = 0; i < PAIRS; i++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
        w->a[i] = fds[0];
        w->b[i] = fds[1];
    }
    return 0;
}

static int with_uring(void **state)
{
    return setup(state, uring_new(PAIRS));
}

static int with_aio(void **state)
{
    return setup(state, aio_new(PAIRS));
}

static int teardown(void **state)
{
    struct world *w = *state;
    submit_free(w->sends);
    for (unsigned i = 0; i < PAIRS; i++) {
        close(w->a[i]);
        if (w->b[i] >= 0)
            close(w->b[i]);
    }
    free(w);
    return 0;
}

static struct world *ready(void **state)
{
    struct world *w = *state;
    if (!w->sends)
        skip(); /* this kernel, or a container's filter, forbids it */
    return w;
}

static void soon(void *arg, const void *tag)
{
    struct world *w = arg;
    w->announced++;
    w->in_order = w->in_order && (uintptr_t)tag >= w->told;
}

static void told(void *arg, void *tag, int32_t result)
{
    struct world *w = arg;
    unsigned i = (unsigned)(uintptr_t)tag;
    w->in_order = w->in_order && w->announced > i;
    w->in_order = w->in_order && i == w->told;
    w->result[i] = result;
    w->told++;
}

static bool queue(struct world *w, unsigned i, const void *p, size_t n)
{
    return submit_send(w->sends, w->a[i], p, n, (void *)(uintptr_t)i);
}

static void each_send_has_its_result(void **state)
{
    struct world *w = ready(state);
    char got[8];
    for (unsigned round = 0; round < 100; round++) {
        w->told = w->announced = 0;
        for (unsigned i = 0; i < PAIRS; i++)
            assert_true(queue(w, i, "abcdefgh", i + 1));
        assert_false(queue(w, 0, "x", 1)); /* full */
        assert_true(submit_run(w->sends, soon, told, w));
        assert_int_equal(w->told, PAIRS);
        assert_int_equal(w->announced, PAIRS);
        assert_true(w->in_order);
        for (unsigned i = 0; i < PAIRS; i++) {
            assert_int_equal(w->result[i], i + 1);
            assert_int_equal(read(w->b[i], got, sizeof(got)), i + 1);
            assert_memory_equal(got, "abcdefgh", i + 1);
        }
    }
}

static void a_run_of_nothing_tells_nothing(void **state)
{
    struct world *w = ready(state);
    assert_true(submit_run(w->sends, soon, told, w));
    assert_int_equal(w->told, 0);
}

static void full_sockets_and_gone_readers_do_not_hold_up_others(void **state)
{
    struct world *w = ready(state);
    char *big = calloc(1, BIG);
    while (write(w->a[0], big, 65536) > 0)
        continue; /* no room at all */
    close(w->b[1]);
    w->b[1] = -1;
    assert_true(queue(w, 0, "x", 1));
    assert_true(queue(w, 1, "x", 1));
    assert_true(queue(w, 2, big, BIG));
    assert_true(queue(w, 3, "x", 1));
    assert_true(submit_run(w->sends, soon, told, w));
    assert_int_equal(w->told, PAIRS);
    assert_int_equal(w->result[0], -EAGAIN);
    assert_int_equal(w->result[1], -EPIPE);
    assert_true(w->result[2] > 0 && w->result[2] < BIG);
    assert_int_equal(w->result[3], 1);
    free(big);
}

int main(void)
{
#define T(name)                                                                                                        \
    {#name " (io_uring)", name, with_uring, teardown, NULL}, {#name " (aio)", name, with_aio, teardown, NULL}
    (void)signal(SIGPIPE, SIG_IGN); /* as the broker does */
    const struct CMUnitTest tests[] = {
        T(each_send_has_its_result),
        T(a_run_of_nothing_tells_nothing),
        T(full_sockets_and_gone_readers_do_not_hold_up_others),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
