/*
 * complete.c - a command's option table as shell code. For bash each option is a case of `prev` that says what its
 * value may be, and a word; for zsh a specification of _arguments. Names and values are the tables' own: no quotes in
 * them.
 */
#include "cmd/crierctl/complete.h"

#include <stdio.h>

static bool has_name(const struct opt *o)
{
    return o->kind != OPT_ARG && o->kind != OPT_ARG_MAYBE;
}

static bool is_file(const struct opt *o)
{
    return o->arg && strstr(o->arg, "FILE") != NULL;
}

/* "json|msgpack" names its values; "JSON|@FILE|-" does not: values are small letters. */
static bool has_values(const struct opt *o)
{
    return o->arg && strchr(o->arg, '|') && strspn(o->arg, "abcdefghijklmnopqrstuvwxyz|") == strlen(o->arg);
}

static void print_values(const char *arg)
{
    for (; *arg; arg++) {
        putchar(*arg == '|' ? ' ' : *arg);
    }
}

/* Appends to `words` (and `files`) what may stand in the place of the option's value. */
static void bash_value(const struct opt *o)
{
    if (has_values(o)) {
        printf("words=\"");
        print_values(o->arg);
        printf("\"");
    } else if (is_file(o)) {
        printf("files=1");
    } else {
        printf(":");
    }
}

static void bash_option(const struct opt *o)
{
    if (!has_name(o)) {
        printf("    [ -z \"$value\" ] && { ");
        if (has_values(o)) {
            printf("words=\"$words ");
            print_values(o->arg);
            printf("\"");
        } else {
            bash_value(o);
        }
        printf("; }\n");
        return;
    }
    if (o->kind != OPT_FLAG) {
        printf("    [ \"$prev\" = --%s ] && { value=1; words=; ", o->name);
        bash_value(o);
        printf("; }\n");
    }
    printf("    [ -z \"$value\" ] && words=\"$words --%s\"\n", o->name);
}

void complete_zsh_text(const char *s)
{
    for (; *s; s++) {
        if (*s == '\'') {
            printf("'\\''");
        } else if (strchr("[]:\\", *s)) {
            printf("\\%c", *s);
        } else {
            putchar(*s);
        }
    }
}

static void zsh_value(const struct opt *o)
{
    putchar(':');
    complete_zsh_text(o->arg);
    if (has_values(o)) {
        printf(":(");
        print_values(o->arg);
        printf(")");
    } else {
        printf(is_file(o) ? ":_files" : ":");
    }
}

static void zsh_option(const struct opt *o)
{
    printf("    '");
    if (has_name(o)) {
        printf("%s--%s[", o->kind == OPT_LIST ? "*" : "", o->name);
        complete_zsh_text(o->help);
        putchar(']');
    }
    if (o->kind == OPT_ARG_MAYBE) {
        putchar(':');
    }
    if (o->arg) {
        zsh_value(o);
    }
    printf("' \\\n");
}

void complete_options(bool zsh, const struct opt *o, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (zsh) {
            zsh_option(&o[i]);
        } else {
            bash_option(&o[i]);
        }
    }
}
