/*
 * opts.h - one typed table a command gives its parser and its --help. --name VALUE, --name=VALUE, --flag, and
 * arguments without a name, in the order of the table.
 */
#ifndef CMD_CRIERCTL_OPTS_H
#define CMD_CRIERCTL_OPTS_H

#include "cmd/crierctl/ctl.h"

enum opt_kind {
    OPT_FLAG,
    OPT_TEXT,
    OPT_NUMBER,
    OPT_LIST,
    OPT_ARG,      /* without a name, needed */
    OPT_ARG_MAYBE /* without a name, may be left out */
};

#define OPT_MAX_LIST 64

/* Values are borrowed from argv. */
struct opt_list {
    unsigned n;
    const char *v[OPT_MAX_LIST];
};

/* A number that was not given. */
#define OPT_UNSET UINT64_MAX

struct opt {
    const char *name;
    enum opt_kind kind;
    const char *arg; /* what its value is called; NULL for a flag. "a|b" are the values there are, FILE names a file */
    const char *help;
    void *dest; /* bool, const char *, uint64_t, struct opt_list */
};

/* "--complete=bash" or "zsh" in the place of options prints what a shell may complete (complete.c), like a --help. */
#define OPTS_COMPLETE "--complete="

/* argv holds the options alone. `server` (NULL: the command needs none) is filled from the environment and the common
 * options. False: the command is over, and *code is its end: help was shown, or what is wrong was said on standard
 * error. */
bool opts_read(const struct subcommand *cmd, const struct opt *own, size_t nown, struct server *server, int argc,
               char **argv, enum ctl_exit *code) MUST_CHECK;

#endif
