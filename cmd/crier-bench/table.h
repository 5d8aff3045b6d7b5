/*
 * table.h - result lines to a table for people.
 */
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

/* "table [--markdown] FILE": ratios first, then medians. The exit status. */
int table_main(int argc, char **argv);

#endif
