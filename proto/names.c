/*
 * names.c - what may be called what, globs over names, and Redis channel names.
 *
 * The idea: one rule for every name (bounded UTF-8 that a terminal or a log line can show without harm), checked once
 * where the name comes in. Whoever holds a user, room, device, id or event behind that border need not ask again.
 *
 * Pure; any thread. Nothing is allocated; spans given back borrow from the input.
 */
#include "proto/names.h"

#include "proto/utf8.h"

#define MAX_NAME    128
#define MAX_SHORT   64
#define MAX_ADDRESS 512

/* C0 and DEL are single bytes; C1 (U+0080 to U+009F) is C2 and one of 80 to 9F. */
static bool has_control(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t b = s.p[i];
        if (b < 0x20 || b == 0x7F || (b == 0xC2 && i + 1 < s.n && s.p[i + 1] < 0xA0)) {
            return true;
        }
    }
    return false;
}

static bool name_ok(struct span s, size_t max)
{
    return s.n >= 1 && s.n <= max && utf8_valid(s) && !has_control(s);
}

bool name_user_ok(struct span s)
{
    return name_ok(s, MAX_NAME);
}

bool name_room_ok(struct span s)
{
    return name_ok(s, MAX_NAME);
}

bool name_device_ok(struct span s)
{
    return name_ok(s, MAX_SHORT);
}

bool name_id_ok(struct span s)
{
    return name_ok(s, MAX_NAME);
}

bool name_event_ok(struct span s)
{
    return name_ok(s, MAX_SHORT);
}

const char *const relay_channels[RELAY_CHANNELS] = {"wecom", "wechat", "webhook"};

unsigned relay_channel(struct span name)
{
    unsigned i = 0;
    while (i < RELAY_CHANNELS && !span_eq(name, span_str(relay_channels[i])))
        i++;
    return i;
}

bool name_address_ok(struct span s)
{
    return name_ok(s, MAX_ADDRESS);
}

static bool begins(struct span s, struct span with)
{
    return s.n > with.n && memcmp(s.p, with.p, with.n) == 0;
}

bool name_webhook_ok(struct span s)
{
    return name_address_ok(s) && (begins(s, SPAN_LIT("https://")) || begins(s, SPAN_LIT("http://")));
}

/* Where the character at `at` ends: its lead byte and the continuation bytes behind it. */
static size_t char_end(struct span s, size_t at)
{
    at++;
    while (at < s.n && (s.p[at] & 0xC0) == 0x80) {
        at++;
    }
    return at;
}

/* Two positions move forward together; on a mismatch only the last '*' seen is asked to swallow one character more. An
 * earlier one never has to: whatever it could take, the later one can take as well. */
bool glob_match(struct span pattern, struct span s)
{
    size_t p = 0, i = 0;
    size_t star = SIZE_MAX; /* pattern behind the last '*' */
    size_t resume = 0;      /* where in s that star's run ends so far */

    while (i < s.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = ++p;
            resume = i;
        } else if (p < pattern.n && pattern.p[p] == '?') {
            p++;
            i = char_end(s, i);
        } else if (p < pattern.n && pattern.p[p] == s.p[i]) {
            p++;
            i++;
        } else if (star != SIZE_MAX) {
            p = star;
            resume = char_end(s, resume);
            i = resume;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*') {
        p++;
    }
    return p == pattern.n;
}

static bool strip(struct span *s, struct span prefix)
{
    if (s->n < prefix.n || (prefix.n > 0 && memcmp(s->p, prefix.p, prefix.n) != 0)) {
        return false;
    }
    *s = span_of(s->p + prefix.n, s->n - prefix.n);
    return true;
}

bool channel_parse(struct span prefix, struct span channel, enum target_kind *kind, struct span *name)
{
    struct span rest = channel;

    if (!strip(&rest, prefix)) {
        return false;
    }
    if (SPAN_IS(rest, "all")) {
        *kind = TARGET_ALL;
        *name = span_of(rest.p + rest.n, 0);
        return true;
    }
    if (strip(&rest, SPAN_LIT("user:"))) {
        *kind = TARGET_USER;
    } else if (strip(&rest, SPAN_LIT("room:"))) {
        *kind = TARGET_ROOM;
    } else {
        return false;
    }
    *name = rest;
    return name_ok(rest, MAX_NAME);
}
