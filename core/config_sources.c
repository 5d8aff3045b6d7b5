/*
 * config_sources.c - environment and command line, turned into config_set calls. Main thread, before there are others.
 *
 * The first value a source gives a list option replaces what weaker sources gave; the next ones are added.
 */
#include "core/config.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/config_table.h"

/* ---- environment ---- */

enum { ENV_NAME_MAX = 64 };

static void env_name(const struct option *o, char out[ENV_NAME_MAX])
{
    int n = snprintf(out, ENV_NAME_MAX, "CRIER_%s", o->name);
    for (int i = 6; i < n && i < ENV_NAME_MAX; i++)
        out[i] = out[i] == '-' ? '_' : (char)(out[i] >= 'a' && out[i] <= 'z' ? out[i] - 32 : out[i]);
}

static const char *env_value(char *const *envp, const char *name)
{
    size_t n = strlen(name);
    for (; envp && *envp; envp++)
        if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=')
            return *envp + n + 1;
    return NULL;
}

/* Values separated by spaces, each set in turn. */
static bool set_words(struct config *c, const struct option *o, const char *words, char *err, size_t errlen)
{
    bool fresh = true, good = true;
    for (const char *p = words + strspn(words, " "); good && *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        char *word = span_dup(span_of(p, n));
        if (!word) {
            (void)snprintf(err, errlen, "--%s: out of memory", o->name);
            return false;
        }
        good = config_set(c, o->name, word, fresh, err, errlen);
        free(word);
        fresh = false;
        p += n;
    }
    return good;
}

bool config_from_env(struct config *c, char *const *envp, char *err, size_t errlen)
{
    for (size_t i = 0; i < config_option_count; i++) {
        const struct option *o = &config_options[i];
        char name[ENV_NAME_MAX], why[400];
        env_name(o, name);
        const char *value = option_is_setting(o) ? env_value(envp, name) : NULL;
        if (!value || !*value)
            continue;
        bool list = o->type == OPT_LIST || o->type == OPT_COMMAS;
        if (list ? !set_words(c, o, value, why, sizeof(why)) : !config_set(c, o->name, value, true, why, sizeof(why))) {
            (void)snprintf(err, errlen, "environment %s: %s", name, why);
            return false;
        }
    }
    return true;
}

/* ---- command line ---- */

struct args {
    struct config *c; /* NULL: only looking for --config and what to do */
    int argc, at;
    char **argv;
    const char **config_file;
    enum config_action *action;
    uint64_t seen; /* list options that have had a value here, by index */
    char *err;
    size_t errlen;
};

static bool refuse(struct args *a, const char *before, struct span name, const char *after)
{
    (void)snprintf(a->err, a->errlen, "%s--%.*s%s", before, name.n < 40 ? (int)name.n : 40, (const char *)name.p,
                   after);
    return false;
}

static bool unknown(struct args *a, struct span name)
{
    const char *like = option_like(name);
    char after[80];
    (void)snprintf(after, sizeof(after), "%s%s%s", like ? "; did you mean --" : "; --help lists them all",
                   like ? like : "", like ? "?" : "");
    return refuse(a, "there is no option ", name, after);
}

/* The value of an option that takes one: behind "=", or the next argument. */
static const char *take_value(struct args *a, const struct option *o, const char *inlined)
{
    if (inlined)
        return inlined;
    const char *next = a->at + 1 < a->argc ? a->argv[a->at + 1] : NULL;
    if (next && strncmp(next, "--", 2) != 0) {
        a->at++;
        return next;
    }
    char after[80];
    (void)snprintf(after, sizeof(after), " needs a value: --%s %s", o->name, o->arg);
    (void)refuse(a, "", span_str(o->name), after);
    return NULL;
}

static bool apply(struct args *a, const struct option *o, const char *value)
{
    if (!a->c)
        return true;
    uint64_t bit = (uint64_t)1 << (o - config_options);
    bool fresh = !(a->seen & bit);
    a->seen |= bit;
    return config_set(a->c, o->name, value, fresh, a->err, a->errlen);
}

static bool one_flag(struct args *a, struct span name, const char *inlined)
{
    const struct option *o = option_find(name);
    bool no = !o && name.n > 3 && memcmp(name.p, "no-", 3) == 0;
    if (no)
        o = option_find(span_of(name.p + 3, name.n - 3));
    if (!o || (no && o->type != OPT_FLAG))
        return unknown(a, name);
    if (o->type == OPT_ACTION || no) {
        if (inlined)
            return refuse(a, "", name, " takes no value");
        if (o->type == OPT_ACTION)
            *a->action = (enum config_action)o->offset;
        return no ? apply(a, o, "false") : true;
    }
    if (o->type == OPT_FLAG)
        return apply(a, o, inlined ? inlined : "true");
    const char *value = take_value(a, o, inlined);
    if (!value)
        return false;
    if (o->type != OPT_FILE)
        return apply(a, o, value);
    *a->config_file = value;
    return true;
}

static bool one_arg(struct args *a)
{
    const char *arg = a->argv[a->at];
    if (strcmp(arg, "-h") == 0)
        arg = "--help";
    if (strncmp(arg, "--", 2) != 0 || arg[2] == '\0') {
        (void)snprintf(a->err, a->errlen, "unexpected argument \"%.60s\"; options begin with --, --help lists them",
                       arg);
        return false;
    }
    const char *name = arg + 2, *eq = strchr(name, '=');
    return one_flag(a, span_of(name, eq ? (size_t)(eq - name) : strlen(name)), eq ? eq + 1 : NULL);
}

bool config_from_args(struct config *c, int argc, char **argv, const char **config_file, enum config_action *action,
                      char *err, size_t errlen)
{
    assert(config_option_count <= 64); /* bits of args.seen */
    struct args a = {.c = c, .argc = argc, .argv = argv, .config_file = config_file, .action = action};
    a.err = err;
    a.errlen = errlen;
    *config_file = NULL;
    *action = CONFIG_RUN;
    for (a.at = 1; a.at < argc; a.at++)
        if (!one_arg(&a))
            return false;
    /* The strongest source has spoken: now it is known that nobody gave a listener. */
    if (c && c->listen.n + c->tls_listen.n + c->tcp_listen.n + c->tcp_tls_listen.n == 0)
        return config_set(c, "listen", "127.0.0.1:8080", true, err, errlen);
    return true;
}
