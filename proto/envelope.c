/*
 * envelope.c - P, the payload of a publisher (PROTOCOL.md section 3), into its members and back.
 *
 * Idea: what a publisher most likely meant is decided from the bytes alone, in a fixed order:
 *   1. a whole JSON object with `data` and no member we do not know: an envelope; its faults refuse it;
 *   2. any other whole JSON value: that is the data (an object with `data` and members we do not know is counted odd);
 *   3. a whole msgpack map with a str key `data`: as 1 or 2 (bytes that begin like a map may as well be UTF-8 text, so
 *      only the whole decides);
 *   4. valid UTF-8: text; anything else: bytes.
 * Nesting past the bound is refused rather than read as text: of JSON always, of msgpack once `data` was seen, since
 * other bytes may look nested by accident.
 *
 * Any thread; pure. Spans borrow from P and from the caller's scratch. Nothing is owned here.
 */
#include "proto/envelope.h"

#include <stdio.h>

#include "proto/emit.h"
#include "proto/json.h"
#include "proto/members.h"
#include "proto/mp.h"
#include "proto/names.h"
#include "proto/utf8.h"

enum { M_DATA, M_ID, M_EVENT, M_TTL, M_PRIORITY, M_FROM, M_COLLAPSE, M_TRACK, M_COUNT };

static const struct member_rule rules[M_COUNT] = {
    [M_DATA] = {"data", MEMBER_OTHER, 0, NULL, ""},
    [M_ID] = {"id", MEMBER_STRING, 0, name_id_ok, MUST_BE_NAME},
    [M_EVENT] = {"event", MEMBER_STRING, 0, name_event_ok, MUST_BE_SHORT},
    [M_TTL] = {"ttl", MEMBER_UINT, MEMBERS_TTL_MAX, NULL, MUST_BE_TTL},
    [M_PRIORITY] = {"priority", MEMBER_STRING, 0, members_priority_ok, MUST_BE_PRIORITY},
    [M_FROM] = {"from", MEMBER_STRING, 0, name_user_ok, MUST_BE_NAME},
    [M_COLLAPSE] = {"collapse", MEMBER_STRING, 0, name_device_ok, MUST_BE_SHORT},
    [M_TRACK] = {"track", MEMBER_BOOL, 0, NULL, MUST_BE_BOOL},
};

struct parse {
    size_t max_data;
    struct buf *scratch;
    struct envelope *out;
    char *why;
    size_t whylen;
};

static enum envelope_result refuse(struct parse *x, const char *sentence)
{
    snprintf(x->why, x->whylen, "%s", sentence);
    return ENVELOPE_REFUSED;
}

static enum envelope_result take_data(struct parse *x, enum data_format format, struct span data)
{
    if (data.n > x->max_data) {
        snprintf(x->why, x->whylen, "data is %zu bytes, the limit is %zu", data.n, x->max_data);
        return ENVELOPE_REFUSED;
    }
    x->out->format = format;
    x->out->data = data;
    return ENVELOPE_OK;
}

static enum envelope_result too_deep(struct parse *x)
{
    return refuse(x, "data nests deeper than 63 levels");
}

/* A structured value that is the data as it stands. */
static enum envelope_result take_whole(struct parse *x, enum data_format format, struct span data, unsigned depth)
{
    static_assert(JSON_MAX_DATA_DEPTH == 63 && MP_MAX_DATA_DEPTH == 63, "too_deep names the bound");
    return depth > JSON_MAX_DATA_DEPTH ? too_deep(x) : take_data(x, format, data);
}

static enum envelope_result take_members(struct parse *x, enum data_format format, struct member *v,
                                         const struct members *m)
{
    if (m->twice != NULL) {
        snprintf(x->why, x->whylen, "%s is there twice", m->twice);
        return ENVELOPE_REFUSED;
    }
    enum members_status s = members_check(rules, M_COUNT, UINT32_MAX, v, x->scratch, x->why, x->whylen);
    if (s != MEMBERS_OK)
        return s == MEMBERS_NO_MEMORY ? ENVELOPE_NO_MEMORY : ENVELOPE_REFUSED;
    struct envelope *e = x->out;
    e->id = v[M_ID].text;
    e->event = v[M_EVENT].text;
    e->from = v[M_FROM].text;
    e->collapse = v[M_COLLAPSE].text;
    if (v[M_TTL].kind == MEMBER_UINT)
        e->ttl_s = (uint32_t)v[M_TTL].u;
    e->has_priority = v[M_PRIORITY].kind == MEMBER_STRING;
    e->priority = members_priority(v[M_PRIORITY].text);
    e->track = v[M_TRACK].b;
    return take_data(x, format, v[M_DATA].raw);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct span trim(struct span s)
{
    while (s.n > 0 && is_space(s.p[0]))
        s = span_of(s.p + 1, s.n - 1);
    while (s.n > 0 && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Both readings answer through *result and say whether they were the right one. */
static bool as_json(struct parse *x, struct span p, enum envelope_result *result)
{
    struct member v[M_COUNT];
    struct members m;
    struct json_value whole = {.raw = trim(p)};
    if (whole.raw.n == 0 || whole.raw.p[0] != '{') {
        enum json_status s = json_parse(whole.raw, JSON_MAX_DEPTH, &whole);
        if (s == JSON_OK || s == JSON_DEEP)
            *result = s == JSON_DEEP ? too_deep(x) : take_whole(x, DATA_JSON, whole.raw, whole.depth);
        return s == JSON_OK || s == JSON_DEEP;
    }
    enum members_status s = members_read(CODEC_JSON, whole.raw, rules, M_COUNT, v, &m);
    if (s != MEMBERS_OK && s != MEMBERS_DEEP)
        return false;
    bool data = v[M_DATA].kind != MEMBER_ABSENT;
    if (s == MEMBERS_DEEP) {
        *result = too_deep(x);
    } else if (data && !m.unknown) {
        *result = take_members(x, DATA_JSON, v, &m);
    } else {
        x->out->odd = data;
        *result = take_whole(x, DATA_JSON, whole.raw, m.depth);
    }
    return true;
}

static bool as_msgpack(struct parse *x, struct span p, enum envelope_result *result)
{
    struct member v[M_COUNT];
    struct members m;
    enum members_status s = members_read(CODEC_MSGPACK, p, rules, M_COUNT, v, &m);
    if ((s != MEMBERS_OK && s != MEMBERS_DEEP) || v[M_DATA].kind == MEMBER_ABSENT)
        return false;
    if (s == MEMBERS_DEEP) {
        *result = too_deep(x);
    } else if (!m.unknown) {
        *result = take_members(x, DATA_MSGPACK, v, &m);
    } else {
        x->out->odd = true;
        *result = take_whole(x, DATA_MSGPACK, p, m.depth);
    }
    return true;
}

enum envelope_result envelope_parse(struct span p, size_t max_data, struct buf *scratch, struct envelope *out,
                                    char *why, size_t whylen)
{
    struct parse x = {max_data, scratch, out, why, whylen};
    enum envelope_result result;
    *out = (struct envelope){.ttl_s = TTL_UNSET, .priority = PRIO_NORMAL};
    if (as_json(&x, p, &result) || as_msgpack(&x, p, &result))
        return result;
    return take_data(&x, utf8_valid(p) ? DATA_TEXT : DATA_BINARY, p);
}

static bool write_envelope(enum codec c, const struct envelope *e, struct buf *out)
{
    struct emit x;
    emit_begin(&x, c, out);
    if (e->id.n > 0)
        emit_str(&x, SPAN_LIT("id"), e->id);
    if (e->event.n > 0)
        emit_str(&x, SPAN_LIT("event"), e->event);
    if (e->ttl_s != TTL_UNSET)
        emit_uint(&x, SPAN_LIT("ttl"), e->ttl_s);
    if (e->has_priority)
        emit_str(&x, SPAN_LIT("priority"), members_priority_name(e->priority));
    if (e->from.n > 0)
        emit_str(&x, SPAN_LIT("from"), e->from);
    if (e->collapse.n > 0)
        emit_str(&x, SPAN_LIT("collapse"), e->collapse);
    if (e->track)
        emit_bool(&x, SPAN_LIT("track"), true);
    emit_data(&x, SPAN_LIT("data"), e->format, e->data);
    return emit_end(&x);
}

bool envelope_write_json(const struct envelope *e, struct buf *out)
{
    return write_envelope(CODEC_JSON, e, out);
}

bool envelope_write_msgpack(const struct envelope *e, struct buf *out)
{
    return write_envelope(CODEC_MSGPACK, e, out);
}
