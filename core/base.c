#include "core/base.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

char *span_dup(struct span s)
{
    if (s.n == SIZE_MAX)
        return NULL;
    char *copy = malloc(s.n + 1);
    if (!copy)
        return NULL;
    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

#ifdef __GLIBC__
enum { KEPT_BYTES = 16 << 20, MAPPED_BYTES = 1 << 20 };
#endif

void heap_setup(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES); /* the first call froze it at 128 KiB */
#endif
}

void heap_trim(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

void heap_ahead(size_t n)
{
#if defined(__GLIBC__) && defined(MADV_POPULATE_WRITE)
    enum { PAGE = 4096 };
    char *p = malloc(n);
    uintptr_t from = ((uintptr_t)p + PAGE - 1) & ~(uintptr_t)(PAGE - 1),
              to = ((uintptr_t)p + n) & ~(uintptr_t)(PAGE - 1);
    if (p && from < to)
        (void)madvise((void *)from, to - from, MADV_POPULATE_WRITE); /* before Linux 5.14: they come one by one */
    free(p);
#else
    (void)n;
#endif
}
