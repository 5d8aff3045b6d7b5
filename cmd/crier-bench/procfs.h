/*
 * procfs.h - CPU time and memory of other processes, from /proc.
 */
#ifndef BENCH_PROCFS_H
#define BENCH_PROCFS_H

#include "core/base.h"

#define PIDS_MAX    64
#define THREADS_MAX 256

struct pids {
    unsigned n;
    int pid[PIDS_MAX];
};

struct cpu_thread {
    int pid, tid;
    char name[20];
    uint64_t ns;
    uint64_t waits; /* voluntary context switches: it slept and was woken */
};

struct cpu_process {
    int pid;
    uint64_t ns;
};

struct cpu_sample {
    uint64_t at_ns;           /* CLOCK_MONOTONIC */
    uint64_t total_ns;        /* CPU of all processes */
    uint64_t user_ns, sys_ns; /* at the resolution of the kernel's tick */
    uint64_t waits;           /* of all threads */
    unsigned nprocesses;
    struct cpu_process processes[PIDS_MAX];
    unsigned nthreads;
    struct cpu_thread threads[THREADS_MAX];
};

struct mem_sample {
    uint64_t rss, pss; /* bytes */
    uint64_t anon;     /* of pss, without files: what others who map the same libraries do is not in it */
};

/* "12,34"; NULL gives none. 0, or -1 after a sentence on standard error. */
int pids_parse(struct pids *p, const char *text) MUST_CHECK;
/* -1 after a sentence on standard error: a process is gone. */
int cpu_read(const struct pids *p, struct cpu_sample *out) MUST_CHECK;
/* Memory of the kernel for its own objects, of the whole machine, in bytes; 0: unknown. */
uint64_t mem_kernel(void);
int mem_read(const struct pids *p, struct mem_sample *out) MUST_CHECK;
/* CPU of thread i of `after` since `before`. */
uint64_t cpu_thread_since(const struct cpu_sample *before, const struct cpu_sample *after, unsigned i);

#endif
