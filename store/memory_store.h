/*
 * memory_store.h - what the embedded store offers beyond struct store_ops.
 */
#ifndef STORE_MEMORY_STORE_H
#define STORE_MEMORY_STORE_H

#include "store/store.h"

/* Bytes that stored messages and remembered ids may take together; OP_FULL beyond. Default 512 MiB. */
void memory_store_set_ceiling(struct store *s, size_t bytes);
/* Users with an inbox, and whether the sweep timer is armed. */
size_t memory_store_users(const struct store *s);
bool memory_store_sweeping(const struct store *s);

#endif
