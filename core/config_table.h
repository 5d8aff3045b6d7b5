/*
 * config_table.h - the option table and the reading and writing of its values; private to core/config*.c.
 */
#ifndef CORE_CONFIG_TABLE_H
#define CORE_CONFIG_TABLE_H

#include "core/config.h"

enum option_type {
    OPT_STRING, /* char *; an empty value unsets it */
    OPT_LIST,   /* struct strlist, one value at a time */
    OPT_COMMAS, /* struct strlist, values also separated by commas */
    OPT_NUMBER, /* unsigned */
    OPT_SIZE,   /* unsigned, bytes */
    OPT_MS,     /* unsigned, milliseconds */
    OPT_S,      /* unsigned, seconds */
    OPT_FLAG,   /* bool */
    OPT_FORMAT, /* enum log_format */
    OPT_BATCH,  /* enum batch_sends */
    OPT_LEVEL,  /* unsigned, enum log_level */
    OPT_FILE,   /* --config: on the command line alone */
    OPT_ACTION, /* what to do instead of running: on the command line alone */
};

struct option {
    const char *name;
    enum option_type type;
    size_t offset;     /* in struct config; for OPT_ACTION the enum config_action */
    uint64_t min, max; /* of a number, in the field's unit */
    const char *def;   /* as it would be written; NULL: none */
    const char *arg;   /* what stands for the value in --help; NULL: takes no value */
    const char *help;
    /* What is wrong with a value and what would be right, as the end of a sentence; NULL: it is good. */
    const char *(*wrong)(const char *value);
    /* Writes the value without its secret part; NULL: nothing secret about it. */
    void (*hide)(const char *value, char *out, size_t outlen);
    const char *group; /* heading before this option; NULL: the same as before */
};

extern const struct option config_options[];
extern const size_t config_option_count;

/* NULL when there is no such option. */
const struct option *option_find(struct span name);
/* The option most like a mistyped name; NULL when none is near. */
const char *option_like(struct span name);
/* Options that are a setting, not a thing to do. */
bool option_is_setting(const struct option *o);

enum { VALUE_TEXT_MAX = 32 };

/* A number, size, duration, flag or word. False with the end of a sentence in err: what is wrong and what would do. */
bool value_parse(const struct option *o, const char *text, uint64_t *v, char *err, size_t errlen) MUST_CHECK;
/* The shortest text that value_parse reads back as v. */
void value_format(const struct option *o, uint64_t v, char out[VALUE_TEXT_MAX]);

/* The host of a listener's "ADDR:PORT[,public]", without brackets; empty when malformed. Borrows. */
struct span listener_host(const char *spec);
bool listener_is_loopback(const char *spec);

#endif
