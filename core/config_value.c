/*
 * config_value.c - numbers, sizes, durations, flags and words of the configuration, from and to text. Pure; any thread.
 *
 * A duration is a whole number and a unit, a bare number is seconds; a size is a whole number and a unit, a bare number
 * is bytes. What is printed is what was meant: the largest unit that leaves no rest.
 */
#include "core/config_table.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/log.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first, as value_format tries them; aliases that are only read stand last. */
static const struct unit durations[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000},  {"s", 1000},
                                        {"ms", 1},       {"", 1000},     {"min", 60000}};
static const struct unit sizes[] = {{"GiB", 1u << 30}, {"MiB", 1u << 20}, {"KiB", 1u << 10}, {"", 1},        {"B", 1},
                                    {"G", 1u << 30},   {"M", 1u << 20},   {"K", 1u << 10},   {"k", 1u << 10}};
static const struct unit plain[] = {{"", 1}};
static const struct unit formats[] = {{"auto", LOG_FORMAT_AUTO}, {"text", LOG_FORMAT_TEXT}, {"json", LOG_FORMAT_JSON}};
static const struct unit batches[] = {
    {"auto", BATCH_AUTO}, {"io-uring", BATCH_URING}, {"aio", BATCH_AIO}, {"off", BATCH_OFF}};
static const struct unit levels[] = {
    {"debug", LOG_DEBUG}, {"info", LOG_INFO}, {"warn", LOG_WARN}, {"error", LOG_ERROR}};
static const struct unit flags[] = {{"true", 1}, {"false", 0}, {"yes", 1}, {"no", 0},
                                    {"on", 1},   {"off", 0},   {"1", 1},   {"0", 0}};

/* How values of a type are written. `words`: the value is a name from the table, not a number with a unit. */
struct notation {
    const struct unit *units;
    size_t n;
    bool words;
    uint64_t scale; /* units of the table in one unit of the field */
    const char *like;
};

static struct notation notation_of(enum option_type type)
{
    switch (type) {
    case OPT_SIZE:
        return (struct notation){sizes, ARRAY_LEN(sizes), false, 1, "a size such as 4096, 64KiB or 1MiB"};
    case OPT_MS:
        return (struct notation){durations, ARRAY_LEN(durations), false, 1,
                                 "a duration such as 500ms, 25s, 10m, 1h or 7d"};
    case OPT_S:
        return (struct notation){durations, ARRAY_LEN(durations), false, 1000,
                                 "a duration in whole seconds such as 60s, 1h or 7d"};
    case OPT_FLAG:
        return (struct notation){flags, ARRAY_LEN(flags), true, 1, "true or false"};
    case OPT_FORMAT:
        return (struct notation){formats, ARRAY_LEN(formats), true, 1, "auto, text or json"};
    case OPT_BATCH:
        return (struct notation){batches, ARRAY_LEN(batches), true, 1, "auto, io-uring, aio or off"};
    case OPT_LEVEL:
        return (struct notation){levels, ARRAY_LEN(levels), true, 1, "debug, info, warn or error"};
    case OPT_NUMBER:
    case OPT_STRING:
    case OPT_LIST:
    case OPT_COMMAS:
    case OPT_FILE:
    case OPT_ACTION:
        break;
    }
    return (struct notation){plain, ARRAY_LEN(plain), false, 1, "a whole number"};
}

static bool parse_word(const struct notation *no, const char *text, uint64_t *v)
{
    for (size_t i = 0; i < no->n; i++) {
        if (strcmp(no->units[i].name, text) == 0) {
            *v = no->units[i].factor;
            return true;
        }
    }
    return false;
}

/* Digits, then a unit. Values too large for the field are capped so that the range check names them. */
static bool parse_amount(const struct notation *no, const char *text, uint64_t *v)
{
    const char *p = text;
    uint64_t n = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (uint64_t)(*p - '0');
        if (n > UINT32_MAX)
            n = UINT32_MAX;
    }
    uint64_t factor = 0;
    if (p == text || !parse_word(no, p, &factor) || (n * factor) % no->scale)
        return false;
    *v = n * factor / no->scale;
    return true;
}

bool value_parse(const struct option *o, const char *text, uint64_t *v, char *err, size_t errlen)
{
    struct notation no = notation_of(o->type);
    if (!(no.words ? parse_word(&no, text, v) : parse_amount(&no, text, v))) {
        (void)snprintf(err, errlen, "is not %s", no.like);
        return false;
    }
    if (no.words || (*v >= o->min && *v <= o->max))
        return true;
    char least[VALUE_TEXT_MAX], most[VALUE_TEXT_MAX];
    value_format(o, o->min, least);
    value_format(o, o->max, most);
    (void)snprintf(err, errlen, "is too %s; it may be from %s to %s", *v < o->min ? "small" : "large", least, most);
    return false;
}

void value_format(const struct option *o, uint64_t v, char out[VALUE_TEXT_MAX])
{
    struct notation no = notation_of(o->type);
    uint64_t amount = v * no.scale;
    for (size_t i = 0; i < no.n; i++) {
        const struct unit *u = &no.units[i];
        if (no.words && u->factor == v) {
            (void)snprintf(out, VALUE_TEXT_MAX, "%s", u->name);
            return;
        }
        bool fits = !no.words && amount % u->factor == 0 && (amount > 0 || u->factor == no.scale || no.n == 1);
        if (fits) {
            (void)snprintf(out, VALUE_TEXT_MAX, "%" PRIu64 "%s", amount / u->factor, u->name);
            return;
        }
    }
    (void)snprintf(out, VALUE_TEXT_MAX, "%" PRIu64, v);
}
