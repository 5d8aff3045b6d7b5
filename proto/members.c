/*
 * members.c - objects and maps against a table of names.
 *
 * Idea: first everything is collected as it stands, then the members a caller cares about are held against their rules.
 * In two steps, because what is right for a member may depend on another that comes later (a command's type, an
 * envelope's odd member), and because an error should still carry the `ref` behind the fault.
 *
 * Any thread; pure. Invariant: scratch is grown once for all strings that need decoding, so spans into it stay good.
 * Nothing is owned here.
 */
#include "proto/members.h"

#include <stdio.h>

#include "proto/json.h"
#include "proto/mp.h"
#include "proto/utf8.h"

static void from_json(const struct json_value *j, struct member *v)
{
    *v = (struct member){.kind = MEMBER_OTHER, .raw = j->raw};
    switch (j->kind) {
    case JSON_STRING:
        v->kind = MEMBER_STRING;
        v->escaped = j->escaped;
        v->text = span_of(j->raw.p + 1, j->raw.n - 2);
        break;
    case JSON_NUMBER:
        v->kind = json_uint(j, &v->u) ? MEMBER_UINT : MEMBER_NUMBER;
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        v->kind = MEMBER_BOOL;
        v->b = j->kind == JSON_TRUE;
        break;
    case JSON_OBJECT:
    case JSON_ARRAY:
    case JSON_NULL:
        break;
    }
}

static void from_msgpack(const struct mp_value *m, struct span raw, struct member *v)
{
    *v = (struct member){.kind = MEMBER_OTHER, .raw = raw};
    switch (m->kind) {
    case MP_STR:
        v->kind = MEMBER_STRING;
        v->text = m->s;
        break;
    case MP_UINT:
        v->kind = m->u <= JSON_MAX_SAFE ? MEMBER_UINT : MEMBER_NUMBER;
        v->u = m->u;
        break;
    case MP_INT:
    case MP_FLOAT:
        v->kind = MEMBER_NUMBER;
        break;
    case MP_BOOL:
        v->kind = MEMBER_BOOL;
        v->b = m->b;
        break;
    case MP_NIL:
    case MP_BIN:
    case MP_EXT:
    case MP_ARRAY:
    case MP_MAP:
        break;
    }
}

/* Where the next value goes: its place in v, or `spare` when nobody knows its name or it came before. */
static struct member *place(const struct member_rule *rule, struct member *v, struct member *spare, struct members *m)
{
    if (rule == NULL) {
        m->unknown = true;
        return spare;
    }
    if (v->kind == MEMBER_ABSENT)
        return v;
    m->twice = rule->name;
    return spare;
}

/* Which rule's name a key is; n: none. */
static unsigned rule_of(const struct json_value *key, const struct member_rule *rules, unsigned n)
{
    unsigned i = 0;
    while (i < n &&
           !((key->escaped || key->raw.p[1] == (uint8_t)rules[i].name[0]) && json_string_is(key, rules[i].name)))
        i++;
    return i;
}

static enum members_status read_json(struct span in, const struct member_rule *rules, unsigned n, struct member *v,
                                     struct members *m)
{
    static const enum members_status faults[] = {
        [JSON_OK] = MEMBERS_OK, [JSON_SYNTAX] = MEMBERS_SYNTAX, [JSON_UTF8] = MEMBERS_UTF8, [JSON_DEEP] = MEMBERS_DEEP};
    struct json_reader r;
    struct json_value key, value;
    struct member spare;
    json_reader_init(&r, in, JSON_MAX_DEPTH);
    enum json_token t = json_next(&r, &value);
    if (t != JSON_T_OPEN_OBJECT)
        return t == JSON_T_FAULT ? faults[r.status] : MEMBERS_OTHER_VALUE;
    while (json_member(&r, &key, &value)) {
        unsigned i = rule_of(&key, rules, n);
        from_json(&value, place(i < n ? &rules[i] : NULL, v + i, &spare, m));
    }
    m->depth = r.deepest;
    if (r.status == JSON_OK && json_next(&r, &value) == JSON_T_END)
        return MEMBERS_OK;
    return faults[r.status];
}

static enum members_status read_msgpack(struct span in, const struct member_rule *rules, unsigned n, struct member *v,
                                        struct members *m)
{
    struct mp_reader r;
    struct mp_value map, key, value;
    struct member spare;
    mp_reader_init(&r, in);
    if (!mp_read(&r, &map) || map.kind != MP_MAP)
        return MEMBERS_OTHER_VALUE;
    m->depth = 1;
    for (uint32_t left = map.count; left > 0; left--) {
        if (!mp_read(&r, &key) || key.kind >= MP_EXT)
            return MEMBERS_SYNTAX;
        unsigned i = 0;
        while (i < n && !(key.kind == MP_STR && span_eq(key.s, span_str(rules[i].name))))
            i++;
        struct mp_reader whole = r;
        unsigned depth;
        struct member *to = place(i < n ? &rules[i] : NULL, v + i, &spare, m);
        enum mp_status s = mp_skip(&r, MP_MAX_DEPTH - 1, &depth);
        to->kind = MEMBER_OTHER; /* there, even if what follows is too deep to read */
        if (s != MP_OK || !mp_read(&(struct mp_reader){whole.p, r.p}, &value))
            return s == MP_DEEP ? MEMBERS_DEEP : MEMBERS_SYNTAX;
        from_msgpack(&value, span_of(whole.p, (size_t)(r.p - whole.p)), to);
        if (depth + 1 > m->depth)
            m->depth = depth + 1;
    }
    return r.p == r.end ? MEMBERS_OK : MEMBERS_SYNTAX;
}

enum members_status members_read(enum codec c, struct span in, const struct member_rule *rules, unsigned n,
                                 struct member *v, struct members *m)
{
    assert(n <= MEMBERS_MAX);
    memset(v, 0, n * sizeof *v);
    *m = (struct members){.twice = NULL};
    return c == CODEC_JSON ? read_json(in, rules, n, v, m) : read_msgpack(in, rules, n, v, m);
}

/* Those of the mask that are there, a bit each. */
static uint32_t present(const struct member *v, unsigned n, uint32_t mask)
{
    uint32_t there = 0;
    for (unsigned i = 0; i < n; i++)
        there |= (uint32_t)(v[i].kind != MEMBER_ABSENT) << i;
    return there & mask;
}

/* The lowest bit of a set, which is not empty; takes it out. */
static unsigned take_lowest(uint32_t *set)
{
    unsigned i = (unsigned)__builtin_ctz(*set);
    *set &= *set - 1;
    return i;
}

static enum members_status refuse(char *why, size_t whylen, const char *name, const char *what)
{
    snprintf(why, whylen, "%s %s", name, what);
    return MEMBERS_REFUSED;
}

/* Decodes the escaped strings among those of the set, after one growth of scratch. */
static enum members_status decode(const struct member_rule *rules, uint32_t set, struct member *v, struct buf *scratch,
                                  char *why, size_t whylen)
{
    size_t sum = 0;
    uint32_t escaped = 0;
    while (set) {
        unsigned i = take_lowest(&set);
        escaped |= (uint32_t)v[i].escaped << i;
        sum += v[i].escaped ? v[i].raw.n : 0;
    }
    if (sum > 0 && buf_reserve(scratch, sum) == NULL)
        return MEMBERS_NO_MEMORY;
    while (escaped) {
        unsigned i = take_lowest(&escaped);
        struct json_value j = {.kind = JSON_STRING, .raw = v[i].raw, .escaped = true};
        uint8_t *to = scratch->data + scratch->len;
        ptrdiff_t len = json_decode(&j, false, to, v[i].raw.n);
        if (len < 0)
            return refuse(why, whylen, rules[i].name, "holds half a surrogate pair");
        buf_commit(scratch, (size_t)len);
        v[i].text = span_of(to, (size_t)len);
        v[i].escaped = false;
    }
    return MEMBERS_OK;
}

static bool follows(const struct member_rule *rule, const struct member *v)
{
    if (rule->kind == MEMBER_OTHER)
        return true;
    if (rule->kind != v->kind)
        return false;
    return v->kind != MEMBER_UINT || v->u <= rule->max;
}

enum members_status members_check(const struct member_rule *rules, unsigned n, uint32_t mask, struct member *v,
                                  struct buf *scratch, char *why, size_t whylen)
{
    uint32_t there = present(v, n, mask), strings = 0;
    while (there) {
        unsigned i = take_lowest(&there);
        if (!follows(&rules[i], &v[i]))
            return refuse(why, whylen, rules[i].name, rules[i].must);
        strings |= (uint32_t)(rules[i].kind == MEMBER_STRING) << i;
    }
    enum members_status s = decode(rules, strings, v, scratch, why, whylen);
    if (s != MEMBERS_OK)
        return s;
    while (strings) {
        unsigned i = take_lowest(&strings);
        if (!utf8_valid(v[i].text) || (rules[i].ok != NULL && !rules[i].ok(v[i].text)))
            return refuse(why, whylen, rules[i].name, rules[i].must);
    }
    return MEMBERS_OK;
}

struct span members_priority_name(enum priority p)
{
    switch (p) {
    case PRIO_LOW:
        return SPAN_LIT("low");
    case PRIO_NORMAL:
        break;
    case PRIO_HIGH:
        return SPAN_LIT("high");
    }
    return SPAN_LIT("normal");
}

enum priority members_priority(struct span s)
{
    return SPAN_IS(s, "low") ? PRIO_LOW : SPAN_IS(s, "high") ? PRIO_HIGH : PRIO_NORMAL;
}

bool members_priority_ok(struct span s)
{
    return span_eq(s, members_priority_name(members_priority(s)));
}
