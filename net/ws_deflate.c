/*
 * ws_deflate.c - permessage-deflate (RFC 7692) on a WebSocket: what is agreed, messages squeezed and unsqueezed. Runs
 * on the shard's thread.
 *
 * Without context takeover, the rule, a squeezed message depends on nothing but its bytes and the window, so it is a
 * wire form of the job like any other: made once, shared by every connection with that codec and window. What is short
 * or does not shrink has the plain form in that place, so that nobody tries again.
 *
 * With takeover (an option) a message leans on those before it. It is then squeezed for its connection alone, at the
 * moment it is queued, and must not be dropped any more; so this is done only while the queue is below its soft limit.
 * Past that messages are queued plain, under the usual policy: a plain message does not touch the context. Contexts are
 * made at first need and die with the connection.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/config.h"
#include "net/deflate.h"
#include "net/shard.h"
#include "net/ws.h"
#include "proto/http_head.h"

static struct deflate *deflate_of(struct shard *s)
{
    if (!s->deflate)
        s->deflate = deflate_new(s->cfg->deflate_level);
    return s->deflate;
}

struct ws_contexts {
    struct packer *packer;
    struct unpacker *unpacker;
};

bool ws_deflate_agree(struct conn *c, const struct http_head *h, struct ws *w)
{
    static const char name[] = "Sec-WebSocket-Extensions";
    const struct config *cfg = c->shard->cfg;
    struct ws_ext_policy policy = {.deflate = cfg->deflate, .takeover = cfg->deflate_takeover};
    struct span lines[HTTP_MAX_HEADERS];
    unsigned n = 0;
    for (unsigned i = 0; i < h->nfields; i++) {
        struct span field = h->fields[i].name;
        if (field.n == sizeof name - 1 && strncasecmp((const char *)field.p, name, field.n) == 0)
            lines[n++] = h->fields[i].value;
    }
    return ws_ext_negotiate(lines, n, &policy, &w->z) != WS_EXT_BAD;
}

void ws_deflate_end(struct ws *w)
{
    if (!w->contexts)
        return;
    packer_free(w->contexts->packer);
    unpacker_free(w->contexts->unpacker);
    free(w->contexts);
    w->contexts = NULL;
}

/* The connection's own contexts, made at first need; NULL: it has none, or memory is out. */
static struct unpacker *unpacker_of(struct ws *w)
{
    if (w->z.client_takeover && !w->contexts)
        w->contexts = calloc(1, sizeof *w->contexts);
    if (w->z.client_takeover && w->contexts && !w->contexts->unpacker)
        w->contexts->unpacker = unpacker_new(w->z.client_bits);
    return w->contexts ? w->contexts->unpacker : NULL;
}

static struct packer *packer_of(struct ws *w, unsigned level)
{
    if (w->z.server_takeover && !w->contexts)
        w->contexts = calloc(1, sizeof *w->contexts);
    if (w->z.server_takeover && w->contexts && !w->contexts->packer)
        w->contexts->packer = packer_new(level, w->z.server_bits);
    return w->contexts ? w->contexts->packer : NULL;
}

/* ---- in ---- */

/* Bytes that cannot be compressed grow by a little: a message of the greatest length may come that way too. */
size_t ws_message_limit(const struct conn *c)
{
    const struct ws *w = c->ext;
    size_t max = c->shard->cfg->max_message;
    return w->squeezed ? max + max / 8 + 1024 : max;
}

static void refuse(struct conn *c, enum metric why, unsigned code, const char *reason)
{
    metric_add(c->shard->m, why, 1);
    ws_fail(c, code, reason);
}

static bool unpacked(struct conn *c, enum unpacked result)
{
    char reason[64];
    switch (result) {
    case UNPACKED:
        metric_add(c->shard->m, M_INFLATED, 1);
        return true;
    case UNPACK_BAD:
        refuse(c, M_INFLATE_BAD, 1007, "the message is not deflate data");
        return false;
    case UNPACK_TOO_BIG:
        snprintf(reason, sizeof reason, "message over %u bytes", c->shard->cfg->max_message);
        refuse(c, M_INFLATE_TOO_BIG, 1009, reason);
        return false;
    case UNPACK_NOT_TEXT:
        refuse(c, M_INFLATE_BAD, 1007, "text is not UTF-8");
        return false;
    case UNPACK_NO_MEMORY:
        break;
    }
    conn_close(c, CLOSE_MEMORY);
    return false;
}

bool ws_unpack(struct conn *c, bool text, struct span packed, struct span *plain)
{
    struct ws *w = c->ext;
    struct deflate *d = deflate_of(c->shard);
    struct unpacker *own = unpacker_of(w);
    if (!d || (w->z.client_takeover && !own))
        return unpacked(c, UNPACK_NO_MEMORY);
    bool ok = unpacked(c, deflate_unpack(d, own, packed, c->shard->cfg->max_message, text, plain));
    if (!ok)
        deflate_trim(d);
    return ok;
}

void ws_unpacked(struct conn *c)
{
    deflate_trim(c->shard->deflate);
}

/* ---- out ---- */

static void count(struct shard *s, size_t before, size_t after)
{
    metric_add(s->m, M_DEFLATED, 1);
    metric_add(s->m, M_DEFLATE_SAVED, before > after ? before - after : 0);
}

bool ws_pack(struct conn *c, struct span payload, struct span *out)
{
    struct ws *w = c->ext;
    const struct config *cfg = c->shard->cfg;
    if (!w->z.server_bits || payload.n < cfg->deflate_min || c->state != CONN_OPEN)
        return false;
    struct deflate *d = deflate_of(c->shard);
    struct packer *own = packer_of(w, cfg->deflate_level); /* none: without context is right as well */
    if (!d || !deflate_pack(d, own, w->z.server_bits, payload, out))
        return false;
    count(c->shard, payload.n, out->n);
    return own || out->n < payload.n; /* in a context it must be sent, longer or not */
}

/* A whole frame around a squeezed payload. */
static struct blob *frame_blob(enum ws_opcode op, struct span packed)
{
    uint8_t head[WS_MAX_HEAD];
    unsigned n = ws_head_write(head, true, true, op, packed.n, NULL);
    struct blob *b = blob_new(n + packed.n);
    if (!b)
        return NULL;
    memcpy(b->data, head, n);
    memcpy(b->data + n, packed.p, packed.n);
    return b;
}

/* What was squeezed last does not go out: the client will not know it. */
static void forget(struct conn *c)
{
    const struct ws *w = c->ext;
    if (w->contexts && w->contexts->packer)
        packer_forget(w->contexts->packer);
}

/* The squeezed frame of a plain one; NULL: it stays plain. */
static struct blob *squeeze(struct conn *c, const struct frame *plain)
{
    struct ws_head h;
    struct span packed;
    struct blob *b;
    if (ws_head_parse(span_of(plain->data, plain->len), false, false, &h) != WS_OK ||
        !ws_pack(c, span_of(plain->data + h.size, plain->len - h.size), &packed))
        return NULL;
    b = frame_blob(h.opcode, packed);
    if (!b)
        forget(c);
    return b;
}

static struct frame *frame_like(struct blob *b, const struct frame *plain)
{
    struct frame *f = frame_new(b);
    if (!f)
        return NULL;
    f->collapse = plain->collapse;
    f->born_us = plain->born_us;
    f->tracked = plain->tracked ? job_ref(plain->tracked) : NULL;
    return f;
}

struct frame *ws_squeeze(struct session *s, struct frame_cache *fc, struct frame *plain)
{
    struct blob *b = job_wire(fc->job, s->wire);
    if (!b) {
        b = squeeze(s->conn, plain);
        b = job_set_wire(fc->job, s->wire, b ? b : blob_ref(plain->blob));
        b = b ? b : plain->blob; /* memory is out */
    }
    struct frame *f = b != plain->blob ? frame_like(blob_ref(b), plain) : NULL;
    if (!f) {
        if (b != plain->blob)
            blob_unref(b);
        f = plain;
        f->refs++;
    }
    frame_cache_keep(fc, s->wire, f);
    return f;
}

enum out_result ws_push_own(struct session *s, struct frame *f, enum out_class cls)
{
    struct conn *c = s->conn;
    struct blob *b = conn_backlogged(c) ? NULL : squeeze(c, f);
    if (!b)
        return conn_push(c, f, cls);
    struct frame *own = frame_like(b, f);
    enum out_result r = own ? conn_push(c, own, OUT_CONTROL) : OUT_NO_MEMORY;
    if (!own)
        blob_unref(b);
    if (r != OUT_OK)
        forget(c);
    frame_unref(own);
    return r;
}
