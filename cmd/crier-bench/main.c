/*
 * main.c - crier-bench: a load generator and its bare floors. Picks the subcommand; see measure.c for what each does.
 */
#include "costs.h"
#include "measure.h"
#include "ports.h"
#include "table.h"

#include <signal.h>
#include <stdio.h>

static const struct {
    const char *name;
    int (*run)(const struct options *o);
    const char *help;
} COMMANDS[] = {
    {"fanout", measure_fanout, "one room (or channel), N subscribers, every message to all of them"},
    {"unicast", measure_unicast, "N users, each message to one of them in turn"},
    {"floor", measure_floor, "the same, or --what, against a bare server: --mode send|joined|uring|beat|tls|alone"},
    {"idle", measure_idle, "N connections held: memory of each"},
    {"heartbeats", measure_heartbeats, "the same, for as long as heartbeats take: CPU of all"},
    {"still", measure_still, "nothing at all: wake-ups and CPU"},
    {"connect", measure_connect, "N connections opened: CPU of each"},
    {"costs", measure_costs, "what stored messages, attaches and acks cost broker and Redis, apart"},
    {"handshake", measure_handshake, "N TLS handshakes (--resume) and no more: CPU of each"},
    {"poll", measure_poll, "N clients that ask in vain, again and again: CPU of a poll"},
    {"churn", measure_churn, "N connections while --total come and go: memory, CPU at both ends"},
    {"cluster", measure_cluster, "N connections over --ports; --messages to all, --total to random users"},
};

static int help(void)
{
    printf("crier-bench COMMAND [options]: prints one line of JSON\n\n");
    for (size_t i = 0; i < ARRAY_LEN(COMMANDS); i++)
        printf("  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].help);
    printf("  %-10s %s\n", "ports N", "prints N free loopback ports");
    printf("  %-10s %s\n\n", "table [--markdown] FILE", "a table, ratios first, of the lines of a file");
    options_help();
    return 0;
}

int main(int argc, char **argv)
{
    struct options o;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL);
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0)
        return help();
    if (strcmp(name, "ports") == 0)
        return ports_main(argc - 2, argv + 2);
    if (strcmp(name, "table") == 0)
        return table_main(argc - 2, argv + 2);
    for (size_t i = 0; i < ARRAY_LEN(COMMANDS); i++)
        if (strcmp(name, COMMANDS[i].name) == 0)
            return options_parse(&o, argc - 2, argv + 2) ? 2 : COMMANDS[i].run(&o);
    fprintf(stderr, "crier-bench: '%s' is no command; see crier-bench --help\n", name);
    return 2;
}
