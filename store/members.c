/*
 * members.c - the table of nodes.
 *
 * Idea: a copy of what Redis said last, in Redis' order, so that every node shows the same list. What a node says of
 * itself travels as words "letter=value" behind its heartbeat: words that are not known are passed over.
 *
 * Dispatcher thread; owns its array. Texts from other nodes are cut to their field and hold no spaces.
 */
#include "store/members.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/emit.h"
#include "store/query.h"
#include "store/store.h"

enum { FIRST_CAP = 8, REPLY_BYTES_A_NODE = 2048 };

void members_init(struct members *m)
{
    *m = (struct members){0};
}

void members_fini(struct members *m)
{
    free(m->v);
    members_init(m);
}

void members_clear(struct members *m)
{
    m->n = 0;
}

static void copy_text(char *to, size_t size, struct span s)
{
    size_t n = s.n < size ? s.n : size - 1;
    if (n)
        memcpy(to, s.p, n);
    to[n] = '\0';
}

struct member *members_add(struct members *m, struct span name)
{
    if (m->n == MEMBERS_MAX)
        return NULL;
    if (m->n == m->cap) {
        unsigned cap = m->cap ? m->cap * 2 : FIRST_CAP;
        struct member *v = realloc(m->v, cap * sizeof(*v));
        if (!v)
            return NULL;
        m->v = v;
        m->cap = cap;
    }
    struct member *one = &m->v[m->n++];
    *one = (struct member){0};
    copy_text(one->name, sizeof(one->name), name);
    return one;
}

const struct member *members_find(const struct members *m, struct span name)
{
    for (unsigned i = 0; i < m->n; i++) {
        if (span_eq(span_str(m->v[i].name), name))
            return &m->v[i];
    }
    return NULL;
}

/* ---- what a node says of itself ---- */

bool member_write_info(const struct store_about *a, struct buf *out)
{
    return buf_printf(out, "v=" CRIER_VERSION " a=%.250s c=%llu u=%llu r=%llu s=%llu d=%llu", a->address,
                      (unsigned long long)a->clients, (unsigned long long)a->users, (unsigned long long)a->rooms,
                      (unsigned long long)a->stored, (unsigned long long)a->delivered);
}

static uint64_t number(struct span s)
{
    uint64_t v = 0;
    for (size_t i = 0; i < s.n && i < 19 && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    return v;
}

static void read_word(struct member *m, struct span word)
{
    if (word.n < 2 || word.p[1] != '=')
        return;
    struct span value = span_of(word.p + 2, word.n - 2);
    if (word.p[0] == 'v')
        copy_text(m->version, sizeof(m->version), value);
    else if (word.p[0] == 'a')
        copy_text(m->address, sizeof(m->address), value);
    else if (word.p[0] == 'c')
        m->clients = number(value);
    else if (word.p[0] == 'u')
        m->users = number(value);
    else if (word.p[0] == 'r')
        m->rooms = number(value);
    else if (word.p[0] == 's')
        m->stored = number(value);
    else if (word.p[0] == 'd')
        m->delivered = number(value);
}

void member_read_info(struct member *m, struct span info)
{
    while (info.n) {
        size_t n = 0;
        while (n < info.n && info.p[n] != ' ')
            n++;
        read_word(m, span_of(info.p, n));
        size_t used = n < info.n ? n + 1 : n;
        info = span_of(info.p + used, info.n - used);
    }
}

/* ---- what is shown ---- */

static void emit_text(struct emit *e, struct span key, const char *value)
{
    emit_str(e, key, span_str(value[0] ? value : "-"));
}

static void emit_nodes(const struct members *m, struct emit *e)
{
    emit_list(e, SPAN_LIT("nodes"));
    for (unsigned i = 0; i < m->n; i++) {
        const struct member *one = &m->v[i];
        emit_item(e);
        emit_text(e, SPAN_LIT("name"), one->name);
        emit_uint(e, SPAN_LIT("since"), one->since_ms);
        emit_text(e, SPAN_LIT("address"), one->address);
        emit_text(e, SPAN_LIT("version"), one->version);
        emit_bool(e, SPAN_LIT("ingest"), one->ingest);
        emit_close(e);
    }
    emit_close(e);
}

static void emit_figures(struct emit *e, const struct member *m)
{
    emit_uint(e, SPAN_LIT("clients"), m->clients);
    emit_uint(e, SPAN_LIT("users"), m->users);
    emit_uint(e, SPAN_LIT("rooms"), m->rooms);
    emit_uint(e, SPAN_LIT("stored"), m->stored);
    emit_uint(e, SPAN_LIT("delivered"), m->delivered);
}

static void emit_stats(const struct members *m, struct emit *e)
{
    struct member sum = {0};
    for (unsigned i = 0; i < m->n; i++) {
        sum.clients += m->v[i].clients;
        sum.users += m->v[i].users;
        sum.rooms += m->v[i].rooms;
        sum.stored += m->v[i].stored;
        sum.delivered += m->v[i].delivered;
    }
    emit_figures(e, &sum);
    emit_list(e, SPAN_LIT("nodes"));
    for (unsigned i = 0; i < m->n; i++) {
        emit_item(e);
        emit_text(e, SPAN_LIT("name"), m->v[i].name);
        emit_figures(e, &m->v[i]);
        emit_close(e);
    }
    emit_close(e);
}

enum op_status members_answer(const struct members *m, const char *self, struct op *op)
{
    struct buf out;
    struct emit e;
    buf_init(&out, ((size_t)m->n + 1) * REPLY_BYTES_A_NODE);
    emit_begin(&e, query_codec(op), &out);
    emit_str(&e, SPAN_LIT("node"), span_str(self));
    if (op->query.kind == QUERY_NODES)
        emit_nodes(m, &e);
    else
        emit_stats(m, &e);
    return query_reply(op, &out, emit_end(&e));
}
