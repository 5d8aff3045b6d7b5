/*
 * job_codec.c - jobs as msgpack.
 *
 * Idea: packing writes straight into the job's own allocation, whose size is bounded from the spans' lengths before the
 * first byte is written, and notes where each string came to stand: a job's head always points into the job. It is
 * done once a message, so the bytes are put here and not through a packer's callback. Data inside is taken on trust: it
 * is checked where it enters (envelope.c, codec_command.c).
 *
 * Any thread; pure. A new job has one reference and belongs to the caller; job_unref frees it (core/job.c). born_us is
 * left 0 for whoever has a clock.
 */
#include "proto/job_codec.h"

#include <endian.h>

#include "core/hash.h"
#include "proto/mp.h"

enum { VERSION = 1, ELEMENTS = 15 };

/* What all heads and numbers together can take: the array's head and 15 elements of at most 9 bytes without content. */
enum { OVERHEAD = 1 + ELEMENTS * 9 };

/* n bytes of u, the highest first, behind the format byte. */
static uint8_t *put_number(uint8_t *p, uint8_t format, uint64_t u, unsigned n)
{
    uint64_t be = htobe64(u << (64 - 8 * n));
    *p = format;
    memcpy(p + 1, &be, n);
    return p + 1 + n;
}

static uint8_t *put_uint(uint8_t *p, uint64_t u)
{
    if (u < 0x80) {
        *p = (uint8_t)u;
        return p + 1;
    }
    if (u > UINT32_MAX)
        return put_number(p, 0xCF, u, 8);
    if (u > UINT16_MAX)
        return put_number(p, 0xCE, u, 4);
    return u > UINT8_MAX ? put_number(p, 0xCD, u, 2) : put_number(p, 0xCC, u, 1);
}

/* Puts bytes; *at: where their copy stands. */
static uint8_t *put_bytes(uint8_t *p, struct span s, struct span *at)
{
    *at = span_of(p, s.n);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return p + s.n;
}

/* A str, or nil for none. */
static uint8_t *put_text(uint8_t *p, struct span s, struct span *at)
{
    if (s.n == 0) {
        *at = span_of(NULL, 0);
        *p = 0xC0;
        return p + 1;
    }
    if (s.n < 32)
        *p++ = (uint8_t)(0xA0 | s.n);
    else if (s.n <= UINT8_MAX)
        p = put_number(p, 0xD9, s.n, 1);
    else
        p = s.n <= UINT16_MAX ? put_number(p, 0xDA, s.n, 2) : put_number(p, 0xDB, s.n, 4);
    return put_bytes(p, s, at);
}

static uint8_t *put_bin(uint8_t *p, struct span s, struct span *at)
{
    if (s.n <= UINT8_MAX)
        p = put_number(p, 0xC4, s.n, 1);
    else
        p = s.n <= UINT16_MAX ? put_number(p, 0xC5, s.n, 2) : put_number(p, 0xC6, s.n, 4);
    return put_bytes(p, s, at);
}

/* Returns the end. *own: the same head, of the copies. */
static uint8_t *put_head(uint8_t *p, const struct job_head *h, struct job_head *own)
{
    static_assert(ELEMENTS < 16, "an array's head of one byte");
    *own = *h;
    *p++ = 0x90 | ELEMENTS;
    p = put_uint(p, VERSION);
    p = put_uint(p, h->kind);
    p = put_text(p, h->target, &own->target);
    p = put_uint(p, h->seq);
    p = put_uint(p, h->prev);
    p = put_uint(p, h->expires_s);
    p = put_uint(p, h->ts_ms);
    p = put_text(p, h->id, &own->id);
    p = put_text(p, h->event, &own->event);
    p = put_text(p, h->from, &own->from);
    p = put_text(p, h->collapse, &own->collapse);
    p = put_uint(p, h->priority);
    *p++ = h->track ? 0xC3 : 0xC2;
    p = put_uint(p, h->format);
    return put_bin(p, h->data, &own->data);
}

/* Two messages collapse when their target and their `collapse` are the same. The key is fixed: all nodes may compare,
 * and who finds two words of one hash makes only his own messages replace each other. */
static uint64_t collapse_key(const struct job_head *h)
{
    if (h->collapse.n == 0)
        return 0;
    static const uint64_t outer[2] = {UINT64_C(0x6372696572206a6f),
                                      UINT64_C(0x6220636f6c6c6170)}; /* "crier job collap" */
    uint64_t inner[2] = {outer[0] + (uint64_t)h->kind, siphash13(outer, h->target)};
    uint64_t key = siphash13(inner, h->collapse);
    return key != 0 ? key : 1;
}

static bool head_ok(const struct job_head *h)
{
    return (h->kind == TARGET_ALL) == (h->target.n == 0) && h->id.n > 0;
}

/* Sums the lengths of all strings; false when one is longer than msgpack can say. */
static bool content_length(const struct job_head *h, size_t *sum)
{
    const size_t n[] = {h->target.n, h->id.n, h->event.n, h->from.n, h->collapse.n, h->data.n};
    *sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(n); i++) {
        if (n[i] > UINT32_MAX || n[i] > SIZE_MAX / 2 - *sum)
            return false;
        *sum += n[i];
    }
    return true;
}

/* The bytes are in their place: reads the head from them. Lets go of the job and returns NULL when they are malformed.
 */
static struct job *adopt(struct job *j, size_t len)
{
    j->len = len;
    if (job_unpack(span_of(j->bytes, len), &j->head) < 0) {
        job_unref(j);
        return NULL;
    }
    j->collapse_key = collapse_key(&j->head);
    return j;
}

struct job *job_pack_in(struct pool *pool, const struct job_head *head)
{
    size_t content;
    if (!head_ok(head) || !content_length(head, &content))
        return NULL;
    struct job *j = job_new(pool, OVERHEAD + content);
    if (j == NULL)
        return NULL;
    j->len = (size_t)(put_head(j->bytes, head, &j->head) - j->bytes);
    j->collapse_key = collapse_key(&j->head);
    return j;
}

struct job *job_pack(const struct job_head *head)
{
    return job_pack_in(NULL, head);
}

struct job *job_from_bytes(struct span bytes)
{
    struct job *j = job_new(NULL, bytes.n);
    if (j == NULL)
        return NULL;
    if (bytes.n > 0)
        memcpy(j->bytes, bytes.p, bytes.n);
    return adopt(j, bytes.n);
}

static bool take_uint(struct mp_reader *r, uint64_t max, uint64_t *u)
{
    struct mp_value v;
    if (!mp_read(r, &v) || v.kind != MP_UINT || v.u > max)
        return false;
    *u = v.u;
    return true;
}

static bool take_text(struct mp_reader *r, struct span *s)
{
    struct mp_value v;
    if (!mp_read(r, &v))
        return false;
    *s = v.s;
    return v.kind == MP_NIL || (v.kind == MP_STR && v.s.n > 0);
}

static bool take_head(struct mp_reader *r)
{
    struct mp_value v;
    uint64_t version;
    return mp_read(r, &v) && v.kind == MP_ARRAY && v.count == ELEMENTS && take_uint(r, VERSION, &version) &&
           version == VERSION;
}

static bool take_flag(struct mp_reader *r, bool *b)
{
    struct mp_value v;
    if (!mp_read(r, &v) || v.kind != MP_BOOL)
        return false;
    *b = v.b;
    return true;
}

static bool take_data(struct mp_reader *r, struct span *s)
{
    struct mp_value v;
    if (!mp_read(r, &v) || v.kind != MP_BIN)
        return false;
    *s = v.s;
    return true;
}

int job_unpack(struct span bytes, struct job_head *head)
{
    struct mp_reader r;
    struct job_head h = {.kind = TARGET_ALL};
    uint64_t kind, priority, format;
    mp_reader_init(&r, bytes);
    if (!take_head(&r) || !take_uint(&r, TARGET_ALL, &kind) || !take_text(&r, &h.target))
        return -1;
    if (!take_uint(&r, UINT64_MAX, &h.seq) || !take_uint(&r, UINT64_MAX, &h.prev) ||
        !take_uint(&r, UINT64_MAX, &h.expires_s) || !take_uint(&r, UINT64_MAX, &h.ts_ms))
        return -1;
    if (!take_text(&r, &h.id) || !take_text(&r, &h.event) || !take_text(&r, &h.from) || !take_text(&r, &h.collapse))
        return -1;
    if (!take_uint(&r, PRIO_HIGH, &priority) || !take_flag(&r, &h.track) || !take_uint(&r, DATA_BINARY, &format) ||
        !take_data(&r, &h.data) || r.p != r.end)
        return -1;
    h.kind = (enum target_kind)kind;
    h.priority = (enum priority)priority;
    h.format = (enum data_format)format;
    if (!head_ok(&h))
        return -1;
    *head = h;
    return 0;
}
