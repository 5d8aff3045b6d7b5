/*
 * suite_files.h - public conformance cases that are not part of this tree: read from ../shared/data beside the project
 * when that folder is there.
 */
#ifndef TEST_UNIT_PROTO_SUITE_FILES_H
#define TEST_UNIT_PROTO_SUITE_FILES_H

#include <stdio.h>

#include "core/buf.h"
#include "proto/json.h"

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

/* "ff-01" -> bytes; returns how many (at most cap). */
static inline size_t suite_hex(struct span s, uint8_t *out, size_t cap)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    for (size_t i = 0; i + 1 < s.n && n < cap; i += 3)
        out[n++] = (uint8_t)((strchr(digits, s.p[i]) - digits) << 4 | (strchr(digits, s.p[i + 1]) - digits));
    return n;
}

static inline struct span suite_text(struct json_value v)
{
    return span_of(v.raw.p + 1, v.raw.n - 2);
}

/* One case of msgpack-test-suite: what it is ("number", "ext", ...), the value as that suite spells it in JSON, and one
 * of its encodings. first: the first (smallest) one. */
typedef void suite_msgpack_case(void *arg, struct span kind, struct json_value want, struct span bytes, bool first);

static inline void suite_msgpack_object(struct json_value object, suite_msgpack_case *fn, void *arg)
{
    struct json_reader r, list;
    struct json_value key, value, want[2], hex;
    struct span kind[2];
    unsigned n = 0;
    json_reader_init(&r, object.raw, JSON_MAX_DEPTH);
    if (json_next(&r, &key) != JSON_T_OPEN_OBJECT)
        return;
    while (json_member(&r, &key, &value)) {
        if (!json_string_is(&key, "msgpack")) {
            kind[n % 2] = suite_text(key);
            want[n++ % 2] = value;
            continue;
        }
        for (unsigned i = 0; i < n; i++) {
            bool first = true;
            json_reader_init(&list, value.raw, JSON_MAX_DEPTH);
            if (json_next(&list, &hex) != JSON_T_OPEN_ARRAY)
                return;
            for (; json_element(&list, &hex); first = false) {
                uint8_t bytes[512];
                fn(arg, kind[i], want[i], span_of(bytes, suite_hex(suite_text(hex), bytes, sizeof bytes)), first);
            }
        }
    }
}

/* Calls fn for each encoding of each case; returns how many cases there were, 0 when the suite is not there. */
static inline unsigned suite_msgpack(suite_msgpack_case *fn, void *arg)
{
    struct buf b;
    struct json_reader r, list;
    struct json_value key, value, object;
    unsigned n = 0;
    buf_init(&b, 1 << 20);
    if (suite_read(SUITE_FOLDER "/msgpack-test-suite.json", &b)) {
        json_reader_init(&r, buf_span(&b), JSON_MAX_DEPTH);
        bool open = json_next(&r, &key) == JSON_T_OPEN_OBJECT;
        while (open && json_member(&r, &key, &value)) {
            json_reader_init(&list, value.raw, JSON_MAX_DEPTH);
            if (json_next(&list, &object) != JSON_T_OPEN_ARRAY)
                continue;
            for (; json_element(&list, &object); n++)
                suite_msgpack_object(object, fn, arg);
        }
    }
    buf_fini(&b);
    return n;
}

#endif
