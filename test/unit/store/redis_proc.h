/*
 * redis_proc.h - a redis-server of the test's own, on a Unix socket in a folder of its own; gone with the test.
 */
#ifndef TEST_REDIS_PROC_H
#define TEST_REDIS_PROC_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

struct redis_proc {
    pid_t pid;
    char dir[64], sock[80], url[96];
    redisContext *c; /* for the test's own commands */
};

/* Starts the server (again) and waits for its own word that it is ready. */
static inline void redis_proc_run(struct redis_proc *r)
{
    int out[2];
    if (pipe(out) != 0)
        abort();
    r->pid = fork();
    if (r->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], 1);
        close(out[0]);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", r->sock, "--save", "", "--dir", r->dir,
               "--maxmemory-policy", "noeviction", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    char line[512];
    while (f && fgets(line, sizeof(line), f)) {
        if (strstr(line, "eady to accept connections"))
            break;
    }
    /* The pipe stays open for the server's life: a closed one would kill it at its next line. */
    if (!f)
        abort();
    r->c = redisConnectUnix(r->sock);
    if (!r->c || r->c->err)
        abort();
}

static inline void redis_proc_start(struct redis_proc *r)
{
    *r = (struct redis_proc){0};
    snprintf(r->dir, sizeof(r->dir), "/tmp/crier-test-XXXXXX");
    if (!mkdtemp(r->dir))
        abort();
    snprintf(r->sock, sizeof(r->sock), "%s/s", r->dir);
    snprintf(r->url, sizeof(r->url), "unix://%s", r->sock);
    redis_proc_run(r);
}

static inline void redis_proc_kill(struct redis_proc *r)
{
    redisFree(r->c);
    r->c = NULL;
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
}

static inline void redis_proc_stop(struct redis_proc *r)
{
    redis_proc_kill(r);
    unlink(r->sock);
    rmdir(r->dir);
}

#endif
