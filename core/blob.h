/*
 * blob.h - immutable bytes shared by several threads by reference count.
 * Any thread may ref, unref and read; only the maker writes, before it is shared.
 */
#ifndef CORE_BLOB_H
#define CORE_BLOB_H

#include <stdatomic.h>

#include "core/base.h"

struct blob {
    atomic_uint refs;
    uint32_t len;
    uint8_t data[];
};

/* New blob with one reference and len uninitialised bytes; NULL when memory is out. */
struct blob *blob_new(size_t len) MUST_CHECK;
/* New blob with a copy of the bytes. */
struct blob *blob_copy(struct span s) MUST_CHECK;
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* NULL is fine */

#endif
