/*
 * room_query.c - questions about rooms. Dispatcher thread; nothing is kept between calls.
 */
#include "store/room_query.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/config.h"
#include "proto/emit.h"
#include "proto/names.h"
#include "proto/room_rules.h"
#include "store/query.h"

enum {
    NAMES_DEFAULT = 100,
    NAMES_MOST = 1000,
    MESSAGES_DEFAULT = 50,
    MESSAGES_MOST = 100,
    HEAD_BYTES = 4096,
    NAME_BYTES = 800, /* 128 bytes, six each when escaped */
};

/* ---- arguments ---- */

static bool refuse(struct op *op, const char *why)
{
    snprintf(op->error, sizeof(op->error), "%s", why);
    return false;
}

static bool number(const char *text, uint64_t most, uint64_t *out)
{
    uint64_t v = 0;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || p - text == 16)
            return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    *out = v;
    return *text && v <= most;
}

/* An argument that may be left out. */
static bool number_or(const char *text, uint64_t most, uint64_t fallback, uint64_t *out)
{
    *out = fallback;
    return !text || number(text, most, out);
}

static bool read_limit(struct op *op, const char *text, unsigned fallback, unsigned most, struct room_ask *out)
{
    uint64_t n;
    if (!number_or(text, UINT32_MAX, fallback, &n) || n == 0)
        return refuse(op, "limit: must be a whole number above 0.");
    out->limit = n < most ? (unsigned)n : most;
    return true;
}

static bool read_seqs(struct op *op, struct room_ask *out)
{
    const uint64_t most = UINT64_C(9007199254740991);
    char *const *a = op->query.args;
    out->has_since = a[2] != NULL;
    if (!number_or(a[1], most, 0, &out->before) || !number_or(a[2], most, 0, &out->since))
        return refuse(op, "before, since: must be a seq.");
    if (a[1] && a[2])
        return refuse(op, "before, since: one of them at most.");
    return true;
}

bool room_ask_read(const struct config *cfg, struct op *op, struct room_ask *out)
{
    char *const *a = op->query.args;
    *out = (struct room_ask){0};
    if (op->query.kind == QUERY_ROOMS) {
        out->after = span_str(a[0]);
        return read_limit(op, a[1], NAMES_DEFAULT, NAMES_MOST, out);
    }
    out->room = span_str(a[0]);
    if (!name_room_ok(out->room))
        return refuse(op, "room: must be 1 to 128 bytes of UTF-8 without control characters.");
    out->has_history = room_history(cfg, out->room, &out->rule);
    out->has_presence = room_presence_kept(cfg, out->room);
    if (op->query.kind == QUERY_ROOM_HISTORY) {
        op->query.absent = !out->has_history;
        return out->has_history ? read_seqs(op, out) && read_limit(op, a[3], MESSAGES_DEFAULT, MESSAGES_MOST, out)
                                : refuse(op, "This room keeps no history.");
    }
    if (op->query.kind == QUERY_ROOM_PRESENCE) {
        op->query.absent = !out->has_presence;
        out->after = span_str(a[1]);
        return out->has_presence ? read_limit(op, a[2], NAMES_DEFAULT, NAMES_MOST, out)
                                 : refuse(op, "This room does not know who is in it.");
    }
    return true;
}

/* ---- answers ---- */

static size_t page_bytes(const struct op_page *page)
{
    size_t sum = HEAD_BYTES;
    for (unsigned i = 0; i < page->njobs; i++)
        sum += page->jobs[i]->len * 6 + HEAD_BYTES;
    return sum;
}

static void emit_messages(struct emit *e, enum codec c, const struct op_page *page)
{
    struct buf one;
    buf_init(&one, page_bytes(page));
    emit_list(e, SPAN_LIT("messages"));
    for (unsigned i = 0; i < page->njobs; i++) {
        one.len = 0;
        e->ok = e->ok && encode_message(c, &page->jobs[i]->head, &one);
        emit_item_raw(e, buf_span(&one));
    }
    emit_close(e);
    buf_fini(&one);
}

enum op_status room_answer_history(struct op *op, const struct room_ask *a, const struct op_page *page)
{
    struct buf out;
    struct emit e;
    buf_init(&out, page_bytes(page));
    emit_begin(&e, query_codec(op), &out);
    emit_str(&e, SPAN_LIT("room"), a->room);
    emit_uint(&e, SPAN_LIT("seq"), page->top);
    emit_messages(&e, query_codec(op), page);
    emit_bool(&e, SPAN_LIT("more"), page->more);
    if (page->more && page->njobs)
        emit_uint(&e, SPAN_LIT("next"), page->jobs[a->has_since ? page->njobs - 1 : 0]->head.seq);
    return query_reply(op, &out, emit_end(&e));
}

enum op_status room_answer_presence(struct op *op, const struct room_ask *a, uint64_t seq, uint64_t count,
                                    const struct span *names, size_t n, bool more)
{
    struct buf out;
    struct emit e;
    buf_init(&out, HEAD_BYTES + (n + 1) * NAME_BYTES);
    emit_begin(&e, query_codec(op), &out);
    emit_str(&e, SPAN_LIT("room"), a->room);
    emit_uint(&e, SPAN_LIT("seq"), seq);
    emit_uint(&e, SPAN_LIT("count"), count);
    emit_list(&e, SPAN_LIT("users"));
    for (size_t i = 0; i < n; i++)
        emit_item_str(&e, names[i]);
    emit_close(&e);
    if (more && n)
        emit_str(&e, SPAN_LIT("next"), names[n - 1]);
    return query_reply(op, &out, emit_end(&e));
}

static void emit_history(struct emit *e, const struct room_ask *a, const struct room_facts *f)
{
    emit_open(e, SPAN_LIT("history"));
    emit_uint(e, SPAN_LIT("length"), a->rule.length);
    emit_uint(e, SPAN_LIT("ttl"), a->rule.ttl_s);
    emit_uint(e, SPAN_LIT("messages"), f->entries);
    emit_uint(e, SPAN_LIT("seq"), f->top);
    if (f->entries)
        emit_uint(e, SPAN_LIT("oldest"), f->oldest);
    emit_close(e);
}

enum op_status room_answer_facts(struct op *op, const struct room_ask *a, const struct room_facts *f)
{
    struct buf out;
    struct emit e;
    buf_init(&out, HEAD_BYTES);
    emit_begin(&e, query_codec(op), &out);
    emit_str(&e, SPAN_LIT("room"), a->room);
    emit_uint(&e, SPAN_LIT("nodes"), f->nodes);
    if (a->has_presence)
        emit_uint(&e, SPAN_LIT("presence"), f->users);
    if (a->has_history)
        emit_history(&e, a, f);
    return query_reply(op, &out, emit_end(&e));
}

/* ---- names ---- */

void room_names_add(struct room_names *names, struct span name)
{
    if (names->n == names->cap) {
        size_t cap = names->cap ? names->cap * 2 : 64;
        char **v = realloc(names->v, cap * sizeof(char *));
        if (!v) {
            names->bad = true;
            return;
        }
        names->v = v;
        names->cap = cap;
    }
    char *copy = span_dup(name);
    if (copy)
        names->v[names->n++] = copy;
    else
        names->bad = true;
}

void room_names_fini(struct room_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->v[i]);
    free(names->v);
    *names = (struct room_names){0};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum op_status room_answer_names(struct op *op, const struct room_ask *a, struct room_names *names)
{
    struct buf out;
    struct emit e;
    const char *last = a->after.n ? (const char *)a->after.p : NULL;
    unsigned shown = 0;
    size_t i = 0;
    if (names->bad)
        return query_reply(op, &(struct buf){0}, false);
    if (names->n)
        qsort(names->v, names->n, sizeof(char *), by_name);
    buf_init(&out, HEAD_BYTES + (size_t)a->limit * NAME_BYTES);
    emit_begin(&e, query_codec(op), &out);
    emit_list(&e, SPAN_LIT("rooms"));
    for (; i < names->n && shown < a->limit; i++) {
        if (last && strcmp(names->v[i], last) <= 0)
            continue;
        last = names->v[i];
        emit_item_str(&e, span_str(last));
        shown++;
    }
    emit_close(&e);
    if (shown == a->limit)
        emit_str(&e, SPAN_LIT("next"), span_str(last));
    return query_reply(op, &out, emit_end(&e));
}
