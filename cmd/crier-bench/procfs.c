/*
 * procfs.c - what the measured processes cost. The sum comes from the process CPU clock (nanoseconds, threads that
 * ended included), the split into user and system from /proc/PID/stat, that into threads from
 * /proc/PID/task/TID/schedstat (nanoseconds), or its stat where the kernel keeps no schedstat; how often a thread went
 * to sleep, and so was woken, from its status. Used by the first process, outside the measured path.
 */
#include "procfs.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int pids_parse(struct pids *p, const char *text)
{
    p->n = 0;
    while (text && *text) {
        char *end = NULL;
        long v = strtol(text, &end, 10);
        if (end == text || v <= 0 || v > INT32_MAX || (*end && *end != ',') || p->n == PIDS_MAX) {
            fprintf(stderr, "crier-bench: '%s' is no list of process ids\n", text);
            return -1;
        }
        p->pid[p->n++] = (int)v;
        text = *end ? end + 1 : end;
    }
    return 0;
}

static int gone(int pid)
{
    fprintf(stderr, "crier-bench: process %d cannot be read: %s\n", pid, strerror(errno));
    return -1;
}

/* A whole small file of /proc, NUL-terminated; its length or -1. */
static ssize_t slurp(const char *path, char *out, size_t n)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    size_t got = fread(out, 1, n - 1, f);
    (void)fclose(f);
    out[got] = '\0';
    return (ssize_t)got;
}

/* utime and stime of a stat file. */
static int stat_times(const char *path, uint64_t *user_ns, uint64_t *sys_ns)
{
    char text[1024];
    unsigned long user = 0, sys = 0;
    if (slurp(path, text, sizeof text) < 0)
        return -1;
    const char *p = strrchr(text, ')');
    if (!p || sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
        return -1;
    uint64_t tick = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    *user_ns = user * tick;
    *sys_ns = sys * tick;
    return 0;
}

static uint64_t read_waits(int pid, int tid)
{
    static const char key[] = "\nvoluntary_ctxt_switches:";
    char path[96], text[4096];
    snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, tid);
    const char *at = slurp(path, text, sizeof text) > 0 ? strstr(text, key) : NULL;
    return at ? strtoull(at + sizeof key - 1, NULL, 10) : 0;
}

static void read_thread(struct cpu_sample *out, int pid, int tid)
{
    char path[96], text[128];
    if (out->nthreads == THREADS_MAX)
        return;
    struct cpu_thread *t = &out->threads[out->nthreads];
    *t = (struct cpu_thread){.pid = pid, .tid = tid};
    snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", pid, tid);
    uint64_t user = 0, sys = 0;
    if (slurp(path, text, sizeof text) <= 0 || sscanf(text, "%" SCNu64, &t->ns) != 1) {
        snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
        if (stat_times(path, &user, &sys) < 0)
            return;
        t->ns = user + sys;
    }
    snprintf(path, sizeof path, "/proc/%d/task/%d/comm", pid, tid);
    if (slurp(path, text, sizeof text) > 0) {
        text[strcspn(text, "\n")] = '\0';
        snprintf(t->name, sizeof t->name, "%.19s", text);
    }
    t->waits = read_waits(pid, tid);
    out->waits += t->waits;
    out->nthreads++;
}

static int read_threads(struct cpu_sample *out, int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *d = opendir(path);
    if (!d)
        return gone(pid);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        long tid = strtol(e->d_name, NULL, 10);
        if (tid > 0)
            read_thread(out, pid, (int)tid);
    }
    closedir(d);
    return 0;
}

int cpu_read(const struct pids *p, struct cpu_sample *out)
{
    struct timespec ts;
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < p->n; i++) {
        char path[64];
        clockid_t clock;
        uint64_t user = 0, sys = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", p->pid[i]);
        errno = 0;
        if (stat_times(path, &user, &sys) < 0)
            return gone(p->pid[i]);
        if (clock_getcpuclockid(p->pid[i], &clock) != 0 || clock_gettime(clock, &ts) != 0)
            return gone(p->pid[i]);
        uint64_t ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
        out->processes[out->nprocesses++] = (struct cpu_process){.pid = p->pid[i], .ns = ns};
        out->total_ns += ns;
        out->user_ns += user;
        out->sys_ns += sys;
        if (read_threads(out, p->pid[i]) < 0)
            return -1;
    }
    clock_gettime(CLOCK_MONOTONIC, &ts);
    out->at_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    return 0;
}

int mem_read(const struct pids *p, struct mem_sample *out)
{
    *out = (struct mem_sample){0};
    for (unsigned i = 0; i < p->n; i++) {
        char path[64], text[4096];
        uint64_t rss = 0, pss = 0, anon = 0;
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", p->pid[i]);
        errno = 0;
        if (slurp(path, text, sizeof text) < 0)
            return gone(p->pid[i]);
        const char *r = strstr(text, "\nRss:"), *s = strstr(text, "\nPss:"), *a = strstr(text, "\nAnonymous:");
        if (!r || !s || !a || sscanf(r, "\nRss: %" SCNu64, &rss) != 1 || sscanf(s, "\nPss: %" SCNu64, &pss) != 1 ||
            sscanf(a, "\nAnonymous: %" SCNu64, &anon) != 1)
            return gone(p->pid[i]);
        out->rss += rss * 1024;
        out->pss += pss * 1024;
        out->anon += anon * 1024;
    }
    return 0;
}

uint64_t mem_kernel(void)
{
    char text[4096];
    const char *at = slurp("/proc/meminfo", text, sizeof text) > 0 ? strstr(text, "\nSlab:") : NULL;
    return at ? strtoull(at + 6, NULL, 10) * 1024 : 0;
}

uint64_t cpu_thread_since(const struct cpu_sample *before, const struct cpu_sample *after, unsigned i)
{
    const struct cpu_thread *t = &after->threads[i];
    for (unsigned k = 0; k < before->nthreads; k++)
        if (before->threads[k].tid == t->tid && before->threads[k].pid == t->pid)
            return t->ns - before->threads[k].ns;
    return t->ns;
}
