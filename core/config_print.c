/*
 * config_print.c - the configuration and the options as text, from the option table. Main thread.
 */
#include "core/config.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/config_table.h"

enum {
    TEXT_MAX = 1 << 20,
    HELP_INDENT = 30, /* column at which the explanations begin */
    HELP_WIDTH = 100,
};

static const void *field(const struct config *c, const struct option *o)
{
    return (const char *)c + o->offset;
}

/* The bytes as a C string that the caller frees; NULL when something had failed before. */
static char *finish(struct buf *b, bool good)
{
    size_t n;
    if (good && buf_append_byte(b, '\0'))
        return (char *)buf_steal(b, &n);
    buf_fini(b);
    return NULL;
}

static bool dump_text(struct buf *b, const struct option *o, const char *value)
{
    if (!value)
        return buf_printf(b, "# %s =\n", o->name);
    if (!o->hide)
        return buf_printf(b, "%s = %s\n", o->name, value);
    size_t n = strlen(value) + 32;
    char *hidden = malloc(n);
    if (!hidden)
        return false;
    o->hide(value, hidden, n);
    bool good = buf_printf(b, "%s = %s\n", o->name, hidden);
    free(hidden);
    return good;
}

static bool dump_list(struct buf *b, const struct option *o, const struct strlist *l)
{
    if (l->n == 0)
        return o->def ? buf_printf(b, "%s =\n", o->name) : dump_text(b, o, NULL); /* emptied on purpose, or never set */
    bool good = true;
    for (unsigned i = 0; good && i < l->n; i++)
        good = dump_text(b, o, l->v[i]);
    return good;
}

static bool dump_number(struct buf *b, const struct option *o, uint64_t v)
{
    char text[VALUE_TEXT_MAX];
    value_format(o, v, text);
    return buf_printf(b, "%s = %s\n", o->name, text);
}

static bool dump_option(struct buf *b, const struct config *c, const struct option *o)
{
    switch (o->type) {
    case OPT_STRING:
        return dump_text(b, o, *(char *const *)field(c, o));
    case OPT_LIST:
    case OPT_COMMAS:
        return dump_list(b, o, field(c, o));
    case OPT_NUMBER:
    case OPT_SIZE:
    case OPT_MS:
    case OPT_S:
    case OPT_LEVEL:
        return dump_number(b, o, *(const unsigned *)field(c, o));
    case OPT_FLAG:
        return dump_number(b, o, *(const bool *)field(c, o));
    case OPT_FORMAT:
        return dump_number(b, o, *(const enum log_format *)field(c, o));
    case OPT_BATCH:
        return dump_number(b, o, *(const enum batch_sends *)field(c, o));
    case OPT_FILE:
    case OPT_ACTION:
        break;
    }
    return true;
}

char *config_dump(const struct config *c)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    bool good = true;
    for (size_t i = 0; good && i < config_option_count; i++) {
        const struct option *o = &config_options[i];
        if (o->group && option_is_setting(o))
            good = buf_printf(&b, "%s# %s\n", i ? "\n" : "", o->group);
        good = good && dump_option(&b, c, o);
    }
    return finish(&b, good);
}

/* Words of a text, from column HELP_INDENT on, broken before HELP_WIDTH. */
static bool wrapped(struct buf *b, const char *text)
{
    size_t column = HELP_INDENT;
    bool good = true;
    while (good && *text) {
        size_t n = strcspn(text, " ");
        if (column > HELP_INDENT && column + 1 + n > HELP_WIDTH) {
            good = buf_printf(b, "\n%*s", HELP_INDENT, "");
            column = HELP_INDENT;
        } else if (column > HELP_INDENT) {
            good = buf_append_byte(b, ' ');
            column++;
        }
        good = good && buf_append(b, text, n);
        column += n;
        text += n + strspn(text + n, " ");
    }
    return good && buf_append_byte(b, '\n');
}

static bool help_option(struct buf *b, const struct option *o)
{
    size_t start = b->len;
    bool good = buf_printf(b, "  %s--%s%s%s", strcmp(o->name, "help") == 0 ? "-h, " : "", o->name, o->arg ? " " : "",
                           o->arg ? o->arg : "");
    size_t used = b->len - start;
    if (used + 2 > HELP_INDENT)
        good = good && buf_printf(b, "\n%*s", HELP_INDENT, "");
    else
        good = good && buf_printf(b, "%*s", (int)(HELP_INDENT - used), "");
    char text[400];
    bool tell = o->def && o->type != OPT_FLAG;
    (void)snprintf(text, sizeof(text), "%s%s%s%s", o->help, tell ? " [" : "", tell ? o->def : "", tell ? "]" : "");
    return good && wrapped(b, text);
}

char *config_help(void)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    bool good = buf_append_str(
        &b, "crier: a push broker. Clients hold a connection, backends publish.\n\n"
            "usage: crier [--config FILE] [options]\n\n"
            "Every option can also stand in the file (name = value) or in the environment\n"
            "(--ping-interval is CRIER_PING_INTERVAL; lists are separated by spaces). Stronger: file,\n"
            "environment, flags. --name VALUE and --name=VALUE are the same; switches are turned off with\n"
            "--no-name. TIME: 500ms, 25s, 10m, 1h, 7d; SIZE: 4096, 64KiB, 1MiB. Defaults in [brackets].\n");
    for (size_t i = 0; good && i < config_option_count; i++) {
        const struct option *o = &config_options[i];
        if (o->group)
            good = buf_printf(&b, "\n%s:\n", o->group);
        good = good && help_option(&b, o);
    }
    return finish(&b, good);
}
