/*
 * room_rule.c - "PATTERN:LENGTH:TTL". Pure; any thread; nothing is owned.
 */
#include "core/room_rule.h"

#include "core/config_table.h"

enum { MAX_NAME = 128, MAX_TTL_S = 365 * 86400 };

/* What stands behind the last colon goes to `last`, the text is cut before it. False: there is no colon. */
static bool cut_last(struct span *text, char last[VALUE_TEXT_MAX])
{
    const uint8_t *colon = text->n ? memrchr(text->p, ':', text->n) : NULL;
    if (!colon)
        return false;
    size_t at = (size_t)(colon - text->p), n = text->n - at - 1;
    if (n >= VALUE_TEXT_MAX)
        return false;
    memcpy(last, colon + 1, n);
    last[n] = '\0';
    text->n = at;
    return true;
}

bool room_rule_parse(const char *text, struct room_rule *out)
{
    static const struct option length = {.type = OPT_NUMBER, .min = 1, .max = ROOM_HISTORY_MOST};
    static const struct option ttl = {.type = OPT_S, .min = 1, .max = MAX_TTL_S};
    char length_text[VALUE_TEXT_MAX], ttl_text[VALUE_TEXT_MAX], why[120];
    struct span rest = span_str(text);
    uint64_t n = 0, s = 0;
    if (!cut_last(&rest, ttl_text) || !cut_last(&rest, length_text) || rest.n == 0 || rest.n > MAX_NAME ||
        !value_parse(&length, length_text, &n, why, sizeof(why)) || !value_parse(&ttl, ttl_text, &s, why, sizeof(why)))
        return false;
    *out = (struct room_rule){rest, (unsigned)n, (unsigned)s};
    return true;
}
