/*
 * main.c - crierctl, the command line of Crier: a table of commands, each in a cmd_*.c of its own.
 * One thread, blocking sockets: it does one thing and ends.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "cmd/crierctl/ctl.h"
#include "core/buf.h"

static const struct subcommand *const commands[] = {&cmd_push,  &cmd_batch, &cmd_listen, &cmd_nodes,     &cmd_trace,
                                                    &cmd_token, &cmd_ping,  &cmd_health, &cmd_completion};

const struct subcommand *command_at(size_t i)
{
    return i < ARRAY_LEN(commands) ? commands[i] : api_commands[i - ARRAY_LEN(commands)];
}

enum ctl_exit complain(enum ctl_exit code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("crierctl: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}

bool append_escaped(struct buf *out, const char *s)
{
    for (; *s; s++) {
        uint8_t c = (uint8_t)*s;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c);
        if (!(plain ? buf_append_byte(out, c) : buf_printf(out, "%%%02X", c))) {
            return false;
        }
    }
    return true;
}

static void print_help(FILE *to)
{
    fputs("crierctl " CRIER_VERSION ": the command line of Crier, a push broker\n\n"
          "usage: crierctl COMMAND [OPTIONS]\n\n",
          to);
    const struct subcommand *c;
    for (size_t i = 0; (c = command_at(i)) != NULL; i++) {
        fprintf(to, "  %-11s %s\n", c->name, c->summary);
    }
    fputs("\n`crierctl COMMAND --help` (or `crierctl help COMMAND`) lists the options of a command.\n\n"
          "environment: CRIER_URL, CRIER_API_KEY, CRIER_TOKEN stand in for --url, --api-key and --token\n"
          "exit codes:  0 fine, 1 refused by the server, 2 wrong usage, 3 cannot connect (or --no-reconnect and it "
          "ended)\n",
          to);
}

static int run_command(const char *name, int argc, char **argv)
{
    const struct subcommand *c;
    for (size_t i = 0; (c = command_at(i)) != NULL; i++) {
        if (!strcmp(name, c->name)) {
            return (int)c->run(c, argc, argv);
        }
    }
    return (int)complain(CTL_USAGE, "there is no command '%s'; crierctl --help lists them", name);
}

int main(int argc, char **argv)
{
    /* A server that went away is an error of write(), not the end of the process. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);

    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "help") && argc == 3) {
        char help[] = "--help", *asked[] = {help, NULL};
        return run_command(argv[2], 1, asked);
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        print_help(stdout);
        return CTL_OK;
    }
    if (!strcmp(name, "--version")) {
        puts("crierctl " CRIER_VERSION);
        return CTL_OK;
    }
    if (*name) {
        return run_command(name, argc - 2, argv + 2);
    }
    print_help(stderr);
    return CTL_USAGE;
}
