/*
 * ctl.h - what the commands of crierctl share: exit codes, the table of commands, where the server is.
 */
#ifndef CMD_CRIERCTL_CTL_H
#define CMD_CRIERCTL_CTL_H

#include "core/base.h"

/* Documented in `crierctl --help`; scripts rest on them. */
enum ctl_exit { CTL_OK = 0, CTL_REFUSED = 1, CTL_USAGE = 2, CTL_NO_CONNECT = 3 };

/* Where the server is and who is calling; strings are borrowed from argv or the environment. */
struct server {
    const char *url;
    const char *api_key; /* NULL: none */
    const char *token;   /* NULL: none */
    const char *ca;      /* PEM file; NULL: the system's */
    bool insecure;       /* the certificate is not looked at */
    uint64_t timeout_s;
};

struct subcommand {
    const char *name;
    const char *summary;  /* one line */
    const char *about;    /* a few lines for its --help */
    const char *examples; /* a line each; NULL: none */
    enum ctl_exit (*run)(const struct subcommand *self, int argc, char **argv);
};

extern const struct subcommand cmd_push, cmd_batch, cmd_listen, cmd_nodes, cmd_trace, cmd_token, cmd_ping, cmd_health,
    cmd_completion;
/* Those that are one call of the server API (cmd_api.c), up to a NULL. */
extern const struct subcommand *const api_commands[];
/* All of them in turn; NULL after the last. */
const struct subcommand *command_at(size_t i);

/* Prints "crierctl: ..." on standard error and returns `code`. */
enum ctl_exit complain(enum ctl_exit code, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "alice" -> appended percent-encoded; false when memory is out. */
struct buf;
bool append_escaped(struct buf *out, const char *s) MUST_CHECK;

#endif
