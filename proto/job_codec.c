/*
 * job_codec.c - jobs as msgpack.
 *
 * Idea: packing writes straight into the job's own allocation, whose size is bounded from the spans' lengths before the
 * first byte is written, and notes where each string came to stand: a job's head always points into the job. Data
 * inside is taken on trust here: it is checked where it enters (envelope.c, codec_command.c).
 *
 * Any thread; pure. A new job has one reference and belongs to the caller; job_unref frees it (core/job.c). born_us is
 * left 0 for whoever has a clock.
 */
#include "proto/job_codec.h"

#include <msgpack/pack.h>
#include <stdlib.h>

#include "core/hash.h"
#include "proto/mp.h"

enum { VERSION = 1, ELEMENTS = 15 };

/* What all heads and numbers together can take: the array's head and 15 elements of at most 9 bytes without content. */
enum { OVERHEAD = 1 + ELEMENTS * 9 };

struct room {
    uint8_t *p;
    size_t left;
};

static int into_room(void *data, const char *bytes, size_t n)
{
    struct room *r = data;
    if (n > r->left)
        return -1;
    if (n > 0)
        memcpy(r->p, bytes, n);
    r->p += n;
    r->left -= n;
    return 0;
}

/* Packs a string; *at: where its copy stands. */
static int pack_text(msgpack_packer *pk, struct span s, struct span *at)
{
    const struct room *r = pk->data;
    *at = span_of(NULL, 0);
    if (s.n == 0)
        return msgpack_pack_nil(pk);
    int bad = msgpack_pack_str(pk, s.n) | msgpack_pack_str_body(pk, s.p, s.n);
    *at = span_of(r->p - s.n, s.n);
    return bad;
}

static int pack_data(msgpack_packer *pk, struct span s, struct span *at)
{
    const struct room *r = pk->data;
    int bad = msgpack_pack_bin(pk, s.n);
    bad |= s.n > 0 ? msgpack_pack_bin_body(pk, s.p, s.n) : 0;
    *at = span_of(r->p - s.n, s.n);
    return bad;
}

/* *own: the same head, of the copies. */
static int pack_head(msgpack_packer *pk, const struct job_head *h, struct job_head *own)
{
    *own = *h;
    int bad = msgpack_pack_array(pk, ELEMENTS);
    bad |= msgpack_pack_uint64(pk, VERSION);
    bad |= msgpack_pack_uint64(pk, h->kind);
    bad |= pack_text(pk, h->target, &own->target);
    bad |= msgpack_pack_uint64(pk, h->seq);
    bad |= msgpack_pack_uint64(pk, h->prev);
    bad |= msgpack_pack_uint64(pk, h->expires_s);
    bad |= msgpack_pack_uint64(pk, h->ts_ms);
    bad |= pack_text(pk, h->id, &own->id);
    bad |= pack_text(pk, h->event, &own->event);
    bad |= pack_text(pk, h->from, &own->from);
    bad |= pack_text(pk, h->collapse, &own->collapse);
    bad |= msgpack_pack_uint64(pk, h->priority);
    bad |= h->track ? msgpack_pack_true(pk) : msgpack_pack_false(pk);
    bad |= msgpack_pack_uint64(pk, h->format);
    bad |= pack_data(pk, h->data, &own->data);
    return bad;
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

static struct job *new_job(size_t room)
{
    struct job *j = room <= SIZE_MAX / 2 ? malloc(sizeof *j + room) : NULL;
    if (j == NULL)
        return NULL;
    memset(j, 0, sizeof *j);
    atomic_init(&j->refs, 1);
    for (unsigned w = 0; w < WIRE_KINDS; w++)
        atomic_init(&j->wire[w], NULL);
    return j;
}

/* The bytes are in their place: reads the head from them. Frees the job and returns NULL when they are malformed. */
static struct job *adopt(struct job *j, size_t len)
{
    j->len = len;
    if (job_unpack(span_of(j->bytes, len), &j->head) < 0) {
        free(j);
        return NULL;
    }
    j->collapse_key = collapse_key(&j->head);
    return j;
}

struct job *job_pack(const struct job_head *head)
{
    size_t content;
    if (!content_length(head, &content))
        return NULL;
    struct job *j = new_job(OVERHEAD + content);
    if (j == NULL)
        return NULL;
    struct room room = {j->bytes, OVERHEAD + content};
    msgpack_packer pk;
    msgpack_packer_init(&pk, &room, into_room);
    if (!head_ok(head) || pack_head(&pk, head, &j->head) != 0) {
        free(j);
        return NULL;
    }
    j->len = (size_t)(room.p - j->bytes);
    j->collapse_key = collapse_key(&j->head);
    return j;
}

struct job *job_from_bytes(struct span bytes)
{
    struct job *j = new_job(bytes.n);
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
