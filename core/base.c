#include "core/base.h"

#include <malloc.h>
#include <stdlib.h>

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
