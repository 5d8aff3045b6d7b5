/*
 * settings_file.c - the configuration file, read by inih through a reader that sees each line first: a section without
 * a line in it counts (it configures a channel), and inih does not tell of it.
 *
 * A ';' inside a value is part of it, and reading ends at the first fault.
 */
#include "cmd/crier-relay/settings_file.h"

#include <errno.h>
#include <ini.h>
#include <stdlib.h>

enum { FILE_LINE_MAX = 16384, SECRET_MAX_BYTES = 4096 };

struct reading {
    struct settings *s;
    FILE *f;
    bool inside; /* a line whose end has not come yet */
    int line;
    int fault; /* the line of the first fault that the reader saw */
    char why[300];
};

static void see_line(struct reading *r, const char *text)
{
    r->line++;
    if (r->line == 1 && strncmp(text, "\xEF\xBB\xBF", 3) == 0)
        text += 3;
    text += strspn(text, " \t\r\n\v\f");
    if (*text != '[' || r->fault)
        return;
    struct span name = span_of(text + 1, strcspn(text + 1, "]\r\n"));
    if (!settings_section(r->s, name, r->why, sizeof(r->why)))
        r->fault = r->line;
}

/* As fgets; the text ends for inih where there is a fault. */
static char *read_line(char *to, int size, void *arg)
{
    struct reading *r = arg;
    if (r->fault || !fgets(to, size, r->f))
        return NULL;
    if (!r->inside)
        see_line(r, to);
    r->inside = !strchr(to, '\n');
    return r->fault ? NULL : to;
}

static int on_value(void *arg, const char *section, const char *name, const char *value)
{
    struct reading *r = arg;
    return settings_set(r->s, section, name, value, r->why, sizeof(r->why));
}

static bool read_file(struct settings *s, const char *path, char *err, size_t errlen)
{
    struct reading r = {.s = s, .f = fopen(path, "re")};
    if (!r.f) {
        snprintf(err, errlen, "cannot read %s: %s", path, strerror(errno));
        return false;
    }
    ini_use_stack = false;
    ini_allow_realloc = true;
    ini_max_line = FILE_LINE_MAX;
    ini_allow_inline_comments = false;
    ini_allow_multiline = false;
    ini_stop_on_first_error = true;
    int line = ini_parse_stream(read_line, &r, on_value, &r);
    bool broken = ferror(r.f);
    fclose(r.f);
    if (r.fault)
        line = r.fault;
    if (line < 0)
        snprintf(err, errlen, "out of memory reading %s", path);
    else if (line > 0)
        snprintf(err, errlen, "%s:%d: %s", path, line, r.why[0] ? r.why : "this is not \"name = value\"");
    else if (broken)
        snprintf(err, errlen, "cannot read %s", path);
    return line == 0 && !broken;
}

/* The text of a secret's file without the line end behind it; NULL with a sentence in err. */
static char *read_secret(const char *path, char *err, size_t errlen)
{
    FILE *f = fopen(path, "re");
    char *text = calloc(1, SECRET_MAX_BYTES + 2);
    size_t n = f && text ? fread(text, 1, SECRET_MAX_BYTES + 1, f) : 0;
    bool good = f && text && !ferror(f) && n <= SECRET_MAX_BYTES && !memchr(text, '\0', n);
    if (!good)
        snprintf(err, errlen, "cannot read %s: %s", path, f ? "it is no text of at most 4 KiB" : strerror(errno));
    if (f)
        fclose(f);
    while (good && n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        text[--n] = '\0';
    if (!good || n == 0) {
        if (good)
            snprintf(err, errlen, "%s is empty", path);
        settings_wipe(&text);
    }
    return text;
}

static bool read_secrets(struct settings *s, char *err, size_t errlen)
{
    char **field;
    for (size_t i = 0; (field = settings_secret(s, i)) != NULL; i++) {
        if (!*field || (*field)[0] != '@')
            continue;
        char *text = read_secret(*field + 1, err, errlen);
        if (!text)
            return false;
        settings_wipe(field);
        *field = text;
    }
    return true;
}

bool settings_load(struct settings *s, const char *path, char *err, size_t errlen)
{
    char why[400];
    if (!read_file(s, path, err, errlen) || !read_secrets(s, err, errlen))
        return false;
    if (settings_check(s, why, sizeof(why)))
        return true;
    snprintf(err, errlen, "%s: %s", path, why);
    return false;
}
