/*
 * base.h - the few words every module uses: attributes, spans, and the thread-role assert.
 */
#ifndef CORE_BASE_H
#define CORE_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define ARRAY_LEN(a)           (sizeof(a) / sizeof((a)[0]))

/* The struct that holds `member`, from a pointer to that member (intrusive lists, timers). */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Bytes somebody else owns; never NUL-terminated. Borrowed for as long as the owner says. */
struct span {
    const uint8_t *p;
    size_t n;
};

/* A span over a string literal (without its NUL). */
#define SPAN_LIT(s) ((struct span){(const uint8_t *)(s), sizeof(s) - 1})

/* A span over a C string; borrows `s`. NULL gives an empty span. */
static inline struct span span_str(const char *s)
{
    return (struct span){(const uint8_t *)s, s ? strlen(s) : 0};
}

static inline struct span span_of(const void *p, size_t n)
{
    return (struct span){(const uint8_t *)p, n};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

#define SPAN_IS(s, lit) span_eq((s), SPAN_LIT(lit))

/* What stands before the first `at`, or all of it; *s becomes what stands behind. */
static inline struct span span_cut(struct span *s, char at)
{
    size_t n = 0;
    while (n < s->n && s->p[n] != (uint8_t)at)
        n++;
    struct span cut = span_of(s->p, n);
    size_t used = n < s->n ? n + 1 : n;
    *s = span_of(s->p + used, s->n - used);
    return cut;
}

/* For printf("%.*s", SPAN_ARG(s)). */
#define SPAN_ARG(s) (int)(s).n, (const char *)(s).p

/* Asks for n bytes of memory (any address will do), which are going to be used in a moment, without waiting for them.
 */
static inline void prefetch(const void *p, size_t n)
{
    for (size_t at = 0; at < n; at += 64)
        __builtin_prefetch((const void *)((uintptr_t)p + at));
    __builtin_prefetch((const void *)((uintptr_t)p + n - 1)); /* it may begin within a cache line */
}

/* New NUL-terminated copy of a span (embedded NULs are kept); NULL when memory is out. Caller frees. */
char *span_dup(struct span s) MUST_CHECK;

#endif
