/*
 * report.h - one line of JSON on standard output for each measurement, flat but for the threads.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "core/base.h"

#define REPORT_MAX 16384

struct report {
    char text[REPORT_MAX];
    size_t n;
};

void report_begin(struct report *r, const char *bench);
void report_text(struct report *r, const char *key, const char *value);
void report_count(struct report *r, const char *key, uint64_t v);
void report_number(struct report *r, const char *key, double v, int decimals);
void report_open(struct report *r, const char *key); /* an object of numbers */
void report_close(struct report *r);
/* Prints the line. */
void report_end(struct report *r);

#endif
