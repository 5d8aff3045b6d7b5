/*
 * utf8.c - UTF-8 validation that can stop and go on at any byte.
 *
 * The idea: of RFC 3629's grammar only the byte behind the lead is special (it is what rules out overlong forms,
 * surrogates and code points past U+10FFFF), so eight states are enough: at a border, one to three plain continuation
 * bytes to go, and four leads with a narrower range for their first continuation. The state is all that is kept between
 * two calls; it names which bytes may come next, so a fault is seen at the very byte that makes it one.
 *
 * Two runs are worth a path of their own: ASCII, sixteen bytes a step, and three-byte characters (Chinese, Japanese,
 * Korean), one character a step. Everything else goes byte by byte through the table.
 *
 * Pure; any thread. Nothing is allocated.
 */
#include "proto/utf8.h"

#include "core/bytes16.h"

enum utf8_state { BORDER, MORE_1, MORE_2, MORE_3, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4, INVALID };

static enum utf8_state lead_state(uint8_t b)
{
    if (b < 0x80) {
        return BORDER;
    }
    if (b < 0xC2) { /* a continuation byte, or C0/C1: two bytes for what fits in one */
        return INVALID;
    }
    if (b < 0xE0) {
        return MORE_1;
    }
    if (b < 0xF0) {
        return b == 0xE0 ? AFTER_E0 : b == 0xED ? AFTER_ED : MORE_2;
    }
    if (b > 0xF4) {
        return INVALID;
    }
    return b == 0xF0 ? AFTER_F0 : b == 0xF4 ? AFTER_F4 : MORE_3;
}

static enum utf8_state next_state(enum utf8_state state, uint8_t b)
{
    static const struct {
        uint8_t lo, hi, next;
    } follow[] = {
        [MORE_1] = {0x80, 0xBF, BORDER},   [MORE_2] = {0x80, 0xBF, MORE_1},   [MORE_3] = {0x80, 0xBF, MORE_2},
        [AFTER_E0] = {0xA0, 0xBF, MORE_1}, [AFTER_ED] = {0x80, 0x9F, MORE_1}, [AFTER_F0] = {0x90, 0xBF, MORE_2},
        [AFTER_F4] = {0x80, 0x8F, MORE_2},
    };

    if (state == BORDER) {
        return lead_state(b);
    }
    return b >= follow[state].lo && b <= follow[state].hi ? (enum utf8_state)follow[state].next : INVALID;
}

static const uint8_t *skip_ascii(const uint8_t *p, const uint8_t *end)
{
    for (; end - p >= 16; p += 16) {
        unsigned at = bytes16_first((bytes16)(bytes16_at(p) >= 0x80));
        if (at < 16) {
            return p + at;
        }
    }
    while (p < end && *p < 0x80) {
        p++;
    }
    return p;
}

/* Whole and valid three-byte characters; stops in front of anything else, valid or not. */
static const uint8_t *skip_three_byte(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 3 && (p[0] & 0xF0) == 0xE0 && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80) {
        unsigned top = (p[0] & 0x0Fu) << 6 | (p[1] & 0x3Fu); /* the code point without its last six bits */
        if (top < 0x800 >> 6 || (top >= 0xD800 >> 6 && top <= 0xDFFF >> 6)) {
            break;
        }
        p += 3;
    }
    return p;
}

bool utf8_feed(struct utf8 *u, struct span s)
{
    const uint8_t *p = s.p;
    const uint8_t *end = s.n ? s.p + s.n : s.p;
    enum utf8_state state = (enum utf8_state)u->state;

    while (p < end && state != INVALID) {
        if (state == BORDER) {
            p = skip_three_byte(skip_ascii(p, end), end);
            if (p == end) {
                break;
            }
        }
        state = next_state(state, *p++);
    }
    u->state = (uint8_t)state;
    return state != INVALID;
}

bool utf8_valid(struct span s)
{
    struct utf8 u;

    utf8_init(&u);
    return utf8_feed(&u, s) && utf8_complete(&u);
}
