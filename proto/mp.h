/*
 * mp.h - msgpack: a bounded reader over bytes in place, and a thin writer that puts msgpack-c's packer over a struct
 * buf. Pure. The reader allocates nothing and believes no count: a container that claims more entries than bytes follow
 * is malformed at its head.
 */
#ifndef PROTO_MP_H
#define PROTO_MP_H

#include "core/buf.h"

#define MP_MAX_DEPTH 64 /* containers inside each other; an ext counts as one */
/* Levels that a message's data may have: one less, so that the message around it stays within MP_MAX_DEPTH. */
#define MP_MAX_DATA_DEPTH (MP_MAX_DEPTH - 1)

enum mp_kind { MP_NIL, MP_BOOL, MP_UINT, MP_INT, MP_FLOAT, MP_STR, MP_BIN, MP_EXT, MP_ARRAY, MP_MAP };

struct mp_value {
    enum mp_kind kind;
    bool b;
    int8_t ext;     /* MP_EXT: its type */
    uint32_t count; /* MP_ARRAY: elements, MP_MAP: pairs; they follow */
    uint64_t u;     /* MP_UINT: any integer >= 0, however it was written */
    int64_t i;      /* MP_INT: below 0 */
    double d;       /* MP_FLOAT: both widths */
    struct span s;  /* MP_STR (any bytes), MP_BIN, MP_EXT: the body */
};

enum mp_status { MP_OK, MP_SYNTAX, MP_DEEP };

struct mp_reader {
    const uint8_t *p, *end;
};

static inline void mp_reader_init(struct mp_reader *r, struct span in)
{
    r->p = in.p;
    r->end = in.n > 0 ? in.p + in.n : in.p;
}

/* Reads a scalar whole, of a container its head. False: malformed or cut short, and the reader has not moved. */
bool mp_read(struct mp_reader *r, struct mp_value *v) MUST_CHECK;
/* Goes over one whole value. Map keys must not be containers or ext. *depth (if not NULL): its levels, 0 for a scalar.
 */
enum mp_status mp_skip(struct mp_reader *r, unsigned max_depth, unsigned *depth) MUST_CHECK;
/* Is `in` exactly one such value? */
enum mp_status mp_check(struct span in, unsigned max_depth) MUST_CHECK;

/* ---- writing: the smallest form; false at the buffer's ceiling, and then nothing was added ---- */

bool mp_write_nil(struct buf *out) MUST_CHECK;
bool mp_write_bool(struct buf *out, bool b) MUST_CHECK;
bool mp_write_uint(struct buf *out, uint64_t u) MUST_CHECK;
bool mp_write_int(struct buf *out, int64_t i) MUST_CHECK;
bool mp_write_double(struct buf *out, double d) MUST_CHECK;
bool mp_write_str(struct buf *out, struct span s) MUST_CHECK;
bool mp_write_bin(struct buf *out, struct span s) MUST_CHECK;
bool mp_write_array(struct buf *out, uint32_t count) MUST_CHECK; /* the head; the elements follow */
bool mp_write_map(struct buf *out, uint32_t count) MUST_CHECK;   /* the head; the pairs follow */

#endif
