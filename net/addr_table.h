/*
 * addr_table.h - how many connections each address has on this node: one table for all shards, of atomic counters.
 *
 * Any thread may enter and leave at any time.
 */
#ifndef NET_ADDR_TABLE_H
#define NET_ADDR_TABLE_H

#include "core/base.h"

struct addr_table;

/* max: connections an address may have. NULL when memory is out. */
struct addr_table *addr_table_new(unsigned max) MUST_CHECK;
void addr_table_free(struct addr_table *t); /* NULL is fine */

/* addr: 4 bytes, or 16, of which the first 8 count; a v4 address mapped into v6 is one of 4. False: it has as many
 * already. */
bool addr_enter(struct addr_table *t, struct span addr) MUST_CHECK;
/* One less: once for each addr_enter that was true. */
void addr_leave(struct addr_table *t, struct span addr);

#endif
