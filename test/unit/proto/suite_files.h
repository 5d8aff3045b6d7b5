/*
 * suite_files.h - public conformance cases that are not part of this tree: read from ../shared/data beside the project
 * when that folder is there.
 */
#ifndef TEST_UNIT_PROTO_SUITE_FILES_H
#define TEST_UNIT_PROTO_SUITE_FILES_H

#include <stdio.h>

#include "core/buf.h"

#define SUITE_FOLDER "../shared/data"

/* Appends the whole file; false when it cannot be read. */
static inline bool suite_read(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");
    bool ok = f != NULL;
    char piece[4096];
    size_t n;
    while (ok && (n = fread(piece, 1, sizeof piece, f)) > 0)
        ok = buf_append(out, piece, n);
    if (f != NULL)
        fclose(f);
    return ok;
}

#endif
