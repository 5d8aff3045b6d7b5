/*
 * push_body.c - from the bytes of a push request to an envelope and a list of targets.
 *
 * One table of members serves both formats (proto/members.h). Everything borrows from the body but decoded strings,
 * which live in scratch. Scratch is grown to the body's length without data before anything points into it and never
 * again, so spans stay good: decoded strings are shorter than their JSON, and each string is decoded once.
 */
#include "net/push_body.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/string_list.h"
#include "proto/json.h"
#include "proto/members.h"
#include "proto/mp.h"
#include "proto/names.h"
#include "proto/utf8.h"

enum {
    P_USER,
    P_USERS,
    P_ROOM,
    P_ROOMS,
    P_ALL,
    P_DATA,
    P_ID,
    P_EVENT,
    P_FROM,
    P_TTL,
    P_PRIORITY,
    P_COLLAPSE,
    P_TRACK,
    P_ESCALATE,
    P_COUNT
};

static const struct member_rule rules[P_COUNT] = {
    [P_USER] = {"user", MEMBER_STRING, 0, name_user_ok, MUST_BE_NAME},
    [P_USERS] = {"users", MEMBER_OTHER, 0, NULL, ""},
    [P_ROOM] = {"room", MEMBER_STRING, 0, name_room_ok, MUST_BE_NAME},
    [P_ROOMS] = {"rooms", MEMBER_OTHER, 0, NULL, ""},
    [P_ALL] = {"all", MEMBER_BOOL, 0, NULL, "must be true"},
    [P_DATA] = {"data", MEMBER_OTHER, 0, NULL, ""},
    [P_ID] = {"id", MEMBER_STRING, 0, name_id_ok, MUST_BE_NAME},
    [P_EVENT] = {"event", MEMBER_STRING, 0, name_event_ok, MUST_BE_SHORT},
    [P_FROM] = {"from", MEMBER_STRING, 0, name_user_ok, MUST_BE_NAME},
    [P_TTL] = {"ttl", MEMBER_UINT, MEMBERS_TTL_MAX, NULL, MUST_BE_TTL},
    [P_PRIORITY] = {"priority", MEMBER_STRING, 0, members_priority_ok, MUST_BE_PRIORITY},
    [P_COLLAPSE] = {"collapse", MEMBER_STRING, 0, name_device_ok, MUST_BE_SHORT},
    [P_TRACK] = {"track", MEMBER_BOOL, 0, NULL, MUST_BE_BOOL},
    [P_ESCALATE] = {"escalate", MEMBER_OTHER, 0, NULL, ""},
};

static bool PRINTF_LIKE(4, 5) refuse(struct push_fault *f, unsigned status, const char *code, const char *fmt, ...)
{
    va_list args;

    f->status = status;
    f->code = code;
    va_start(args, fmt);
    vsnprintf(f->message, sizeof(f->message), fmt, args);
    va_end(args);
    return false;
}

static bool no_memory(struct push_fault *f)
{
    return refuse(f, 503, "no_memory", "the broker is out of memory");
}

/* ---- the member nobody knows, by name ---- */

static bool known(struct span name)
{
    for (unsigned i = 0; i < P_COUNT; i++) {
        if (span_eq(name, span_str(rules[i].name)))
            return true;
    }
    return false;
}

static struct span unknown_json(struct span body)
{
    struct json_reader r;
    struct json_value key, v;
    char text[32];

    json_reader_init(&r, body, JSON_MAX_DEPTH);
    if (json_next(&r, &v) != JSON_T_OPEN_OBJECT)
        return SPAN_LIT("?");
    while (json_member(&r, &key, &v)) {
        ptrdiff_t n = json_decode(&key, true, (uint8_t *)text, sizeof(text));
        if (n < 0 || !known(span_of(text, (size_t)n)))
            return span_of(key.raw.p + 1, key.raw.n - 2);
    }
    return SPAN_LIT("?");
}

static struct span unknown_msgpack(struct span body)
{
    struct mp_reader r;
    struct mp_value map, key;

    mp_reader_init(&r, body);
    if (!mp_read(&r, &map) || map.kind != MP_MAP)
        return SPAN_LIT("?");
    for (uint32_t left = map.count; left > 0; left--) {
        if (!mp_read(&r, &key))
            break;
        if (key.kind != MP_STR)
            return SPAN_LIT("(a key that is no string)");
        if (!known(key.s))
            return utf8_valid(key.s) ? key.s : SPAN_LIT("(a key that is no UTF-8)");
        if (mp_skip(&r, MP_MAX_DEPTH, NULL) != MP_OK)
            break;
    }
    return SPAN_LIT("?");
}

static bool refuse_unknown(struct push_fault *f, enum codec format, struct span body)
{
    struct span name = format == CODEC_JSON ? unknown_json(body) : unknown_msgpack(body);
    bool cut = name.n > 40;

    if (cut) {
        for (name.n = 40; name.n > 0 && (name.p[name.n] & 0xc0) == 0x80;) /* not inside a character */
            name.n--;
    }
    return refuse(f, 400, "bad_request", "there is no member \"%.*s%s\"", SPAN_ARG(name), cut ? "..." : "");
}

/* ---- targets ---- */

static bool read_list(struct push_body *b, enum codec format, unsigned which, struct span raw, struct push_fault *f)
{
    enum target_kind kind = which == P_USERS ? TARGET_USER : TARGET_ROOM;
    struct string_list s;
    struct span name;
    int more = -1;

    b->targets = malloc(PUSH_TARGETS * sizeof(b->targets[0]));
    if (!b->targets)
        return no_memory(f);
    if (string_list_open(&s, format, raw)) {
        while ((more = string_list_next(&s, &b->scratch, &name)) > 0) {
            if (b->ntargets == PUSH_TARGETS) {
                return refuse(f, 400, "bad_request", "%s holds more than %d names", rules[which].name, PUSH_TARGETS);
            }
            if (!(kind == TARGET_USER ? name_user_ok(name) : name_room_ok(name))) {
                more = -1;
                break;
            }
            b->targets[b->ntargets++] = (struct push_target){kind, name};
        }
    }
    if (more == 0 && b->ntargets)
        return true;
    return refuse(f, 400, "bad_request",
                  "%s must be an array of 1 to %d strings, each of 1 to 128 bytes without control characters",
                  rules[which].name, PUSH_TARGETS);
}

static bool read_targets(struct push_body *b, enum codec format, const struct member *v, struct push_fault *f)
{
    unsigned which = P_COUNT, n = 0;

    for (unsigned i = P_USER; i <= P_ALL; i++) {
        if (v[i].kind != MEMBER_ABSENT) {
            which = i;
            n++;
        }
    }
    if (n != 1)
        return refuse(f, 400, "bad_request",
                      "exactly one of user, users, room, rooms and all says whom the message is for");
    if (which == P_USERS || which == P_ROOMS)
        return read_list(b, format, which, v[which].raw, f);
    if (which == P_ALL && !v[P_ALL].b)
        return refuse(f, 400, "bad_request", "all must be true");
    b->targets = malloc(sizeof(b->targets[0]));
    if (!b->targets)
        return no_memory(f);
    b->targets[0] = (struct push_target){which == P_USER   ? TARGET_USER
                                         : which == P_ROOM ? TARGET_ROOM
                                                           : TARGET_ALL,
                                         which == P_ALL ? (struct span){NULL, 0} : v[which].text};
    b->ntargets = 1;
    return true;
}

/* ---- the whole ---- */

static bool read_fault(enum codec format, enum members_status s, struct push_fault *f)
{
    const char *code = format == CODEC_JSON ? "bad_json" : "bad_msgpack";

    switch (s) {
    case MEMBERS_OK:
    case MEMBERS_REFUSED:
        break;
    case MEMBERS_SYNTAX:
        return refuse(f, 400, code,
                      format == CODEC_JSON ? "the body is not valid JSON" : "the body is not valid msgpack");
    case MEMBERS_UTF8:
        return refuse(f, 400, code, "the body is not valid UTF-8");
    case MEMBERS_DEEP:
        return refuse(f, 400, "too_deep", "data nests deeper than 63 levels");
    case MEMBERS_OTHER_VALUE:
        return refuse(f, 400, code,
                      format == CODEC_JSON ? "the body is not a JSON object" : "the body is not a msgpack map");
    case MEMBERS_NO_MEMORY:
        return no_memory(f);
    }
    f->status = 400; /* the sentence is there already */
    f->code = "bad_request";
    return false;
}

static void fill_envelope(struct envelope *e, enum codec format, const struct member *v)
{
    *e = (struct envelope){.ttl_s = TTL_UNSET, .priority = PRIO_NORMAL};
    e->id = v[P_ID].text;
    e->event = v[P_EVENT].text;
    e->from = v[P_FROM].text;
    e->collapse = v[P_COLLAPSE].text;
    if (v[P_TTL].kind == MEMBER_UINT)
        e->ttl_s = (uint32_t)v[P_TTL].u;
    e->has_priority = v[P_PRIORITY].kind == MEMBER_STRING;
    if (e->has_priority)
        e->priority = members_priority(v[P_PRIORITY].text);
    e->track = v[P_TRACK].b;
    e->format = format == CODEC_JSON ? DATA_JSON : DATA_MSGPACK;
    e->data = v[P_DATA].raw;
}

/* What is to be escalated is tracked. */
static bool read_escalate(struct push_body *b, enum codec format, const struct member *m, struct push_fault *f)
{
    if (m->kind == MEMBER_ABSENT)
        return true;
    if (b->targets[0].kind != TARGET_USER)
        return refuse(f, 400, "bad_request",
                      "escalate is for messages to users: who of a room has not got one is not known");
    f->status = 400;
    f->code = "bad_request";
    b->envelope.track = true;
    return push_escalate_read(&b->escalate, format, m->raw, &b->scratch, f->message, sizeof(f->message));
}

bool push_body_read(struct push_body *b, enum codec format, struct span body, size_t max_payload, struct push_fault *f)
{
    struct member v[P_COUNT];
    struct members m;
    enum members_status s;

    memset(b, 0, sizeof(*b));
    buf_init(&b->scratch, body.n);
    s = members_read(format, body, rules, P_COUNT, v, &m);
    if (s != MEMBERS_OK)
        return read_fault(format, s, f);
    if (m.unknown)
        return refuse_unknown(f, format, body);
    if (m.twice) {
        return refuse(f, 400, "bad_request", "%s is there twice", m.twice);
    }
    if (v[P_DATA].kind == MEMBER_ABSENT)
        return refuse(f, 400, "bad_request", "data is missing");
    if (v[P_DATA].raw.n > max_payload) {
        return refuse(f, 413, "too_big", "data is %zu bytes, the limit is %zu", v[P_DATA].raw.n, max_payload);
    }
    if (!buf_reserve(&b->scratch, body.n - v[P_DATA].raw.n))
        return no_memory(f);
    s = members_check(rules, P_COUNT, UINT32_MAX, v, &b->scratch, f->message, sizeof(f->message));
    if (s != MEMBERS_OK)
        return read_fault(format, s, f);
    fill_envelope(&b->envelope, format, v);
    return read_targets(b, format, v, f) && read_escalate(b, format, &v[P_ESCALATE], f);
}

void push_body_fini(struct push_body *b)
{
    buf_fini(&b->scratch);
    free(b->targets);
    b->targets = NULL;
}
