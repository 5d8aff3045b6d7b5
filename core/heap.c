/*
 * heap.c - glibc's heap. Any thread; a thread's heap is its own, so what is asked for is asked for the caller's.
 */
#include "core/heap.h"

#ifdef __GLIBC__

#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { KEPT_BYTES = 16 << 20, MAPPED_BYTES = 1 << 20, PAGE = 4096 };

void heap_setup(void)
{
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES); /* the first call froze it at 128 KiB */
}

void heap_trim(void)
{
    (void)malloc_trim(0);
}

void heap_ahead(size_t n)
{
    char *p = malloc(n);
    uintptr_t from = ((uintptr_t)p + PAGE - 1) & ~(uintptr_t)(PAGE - 1),
              to = ((uintptr_t)p + n) & ~(uintptr_t)(PAGE - 1);
#ifdef MADV_POPULATE_WRITE /* before Linux 5.14 they come one by one */
    if (p && from < to)
        (void)madvise((void *)from, to - from, MADV_POPULATE_WRITE);
#endif
    (void)from, (void)to;
    free(p);
}

#else

void heap_setup(void)
{
}

void heap_trim(void)
{
}

void heap_ahead(size_t n)
{
    (void)n;
}

#endif
