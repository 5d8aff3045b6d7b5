/*
 * codec_command.c - what clients ask for, in either codec.
 *
 * Idea: a frame is read into its members (members.c) without judging them; then `type` picks a row of a table that says
 * which members count for it and which must be there, and only those are held against their rules. What a client adds
 * beyond them does no harm, so newer clients can talk to older servers. `ref` is looked for first, so that nearly every
 * error can carry it.
 *
 * Any thread; pure. Spans of a command borrow from the frame and the caller's scratch. Nothing is owned here.
 */
#include "proto/codec.h"

#include <stdarg.h>
#include <stdio.h>

#include "proto/envelope.h"
#include "proto/json.h"
#include "proto/members.h"
#include "proto/names.h"

enum { MAX_REF = 256 };

enum {
    M_TYPE,
    M_REF,
    M_SEQ,
    M_ROOM,
    M_USER,
    M_ALL,
    M_SINCE,
    M_PRESENCE,
    M_LIMIT,
    M_BEFORE,
    M_AFTER,
    M_DATA,
    M_ID,
    M_EVENT,
    M_TTL,
    M_PRIORITY,
    M_ECHO,
    M_TOKEN,
    M_COUNT
};

static bool not_empty(struct span s)
{
    return s.n > 0;
}

static const struct member_rule rules[M_COUNT] = {
    [M_TYPE] = {"type", MEMBER_STRING, 0, NULL, "must be a string"},
    [M_REF] = {"ref", MEMBER_OTHER, 0, NULL, ""},
    [M_SEQ] = {"seq", MEMBER_UINT, JSON_MAX_SAFE, NULL, MUST_BE_SEQ},
    [M_ROOM] = {"room", MEMBER_STRING, 0, name_room_ok, MUST_BE_NAME},
    [M_USER] = {"user", MEMBER_STRING, 0, name_user_ok, MUST_BE_NAME},
    [M_ALL] = {"all", MEMBER_BOOL, 0, NULL, MUST_BE_BOOL},
    [M_SINCE] = {"since", MEMBER_UINT, JSON_MAX_SAFE, NULL, MUST_BE_SEQ},
    [M_PRESENCE] = {"presence", MEMBER_BOOL, 0, NULL, MUST_BE_BOOL},
    [M_LIMIT] = {"limit", MEMBER_UINT, JSON_MAX_SAFE, NULL, MUST_BE_SEQ},
    [M_BEFORE] = {"before", MEMBER_UINT, JSON_MAX_SAFE, NULL, MUST_BE_SEQ},
    [M_AFTER] = {"after", MEMBER_STRING, 0, name_user_ok, MUST_BE_NAME},
    [M_DATA] = {"data", MEMBER_OTHER, 0, NULL, ""},
    [M_ID] = {"id", MEMBER_STRING, 0, name_id_ok, MUST_BE_NAME},
    [M_EVENT] = {"event", MEMBER_STRING, 0, name_event_ok, MUST_BE_SHORT},
    [M_TTL] = {"ttl", MEMBER_UINT, MEMBERS_TTL_MAX, NULL, MUST_BE_TTL},
    [M_PRIORITY] = {"priority", MEMBER_STRING, 0, members_priority_ok, MUST_BE_PRIORITY},
    [M_ECHO] = {"echo", MEMBER_BOOL, 0, NULL, MUST_BE_BOOL},
    [M_TOKEN] = {"token", MEMBER_STRING, 0, not_empty, "must be a string that is not empty"},
};

#define BIT(m) (UINT32_C(1) << (m))

static const struct row {
    const char *name;
    enum command_type type;
    uint32_t needs, takes;
} rows[] = {
    {"ack", CMD_ACK, BIT(M_SEQ), 0},
    {"subscribe", CMD_SUBSCRIBE, BIT(M_ROOM), BIT(M_SINCE) | BIT(M_PRESENCE)},
    {"unsubscribe", CMD_UNSUBSCRIBE, BIT(M_ROOM), 0},
    {"send", CMD_SEND, BIT(M_DATA),
     BIT(M_USER) | BIT(M_ROOM) | BIT(M_ALL) | BIT(M_ID) | BIT(M_EVENT) | BIT(M_TTL) | BIT(M_PRIORITY) | BIT(M_ECHO)},
    {"presence", CMD_PRESENCE, BIT(M_ROOM), BIT(M_LIMIT) | BIT(M_AFTER)},
    {"history", CMD_HISTORY, BIT(M_ROOM), BIT(M_LIMIT) | BIT(M_BEFORE) | BIT(M_SINCE)},
    {"refresh", CMD_REFRESH, BIT(M_TOKEN), 0},
    {"pong", CMD_PONG, 0, 0},
};

PRINTF_LIKE(3, 4) static int refuse(struct command_error *err, const char *code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    err->code = code;
    (void)vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    return -1;
}

static int refuse_frame(enum codec c, enum members_status s, struct command_error *err)
{
    bool json = c == CODEC_JSON;
    switch (s) {
    case MEMBERS_DEEP:
        return refuse(err, "too_deep", "nests deeper than %d levels", JSON_MAX_DEPTH);
    case MEMBERS_UTF8:
        return refuse(err, "bad_json", "the message is not valid UTF-8");
    case MEMBERS_OTHER_VALUE:
        if (json)
            return refuse(err, "bad_json", "the message must be one JSON object");
        return refuse(err, "bad_msgpack", "the message must be one msgpack map");
    case MEMBERS_NO_MEMORY:
        return refuse(err, "too_big", "there is no room to read the message");
    case MEMBERS_OK:
    case MEMBERS_SYNTAX:
    case MEMBERS_REFUSED:
        break;
    }
    return json ? refuse(err, "bad_json", "the message is not valid JSON")
                : refuse(err, "bad_msgpack", "the message is not valid msgpack");
}

/* A ref counts only if it can be repeated: one string or number of bounded length. */
static bool ref_ok(const struct member *v)
{
    return v->raw.n <= MAX_REF &&
           (v->kind == MEMBER_STRING || v->kind == MEMBER_UINT || v->kind == MEMBER_NUMBER || v->kind == MEMBER_ABSENT);
}

/* Checks the members of the mask against their rules. */
static int check(enum codec c, uint32_t mask, struct member *v, struct buf *scratch, struct command_error *err)
{
    enum members_status s = members_check(rules, M_COUNT, mask, v, scratch, err->message, sizeof err->message);
    if (s == MEMBERS_OK)
        return 0;
    err->code = "bad_request";
    return s == MEMBERS_REFUSED ? -1 : refuse_frame(c, s, err);
}

static const struct row *row_of(struct span type)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (span_eq(type, span_str(rows[i].name)))
            return &rows[i];
    }
    return NULL;
}

/* Repeats the type only where that is short and harmless. */
static int refuse_type(struct span type, struct command_error *err)
{
    if (name_event_ok(type))
        return refuse(err, "unknown_type", "type \"%.*s\" is not known here", SPAN_ARG(type));
    return refuse(err, "unknown_type", "type is not one that is known here");
}

/* Exactly one target. `all: false` is none. */
static int check_target(const struct member *v, struct command_error *err)
{
    int n = (v[M_USER].kind != MEMBER_ABSENT) + (v[M_ROOM].kind != MEMBER_ABSENT) + v[M_ALL].b;
    return n == 1 ? 0 : refuse(err, "bad_request", "send needs exactly one of user, room and all");
}

static void fill(enum codec c, const struct row *row, const struct member *v, struct command *out)
{
    *out = (struct command){
        .type = row->type,
        .ref = v[M_REF].raw,
        .room = v[M_ROOM].text,
        .user = v[M_USER].text,
        .all = v[M_ALL].b,
        .seq = v[M_SEQ].u,
        .has_since = v[M_SINCE].kind != MEMBER_ABSENT,
        .presence = v[M_PRESENCE].b,
        .since = v[M_SINCE].u,
        .limit = v[M_LIMIT].u,
        .before = v[M_BEFORE].u,
        .after = v[M_AFTER].text,
        .format = c == CODEC_JSON ? DATA_JSON : DATA_MSGPACK,
        .data = v[M_DATA].raw,
        .id = v[M_ID].text,
        .event = v[M_EVENT].text,
        .ttl_s = v[M_TTL].kind == MEMBER_ABSENT ? TTL_UNSET : (uint32_t)v[M_TTL].u,
        .priority = members_priority(v[M_PRIORITY].text),
        .echo = v[M_ECHO].kind == MEMBER_ABSENT || v[M_ECHO].b,
        .token = v[M_TOKEN].text,
    };
}

/* The members are read; the row is known. */
static int finish(enum codec c, const struct row *row, size_t max_data, struct member *v, struct buf *scratch,
                  struct command *out, struct command_error *err)
{
    for (unsigned i = 0; i < M_COUNT; i++) {
        bool there = v[i].kind != MEMBER_ABSENT;
        if (!there && (row->needs & BIT(i)) != 0)
            return refuse(err, "bad_request", "%s needs %s", row->name, rules[i].name);
        if (there && ((row->needs | row->takes | BIT(M_REF)) & BIT(i)) == 0)
            v[i] = (struct member){.kind = MEMBER_ABSENT};
    }
    if (check(c, UINT32_MAX, v, scratch, err) < 0)
        return -1;
    if (row->type == CMD_SEND && check_target(v, err) < 0)
        return -1;
    if (v[M_DATA].raw.n > max_data)
        return refuse(err, "too_big", "data is %zu bytes, the limit is %zu", v[M_DATA].raw.n, max_data);
    fill(c, row, v, out);
    return 0;
}

int command_parse(enum codec c, struct span frame, size_t max_data, struct buf *scratch, struct command *out,
                  struct command_error *err)
{
    struct member v[M_COUNT];
    struct members m;
    *err = (struct command_error){.code = ""};
    enum members_status s = members_read(c, frame, rules, M_COUNT, v, &m);
    if (s != MEMBERS_OK)
        return refuse_frame(c, s, err);
    if (!ref_ok(&v[M_REF]))
        return refuse(err, "bad_request", "ref must be a string or a number of at most %d bytes", MAX_REF);
    err->ref = v[M_REF].raw;
    if (m.twice != NULL)
        return refuse(err, "bad_request", "%s is there twice", m.twice);
    if (v[M_TYPE].kind == MEMBER_ABSENT)
        return refuse(err, "bad_request", "type is missing");
    if (check(c, BIT(M_TYPE), v, scratch, err) < 0)
        return -1;
    const struct row *row = row_of(v[M_TYPE].text);
    if (row == NULL)
        return refuse_type(v[M_TYPE].text, err);
    return finish(c, row, max_data, v, scratch, out, err);
}
