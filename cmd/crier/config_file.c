/*
 * config_file.c - the configuration file, read by inih.
 *
 * inih's own settings are process-wide: they are set here, once, before there are threads. Lines may be long (secrets),
 * a ';' inside a value is part of it, and reading ends at the first fault, whose line inih returns.
 */
#include "cmd/crier/config_file.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>

#define FILE_LINE_MAX 16384

struct reading {
    struct config *c;
    uint64_t seen; /* list options that this file has set already, by index */
    char why[400];
};

static int find_option(const char *name)
{
    for (int i = 0; config_option_name((size_t)i); i++) {
        if (strcmp(config_option_name((size_t)i), name) == 0)
            return i;
    }
    return -1;
}

/* Sections are for the eye: they mean nothing. */
static int on_value(void *arg, const char *section, const char *name, const char *value)
{
    struct reading *r = arg;
    int i = find_option(name);
    uint64_t bit = i >= 0 && i < 64 ? UINT64_C(1) << i : 0;
    bool fresh = !(r->seen & bit);

    (void)section;
    r->seen |= bit;
    return config_set(r->c, name, value, fresh, r->why, sizeof(r->why));
}

bool config_from_file(struct config *c, const char *path, char *err, size_t errlen)
{
    struct reading r = {.c = c};
    FILE *f = fopen(path, "re");
    int line;

    if (!f) {
        snprintf(err, errlen, "cannot read %s: %s", path, strerror(errno));
        return false;
    }
    ini_use_stack = false;
    ini_allow_realloc = true;
    ini_max_line = FILE_LINE_MAX;
    ini_allow_inline_comments = false;
    ini_allow_multiline = false;
    ini_stop_on_first_error = true;
    line = ini_parse_file(f, on_value, &r);
    fclose(f);
    if (line < 0)
        snprintf(err, errlen, "out of memory reading %s", path);
    else if (line > 0)
        snprintf(err, errlen, "%s line %d: %s", path, line, r.why[0] ? r.why : "this is not \"name = value\"");
    return line == 0;
}
