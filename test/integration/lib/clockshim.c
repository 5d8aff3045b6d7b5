/*
 * clockshim.c - steps the wall clock of one process: a library for LD_PRELOAD. The file that CLOCK_STEP names holds the
 * step in microseconds, 8 bytes in the machine's order; whoever writes it there steps the clock at once.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *step;

__attribute__((constructor)) static void find_step(void)
{
    const char *path = getenv("CLOCK_STEP");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(*step), PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED)
        step = at;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *to)
{
    long rc = syscall(SYS_clock_gettime, id, to);
    if (rc == 0 && step && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t us = (int64_t)to->tv_sec * 1000000 + to->tv_nsec / 1000 + *step;
        to->tv_sec = us / 1000000;
        to->tv_nsec = us % 1000000 * 1000;
    }
    return (int)rc;
}

int gettimeofday(struct timeval *to, void *zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    *to = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *to)
{
    struct timeval now = {0};
    gettimeofday(&now, NULL);
    if (to)
        *to = now.tv_sec;
    return now.tv_sec;
}
