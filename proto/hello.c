/*
 * hello.c - the first frame of a TCP client, by the same table-driven reading as commands (codec_command.c). Any
 * thread; pure; spans borrow from the frame and the caller's scratch.
 */
#include "proto/hello.h"

#include <stdio.h>

#include "proto/json.h"
#include "proto/members.h"
#include "proto/names.h"

enum { MAX_REF = 256 };
enum { M_TYPE, M_REF, M_TOKEN, M_USER, M_DEVICE, M_SINCE, M_ACK, M_COUNT };

static bool is_hello(struct span s)
{
    return SPAN_IS(s, "hello");
}

static bool is_ack(struct span s)
{
    return SPAN_IS(s, "auto") || SPAN_IS(s, "explicit") || SPAN_IS(s, "sent");
}

static bool not_empty(struct span s)
{
    return s.n > 0;
}

static const struct member_rule rules[M_COUNT] = {
    [M_TYPE] = {"type", MEMBER_STRING, 0, is_hello, "of the first message must be \"hello\""},
    [M_REF] = {"ref", MEMBER_OTHER, 0, NULL, ""},
    [M_TOKEN] = {"token", MEMBER_STRING, 0, not_empty, "must be a string that is not empty"},
    [M_USER] = {"user", MEMBER_STRING, 0, name_user_ok, MUST_BE_NAME},
    [M_DEVICE] = {"device", MEMBER_STRING, 0, name_device_ok, MUST_BE_SHORT},
    [M_SINCE] = {"since", MEMBER_UINT, JSON_MAX_SAFE, NULL, MUST_BE_SEQ},
    [M_ACK] = {"ack", MEMBER_STRING, 0, is_ack, "must be \"auto\", \"explicit\" or \"sent\""},
};

static int refuse(struct command_error *err, const char *code, const char *message)
{
    err->code = code;
    snprintf(err->message, sizeof err->message, "%s", message);
    return -1;
}

static int refuse_frame(enum codec c, enum members_status s, struct command_error *err)
{
    const char *bad = c == CODEC_JSON ? "bad_json" : "bad_msgpack";
    switch (s) {
    case MEMBERS_DEEP:
        return refuse(err, "too_deep", "the message nests too deep");
    case MEMBERS_NO_MEMORY:
        return refuse(err, "too_big", "there is no room to read the message");
    case MEMBERS_REFUSED:
        err->code = "bad_request"; /* the sentence is there */
        return -1;
    case MEMBERS_UTF8:
        return refuse(err, bad, "the message is not valid UTF-8");
    case MEMBERS_OTHER_VALUE:
        return refuse(err, bad, "the first message must be one object");
    case MEMBERS_OK:
    case MEMBERS_SYNTAX:
        break;
    }
    return refuse(err, bad, c == CODEC_JSON ? "the message is not valid JSON" : "the message is not valid msgpack");
}

static bool ref_ok(const struct member *v)
{
    return v->raw.n <= MAX_REF &&
           (v->kind == MEMBER_STRING || v->kind == MEMBER_UINT || v->kind == MEMBER_NUMBER || v->kind == MEMBER_ABSENT);
}

static enum hello_ack ack_of(struct span s)
{
    if (SPAN_IS(s, "explicit"))
        return HELLO_ACK_EXPLICIT;
    return SPAN_IS(s, "sent") ? HELLO_ACK_SENT : HELLO_ACK_AUTO;
}

int hello_parse(enum codec c, struct span frame, struct buf *scratch, struct hello *out, struct command_error *err)
{
    struct member v[M_COUNT];
    struct members m;
    *err = (struct command_error){.code = ""};
    enum members_status s = members_read(c, frame, rules, M_COUNT, v, &m);
    if (s != MEMBERS_OK)
        return refuse_frame(c, s, err);
    if (!ref_ok(&v[M_REF]))
        return refuse(err, "bad_request", "ref must be a string or a number of at most 256 bytes");
    err->ref = v[M_REF].raw;
    if (m.twice) {
        err->code = "bad_request";
        snprintf(err->message, sizeof err->message, "%s is there twice", m.twice);
        return -1;
    }
    if (v[M_TYPE].kind == MEMBER_ABSENT)
        return refuse(err, "bad_request", "type is missing");
    s = members_check(rules, M_COUNT, UINT32_MAX, v, scratch, err->message, sizeof err->message);
    if (s != MEMBERS_OK)
        return refuse_frame(c, s, err);
    *out = (struct hello){.ref = v[M_REF].raw, .token = v[M_TOKEN].text, .user = v[M_USER].text};
    out->device = v[M_DEVICE].text;
    out->has_since = v[M_SINCE].kind != MEMBER_ABSENT;
    out->since = v[M_SINCE].u;
    out->ack = ack_of(v[M_ACK].text);
    return 0;
}
