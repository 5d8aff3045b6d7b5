/*
 * opts.c - the option parser of opts.h. The common options of a server are one more table, searched behind the
 * command's own.
 */
#include "cmd/crierctl/opts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/crierctl/complete.h"

enum { COMMON_OPTIONS = 6 };

struct tables {
    const struct subcommand *cmd;
    const struct opt *own;
    size_t nown;
    struct opt common[COMMON_OPTIONS];
    size_t ncommon;
};

static void common_options(struct tables *t, struct server *s)
{
    const struct opt table[COMMON_OPTIONS] = {
        {"url", OPT_TEXT, "URL",
         "http(s)://HOST[:PORT], for listen tcp(s)://HOST:PORT too (env CRIER_URL; default http://localhost:8080)",
         &s->url},
        {"api-key", OPT_TEXT, "KEY", "key of the server API (env CRIER_API_KEY); a --dev broker needs none",
         &s->api_key},
        {"token", OPT_TEXT, "JWT", "the client's token (env CRIER_TOKEN); a --dev broker needs none", &s->token},
        {"ca", OPT_TEXT, "FILE", "trust the certificates of this PEM file", &s->ca},
        {"insecure", OPT_FLAG, NULL, "do not verify the server's certificate", &s->insecure},
        {"timeout", OPT_NUMBER, "SECONDS", "give up connecting and waiting for an answer after this (10)",
         &s->timeout_s},
    };
    memcpy(t->common, table, sizeof(table));
    t->ncommon = COMMON_OPTIONS;
}

static const char *env_or(const char *name, const char *otherwise)
{
    const char *v = getenv(name);
    return v && *v ? v : otherwise;
}

static bool has_name(const struct opt *o)
{
    return o->kind != OPT_ARG && o->kind != OPT_ARG_MAYBE;
}

static void print_options(const struct opt *o, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char left[48];
        if (has_name(&o[i])) {
            snprintf(left, sizeof(left), "--%s%s%s", o[i].name, o[i].arg ? " " : "", o[i].arg ? o[i].arg : "");
        } else {
            snprintf(left, sizeof(left), "%s", o[i].arg);
        }
        printf("  %-25s  %s\n", left, o[i].help);
    }
}

static void print_examples(const char *lines)
{
    printf("\nexamples:\n");
    while (*lines) {
        int n = (int)strcspn(lines, "\n");
        printf("  %.*s\n", n, lines);
        lines += n + (lines[n] == '\n');
    }
}

static void print_help(const struct tables *t)
{
    printf("crierctl %s: %s\n\n%s\n\noptions:\n", t->cmd->name, t->cmd->summary, t->cmd->about);
    print_options(t->own, t->nown);
    print_options(t->common, t->ncommon);
    if (t->cmd->examples) {
        print_examples(t->cmd->examples);
    }
    printf("\nexit codes: 0 fine, 1 refused by the server, 2 wrong usage, 3 cannot connect\n");
}

static const struct opt *find(const struct tables *t, const char *name, size_t n)
{
    for (size_t i = 0; i < t->nown + t->ncommon; i++) {
        const struct opt *o = i < t->nown ? &t->own[i] : &t->common[i - t->nown];
        if (has_name(o) && strlen(o->name) == n && !memcmp(o->name, name, n)) {
            return o;
        }
    }
    return NULL;
}

static bool set_number(const struct opt *o, const char *value)
{
    char *end;
    errno = 0;
    unsigned long long u = strtoull(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || errno || u >> 53) {
        complain(CTL_USAGE, "--%s wants a whole number, not '%s'", o->name, value);
        return false;
    }
    *(uint64_t *)o->dest = u;
    return true;
}

static bool set_list(const struct opt *o, const char *value)
{
    struct opt_list *l = o->dest;
    if (l->n == OPT_MAX_LIST) {
        complain(CTL_USAGE, "--%s was given more than %d times", o->name, OPT_MAX_LIST);
        return false;
    }
    l->v[l->n++] = value;
    return true;
}

static bool set_option(const struct opt *o, const char *value)
{
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)o->dest = true;
        return true;
    case OPT_TEXT:
    case OPT_ARG:
    case OPT_ARG_MAYBE:
        *(const char **)o->dest = value;
        return true;
    case OPT_NUMBER:
        return set_number(o, value);
    case OPT_LIST:
        return set_list(o, value);
    }
    return false;
}

/* A list option takes what follows it up to the next option: --rooms a b c. */
static bool take_list(const struct opt *o, int argc, char **argv, int *i)
{
    while (*i + 1 < argc && strncmp(argv[*i + 1], "--", 2) != 0) {
        if (!set_list(o, argv[++*i])) {
            return false;
        }
    }
    return true;
}

static bool take_option(const struct tables *t, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2;
    size_t n = strcspn(name, "=");
    const struct opt *o = find(t, name, n);
    if (!o) {
        complain(CTL_USAGE, "%s has no option --%.*s; crierctl %s --help lists them", t->cmd->name, (int)n, name,
                 t->cmd->name);
        return false;
    }
    if (o->kind == OPT_FLAG) {
        if (name[n]) {
            complain(CTL_USAGE, "--%s takes no value", o->name);
            return false;
        }
        return set_option(o, NULL);
    }
    if (name[n]) {
        return set_option(o, name + n + 1);
    }
    if (*i + 1 >= argc) {
        complain(CTL_USAGE, "--%s wants a value: %s", o->name, o->arg);
        return false;
    }
    return set_option(o, argv[++*i]) && (o->kind != OPT_LIST || take_list(o, argc, argv, i));
}

/* The next argument without a name. */
static bool take_argument(const struct tables *t, const char *value)
{
    for (size_t i = 0; i < t->nown; i++) {
        const struct opt *o = &t->own[i];
        if (!has_name(o) && !*(const char **)o->dest) {
            return set_option(o, value);
        }
    }
    complain(CTL_USAGE, "'%s' is no option of %s; crierctl %s --help lists them", value, t->cmd->name, t->cmd->name);
    return false;
}

static bool take_all(const struct tables *t, int argc, char **argv)
{
    bool named = true; /* "--" ends that */
    for (int i = 0; i < argc; i++) {
        if (named && !strcmp(argv[i], "--")) {
            named = false;
        } else if (!(named && !strncmp(argv[i], "--", 2) ? take_option(t, argc, argv, &i)
                                                         : take_argument(t, argv[i]))) {
            return false;
        }
    }
    for (size_t i = 0; i < t->nown; i++) {
        const struct opt *o = &t->own[i];
        if (o->kind == OPT_ARG && !*(const char **)o->dest) {
            complain(CTL_USAGE, "%s wants %s, %s; crierctl %s --help shows examples", t->cmd->name, o->arg, o->help,
                     t->cmd->name);
            return false;
        }
    }
    return true;
}

/* True: it was a question about the command itself, and is answered. */
static bool answer_help(const struct tables *t, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help(t);
            return true;
        }
    }
    if (argc == 1 && !strncmp(argv[0], OPTS_COMPLETE, sizeof(OPTS_COMPLETE) - 1)) {
        bool zsh = !strcmp(argv[0] + sizeof(OPTS_COMPLETE) - 1, "zsh");
        complete_options(zsh, t->own, t->nown);
        complete_options(zsh, t->common, t->ncommon);
        return true;
    }
    return false;
}

bool opts_read(const struct subcommand *cmd, const struct opt *own, size_t nown, struct server *server, int argc,
               char **argv, enum ctl_exit *code)
{
    struct tables t = {.cmd = cmd, .own = own, .nown = nown};
    if (server) {
        *server = (struct server){.url = env_or("CRIER_URL", "http://localhost:8080"),
                                  .api_key = env_or("CRIER_API_KEY", NULL),
                                  .token = env_or("CRIER_TOKEN", NULL),
                                  .timeout_s = 10};
        common_options(&t, server);
    }
    if (answer_help(&t, argc, argv)) {
        *code = CTL_OK;
        return false;
    }
    *code = CTL_USAGE;
    if (!take_all(&t, argc, argv)) {
        return false;
    }
    if (server && (server->timeout_s == 0 || server->timeout_s > 3600)) {
        complain(CTL_USAGE, "--timeout wants 1 to 3600 seconds");
        return false;
    }
    return true;
}
