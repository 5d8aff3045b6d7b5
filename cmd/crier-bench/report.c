/*
 * report.c - results as JSON lines. What does not fit is a mistake of this program: the line then ends early and no
 * reader will parse it. Used by the first process alone.
 */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>

PRINTF_LIKE(2, 3) static void put(struct report *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(r->text + r->n, sizeof r->text - r->n, format, args);
    va_end(args);
    if (n > 0)
        r->n += (size_t)n < sizeof r->text - r->n ? (size_t)n : sizeof r->text - r->n - 1;
}

static void put_string(struct report *r, const char *s)
{
    put(r, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            put(r, "\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            put(r, "\\u%04x", (unsigned)*s);
        else
            put(r, "%c", *s);
    }
    put(r, "\"");
}

static void put_key(struct report *r, const char *key)
{
    if (r->n && r->text[r->n - 1] != '{')
        put(r, ",");
    put_string(r, key);
    put(r, ":");
}

void report_begin(struct report *r, const char *bench)
{
    r->n = 0;
    put(r, "{");
    report_text(r, "bench", bench);
}

void report_text(struct report *r, const char *key, const char *value)
{
    put_key(r, key);
    put_string(r, value);
}

void report_count(struct report *r, const char *key, uint64_t v)
{
    put_key(r, key);
    put(r, "%llu", (unsigned long long)v);
}

void report_number(struct report *r, const char *key, double v, int decimals)
{
    put_key(r, key);
    put(r, "%.*f", decimals, v);
}

void report_open(struct report *r, const char *key)
{
    put_key(r, key);
    put(r, "{");
}

void report_close(struct report *r)
{
    put(r, "}");
}

void report_end(struct report *r)
{
    put(r, "}");
    puts(r->text);
    (void)fflush(stdout);
}
