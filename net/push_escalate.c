/*
 * push_escalate.c - the member `escalate` of a push. Scratch has room for all strings of the body (push_body.c).
 */
#include "net/push_escalate.h"

#include <stdio.h>

#include "net/string_list.h"
#include "proto/members.h"
#include "proto/names.h"

#define AFTER_MAX_S   (7 * 86400)
#define TEXT_MAX      500
#define MUST_BE_TEXT  "must be a string of 1 to 500 bytes"
#define MUST_BE_AFTER "must be whole seconds from 1 to 604800"

enum { E_AFTER, E_TO, E_TEXT, E_COUNT };

static bool text_ok(struct span s)
{
    return s.n >= 1 && s.n <= TEXT_MAX;
}

static const struct member_rule rules[E_COUNT] = {
    [E_AFTER] = {"after", MEMBER_UINT, AFTER_MAX_S, NULL, MUST_BE_AFTER},
    [E_TO] = {"to", MEMBER_OTHER, 0, NULL, ""},
    [E_TEXT] = {"text", MEMBER_STRING, 0, text_ok, MUST_BE_TEXT},
};

static bool say(char *why, size_t whylen, const char *sentence)
{
    snprintf(why, whylen, "%s", sentence);
    return false;
}

/* Each channel at most once, in the order in which they are to be tried. */
static bool read_channels(struct push_escalate *x, enum codec format, struct span raw, struct buf *scratch)
{
    struct string_list list;
    struct span name;
    unsigned seen = 0;
    size_t len = 0;
    int more = -1;

    if (!string_list_open(&list, format, raw))
        return false;
    while ((more = string_list_next(&list, scratch, &name)) > 0) {
        unsigned channel = relay_channel(name);
        if (channel == RELAY_CHANNELS || seen & 1u << channel)
            return false;
        seen |= 1u << channel;
        len += (size_t)snprintf(x->to + len, sizeof(x->to) - len, "%s%s", len ? "," : "", relay_channels[channel]);
    }
    return more == 0 && seen;
}

bool push_escalate_read(struct push_escalate *x, enum codec format, struct span raw, struct buf *scratch, char *why,
                        size_t whylen)
{
    static const char shape[] = "escalate must be an object of after (seconds), to (channels) and text";
    struct member v[E_COUNT];
    struct members m;
    char fault[96];

    if (members_read(format, raw, rules, E_COUNT, v, &m) != MEMBERS_OK || m.unknown || m.twice)
        return say(why, whylen, shape);
    if (members_check(rules, E_COUNT, UINT32_MAX, v, scratch, fault, sizeof(fault)) != MEMBERS_OK) {
        snprintf(why, whylen, "escalate.%s", fault);
        return false;
    }
    if (v[E_AFTER].kind == MEMBER_ABSENT || v[E_AFTER].u == 0)
        return say(why, whylen, "escalate.after " MUST_BE_AFTER);
    if (v[E_TO].kind == MEMBER_ABSENT || !read_channels(x, format, v[E_TO].raw, scratch))
        return say(why, whylen, "escalate.to must be an array of wecom, wechat and webhook, each at most once");
    x->after_s = (uint32_t)v[E_AFTER].u;
    x->text = v[E_TEXT].text;
    return true;
}
