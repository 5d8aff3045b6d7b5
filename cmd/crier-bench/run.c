/*
 * run.c - the processes of a measurement. Children are forked here and nowhere else, each dies with its parent
 * (PR_SET_PDEATHSIG), so that Ctrl-C or a crash leaves nothing behind; the first process waits for conditions on the
 * board, a millisecond at a time, and gives up when a child ends early.
 */
#include "run.h"

#include "crowd.h"
#include "floor.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QUIET_MS 1000 /* a drain ends after this long without a delivery */

uint64_t run_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t now_ms(void)
{
    return run_now_ns() / 1000000;
}

static void nap(void)
{
    struct timespec ts = {.tv_nsec = 1000000};
    (void)nanosleep(&ts, NULL);
}

static int raise_fd_limit(const struct options *o)
{
    struct rlimit l;
    unsigned long want = o->subs / o->procs + 65;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0)
        return -1;
    l.rlim_cur = l.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur >= want)
        return 0;
    fprintf(stderr,
            "crier-bench: %lu files a process are needed, the limit is %lu: more --procs, or a higher ulimit -n\n",
            want, (unsigned long)l.rlim_max);
    return -1;
}

int run_init(struct run *r, const struct options *o)
{
    memset(r, 0, sizeof *r);
    r->o = o;
    r->tag = ((unsigned)getpid() ^ (unsigned)now_ms()) & 0xffffu;
    if (raise_fd_limit(o) || pids_parse(&r->server, o->server_pid) || pids_parse(&r->other, o->other_pid))
        return -1;
    r->board = board_new(o->procs, o->subs);
    if (!r->board)
        perror("crier-bench: shared memory");
    return r->board ? 0 : -1;
}

void run_fini(struct run *r)
{
    board_free(r->board);
    r->board = NULL;
}

/* 0 in the child, >0 in the parent, -1. */
static pid_t start_child(struct run *r)
{
    pid_t parent = getpid();
    if (r->n == RUN_CHILDREN)
        return -1;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid > 0)
        r->child[r->n++] = pid;
    if (pid < 0)
        perror("crier-bench: fork");
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
    }
    return pid;
}

int run_clients(struct run *r)
{
    for (unsigned i = 0; i < r->o->procs; i++) {
        pid_t pid = start_child(r);
        if (pid < 0)
            return -1;
        if (pid == 0)
            _exit(crowd_run(r->o, r->board, i, r->tag));
    }
    return 0;
}

int run_publisher(struct run *r, enum aim aim)
{
    pid_t pid = start_child(r);
    if (pid == 0)
        _exit(source_run(r->o, r->board, r->tag, aim));
    return pid < 0 ? -1 : 0;
}

/* A child that ended before PHASE_END, unless it ended well (the publisher does). */
static bool child_failed(struct run *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        int status = 0;
        if (r->child[i] <= 0 || waitpid(r->child[i], &status, WNOHANG) != r->child[i])
            continue;
        r->child[i] = 0;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fprintf(stderr, "crier-bench: one of its processes failed\n");
            return true;
        }
    }
    return false;
}

/* This process runs on the first n processors from now on; 0: where it likes. */
static bool pin(unsigned n)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (unsigned i = 0; i < n && i < CPU_SETSIZE; i++)
        CPU_SET(i, &set);
    if (n == 0 || sched_setaffinity(0, sizeof set, &set) == 0)
        return true;
    perror("crier-bench: --server-cpus");
    return false;
}

int run_floor(struct run *r, unsigned *port)
{
    pid_t pid = start_child(r);
    if (pid < 0)
        return -1;
    if (pid == 0)
        _exit(pin(r->o->server_cpus) ? floor_serve(r->board, r->o) : 1);
    while ((*port = (unsigned)atomic_load_explicit(&r->board->floor_port, memory_order_acquire)) == 0) {
        if (child_failed(r))
            return -1;
        nap();
    }
    r->server = (struct pids){.n = 1, .pid = {pid}};
    return 0;
}

int run_ready(struct run *r)
{
    uint64_t end = now_ms() + r->o->deadline * 1000ull;
    for (;;) {
        struct tally t = board_tally(r->board);
        if (t.ready >= r->o->subs)
            return 0;
        if (t.gone) {
            fprintf(stderr, "crier-bench: %llu of %u connections failed before all were ready\n",
                    (unsigned long long)t.gone, r->o->subs);
            return -1;
        }
        if (now_ms() > end) {
            fprintf(stderr, "crier-bench: only %llu of %u connections were ready after %u s\n",
                    (unsigned long long)t.ready, r->o->subs, r->o->deadline);
            return -1;
        }
        if (child_failed(r))
            return -1;
        nap();
    }
}

int run_sleep(struct run *r, double secs)
{
    uint64_t end = now_ms() + (uint64_t)(secs * 1000);
    while (now_ms() < end) {
        struct timespec ts = {.tv_nsec = 10000000};
        if (end - now_ms() < 20)
            nap();
        else
            (void)nanosleep(&ts, NULL);
        if (child_failed(r))
            return -1;
    }
    return 0;
}

int run_drain(struct run *r, uint64_t base, uint64_t each)
{
    uint64_t seen = 0, since = now_ms();
    for (;;) {
        struct tally t = board_tally(r->board);
        bool done = atomic_load_explicit(&r->board->publish_done, memory_order_acquire) != 0;
        if (done && t.deliveries + t.lost >= base + board_get(&r->board->published) * each)
            return 0;
        if (t.deliveries != seen) {
            seen = t.deliveries;
            since = now_ms();
        }
        if (now_ms() - since > QUIET_MS && done)
            return 0;
        if (child_failed(r))
            return -1;
        nap();
    }
}

int run_stop(struct run *r, bool failed)
{
    int result = 0;
    if (r->board)
        board_set_phase(r->board, PHASE_END);
    for (unsigned i = 0; i < r->n; i++) {
        int status = 0;
        if (r->child[i] <= 0)
            continue;
        if (failed)
            (void)kill(r->child[i], SIGKILL);
        while (waitpid(r->child[i], &status, 0) < 0 && errno == EINTR)
            ;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            result = -1;
        r->child[i] = 0;
    }
    return failed ? -1 : result;
}
