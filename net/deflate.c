/*
 * deflate.c - see deflate.h. A struct deflate belongs to a shard and is touched by its thread alone; a packer or
 * unpacker belongs to a connection and moves with it.
 *
 * The shard's compressors are made at first need, one a window size, and live as long as the shard: making one costs
 * more than compressing a small message. The buffers are the shard's too, so nothing is allocated per message but the
 * growth of a buffer, which deflate_trim takes back.
 *
 * Inflating is bounded twice: each step writes at most STEP bytes, and after each the sum is held against the limit, so
 * a bomb costs its limit and no more. A final block (BFINAL, RFC 7692 section 7.2.3.4) ends zlib's stream but not the
 * message: the inflater is set back with its window kept and goes on. A message must end where a block ends.
 */
#include "net/deflate.h"

#include <limits.h>
#include <stdlib.h>

#include <zlib.h>

#include "core/buf.h"
#include "proto/utf8.h"

#define BITS_MIN   9 /* of zlib's raw deflate */
#define BITS_MAX   15
#define MEM_LEVEL  8
#define STEP       (16u * 1024)
#define SLACK      64 /* more than a flush and its marker take */
#define KEEP_BYTES (128u * 1024)

static const uint8_t TAIL[4] = {0x00, 0x00, 0xff, 0xff};

struct packer {
    z_stream z;
};

struct unpacker {
    z_stream z;
};

struct deflate {
    unsigned level;
    struct packer *packers[BITS_MAX - BITS_MIN + 1];
    struct unpacker *unpacker;
    struct buf packed, plain;
};

/* ---- making and freeing ---- */

struct packer *packer_new(unsigned level, unsigned bits)
{
    struct packer *p = calloc(1, sizeof *p);
    if (p && deflateInit2(&p->z, (int)level, Z_DEFLATED, -(int)bits, MEM_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK)
        return p;
    free(p);
    return NULL;
}

void packer_free(struct packer *p)
{
    if (p)
        (void)deflateEnd(&p->z);
    free(p);
}

void packer_forget(struct packer *p)
{
    (void)deflateReset(&p->z);
}

struct unpacker *unpacker_new(unsigned bits)
{
    struct unpacker *u = calloc(1, sizeof *u);
    /* zlib before 1.2.9 took a window of 9 bits where 8 were asked for; some clients have such a one */
    if (u && inflateInit2(&u->z, -(int)(bits < BITS_MIN ? BITS_MIN : bits)) == Z_OK)
        return u;
    free(u);
    return NULL;
}

void unpacker_free(struct unpacker *u)
{
    if (u)
        (void)inflateEnd(&u->z);
    free(u);
}

struct deflate *deflate_new(unsigned level)
{
    struct deflate *d = calloc(1, sizeof *d);
    if (d) {
        d->level = level;
        buf_init(&d->packed, SIZE_MAX);
        buf_init(&d->plain, 0);
    }
    return d;
}

void deflate_free(struct deflate *d)
{
    if (!d)
        return;
    for (unsigned i = 0; i < ARRAY_LEN(d->packers); i++)
        packer_free(d->packers[i]);
    unpacker_free(d->unpacker);
    buf_fini(&d->packed);
    buf_fini(&d->plain);
    free(d);
}

static void trim(struct buf *b)
{
    if (b->cap > KEEP_BYTES)
        buf_fini(b);
}

void deflate_trim(struct deflate *d)
{
    trim(&d->packed);
    trim(&d->plain);
}

/* ---- compressing ---- */

static struct packer *shared_packer(struct deflate *d, unsigned bits)
{
    struct packer **p = &d->packers[bits - BITS_MIN];
    if (*p)
        (void)deflateReset(&(*p)->z);
    else
        *p = packer_new(d->level, bits);
    return *p;
}

static bool run_deflate(z_stream *z, struct buf *out)
{
    do {
        size_t room = deflateBound(z, z->avail_in) + SLACK;
        uint8_t *p = buf_reserve(out, room);
        if (!p)
            return false;
        z->next_out = p;
        z->avail_out = (uInt)room;
        (void)deflate(z, Z_SYNC_FLUSH); /* cannot fail but for want of room */
        buf_commit(out, room - z->avail_out);
    } while (z->avail_out == 0);
    return true;
}

bool deflate_pack(struct deflate *d, struct packer *own, unsigned bits, struct span in, struct span *out)
{
    assert(in.n > 0 && bits >= BITS_MIN && bits <= BITS_MAX);
    struct packer *p = own ? own : shared_packer(d, bits);
    if (!p || in.n > UINT_MAX / 2)
        return false;
    d->packed.len = 0;
    p->z.next_in = (Bytef *)(uintptr_t)in.p;
    p->z.avail_in = (uInt)in.n;
    if (!run_deflate(&p->z, &d->packed)) {
        packer_forget(p);
        return false;
    }
    assert(d->packed.len > sizeof TAIL && memcmp(d->packed.data + d->packed.len - sizeof TAIL, TAIL, sizeof TAIL) == 0);
    *out = span_of(d->packed.data, d->packed.len - sizeof TAIL);
    return true;
}

/* ---- inflating ---- */

struct unpacking {
    struct buf *out;
    size_t max;
    bool text, tail; /* tail: the four bytes left out by the sender are being read */
    struct utf8 utf8;
};

static struct unpacker *shared_unpacker(struct deflate *d)
{
    if (d->unpacker)
        (void)inflateReset(&d->unpacker->z);
    else
        d->unpacker = unpacker_new(BITS_MAX);
    return d->unpacker;
}

/* One call of inflate into at most STEP bytes, and the judgement of what it gave. */
static enum unpacked step(z_stream *z, struct unpacking *u, int *result)
{
    size_t left = u->max - u->out->len;
    size_t room = left < STEP ? left + 1 : STEP; /* one byte more than allowed shows that there is more */
    uint8_t *p = buf_reserve(u->out, room);
    if (!p)
        return UNPACK_NO_MEMORY;
    z->next_out = p;
    z->avail_out = (uInt)room;
    *result = inflate(z, Z_SYNC_FLUSH);
    size_t n = room - z->avail_out;
    buf_commit(u->out, n);
    if (u->out->len > u->max)
        return UNPACK_TOO_BIG;
    if (u->text && !utf8_feed(&u->utf8, span_of(p, n)))
        return UNPACK_NOT_TEXT;
    if (*result == Z_MEM_ERROR)
        return UNPACK_NO_MEMORY;
    return *result == Z_OK || *result == Z_BUF_ERROR || *result == Z_STREAM_END ? UNPACKED : UNPACK_BAD;
}

static void feed_tail(z_stream *z, struct unpacking *u)
{
    u->tail = true;
    z->next_in = (Bytef *)(uintptr_t)TAIL;
    z->avail_in = sizeof TAIL;
}

static enum unpacked run_inflate(z_stream *z, struct unpacking *u)
{
    for (;;) {
        if (z->avail_in == 0 && !u->tail)
            feed_tail(z, u);
        int result;
        enum unpacked r = step(z, u, &result);
        if (r != UNPACKED)
            return r;
        if (result == Z_STREAM_END) {
            (void)inflateResetKeep(z); /* unlike inflateReset it keeps the window that later blocks may point into */
            if (z->avail_in == 0)      /* a sender that ends with a final block may leave out the empty one behind it */
                return UNPACKED;
        } else if (z->avail_out > 0 && z->avail_in > 0) {
            return UNPACK_BAD; /* it has room and input, and makes nothing of them */
        } else if (z->avail_out > 0 && u->tail) {
            return z->data_type & 128 ? UNPACKED : UNPACK_BAD; /* 128: between two blocks */
        }
    }
}

enum unpacked deflate_unpack(struct deflate *d, struct unpacker *own, struct span in, size_t max, bool text,
                             struct span *out)
{
    struct unpacker *p = own ? own : shared_unpacker(d);
    if (!p || in.n > UINT_MAX)
        return UNPACK_NO_MEMORY;
    struct unpacking u = {.out = &d->plain, .max = max, .text = text};
    utf8_init(&u.utf8);
    d->plain.len = 0;
    d->plain.max = max + 1;
    p->z.next_in = (Bytef *)(uintptr_t)in.p;
    p->z.avail_in = (uInt)in.n;
    enum unpacked r = run_inflate(&p->z, &u);
    if (r == UNPACKED && text && !utf8_complete(&u.utf8))
        r = UNPACK_NOT_TEXT;
    *out = span_of(d->plain.data, r == UNPACKED ? d->plain.len : 0);
    return r;
}
