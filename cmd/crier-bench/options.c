/*
 * options.c - the command line: one table, from which the parser, the defaults and the help text come. Runs before
 * anything else, in the first process; what it fills is only read afterwards.
 */
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum kind { TEXT, COUNT, SECONDS, FLAG };

struct option_row {
    const char *name;
    enum kind kind;
    size_t at;
    const char *initial;
    const char *help;
};

#define ROW(name, kind, member, initial, help)                                                                         \
    {                                                                                                                  \
        name, kind, offsetof(struct options, member), initial, help                                                    \
    }

static const struct option_row ROWS[] = {
    ROW("url", TEXT, url, NULL, "ws:// or wss:// address of the subscribers; {} stands for the user"),
    ROW("publish", TEXT, publish, NULL, "redis://host:port (with --channel) or http://host:port/path; {}: target"),
    ROW("channel", TEXT, channel, NULL, "Redis channel; {} stands for the target (unicast: the user)"),
    ROW("prefix", TEXT, prefix, "crier:", "cluster: start of its channels, as the brokers have it"),
    ROW("room", TEXT, room, NULL, "room each subscriber joins"),
    ROW("user-prefix", TEXT, user_prefix, "b", "users are PREFIX0, PREFIX1, ..."),
    ROW("protocol", TEXT, protocol, "crier",
        "crier (welcome, subscribe), plain (ready after the upgrade), sse, poll, tls (handshake)"),
    ROW("body", TEXT, body, "auto",
        "raw, envelope {\"data\":..}, live (with ttl 0), call (FCALL crier_user), api; auto"),
    ROW("mode", TEXT, mode, "joined",
        "floor: send (one a message), joined (one a batch), uring (a batch a system call), beat (pings), tls, alone"),
    ROW("what", TEXT, what, "fanout", "floor: fanout, unicast, idle, heartbeats, connect, handshake"),
    ROW("cert", TEXT, cert, NULL, "floor: certificate of its TLS, PEM"),
    ROW("key", TEXT, key, NULL, "floor: its private key, PEM"),
    ROW("ports", TEXT, ports, NULL, "ports that connections go to in turn, comma-separated (else that of --url)"),
    ROW("server-pid", TEXT, server_pid, NULL, "processes whose CPU and memory are measured, comma-separated"),
    ROW("other-pid", TEXT, other_pid, NULL, "processes reported beside them (Redis)"),
    ROW("label", TEXT, label, "", "repeated in the result"),
    ROW("tls", TEXT, tls, NULL, "1.2 or 1.3: this version only"),
    ROW("key-kind", TEXT, key_kind, "", "what key the server has, repeated in the result (P-256)"),
    ROW("subs", COUNT, subs, "1000", "subscribers, or connections"),
    ROW("conns", COUNT, subs, NULL, "the same"),
    ROW("procs", COUNT, procs, "2", "client processes"),
    ROW("rooms", COUNT, rooms, "1",
        "fanout: ROOM0, ROOM1, ...: a message to each in turn, every connection in all of them"),
    ROW("spread", FLAG, spread, NULL, "fanout: every connection in one of the rooms"),
    ROW("size", COUNT, size, "128", "bytes of a payload (at least 48)"),
    ROW("window", COUNT, window, "64", "saturated: messages under way at most (unicast: all users together)"),
    ROW("rate", COUNT, rate, "0", "messages a second; 0 saturates"),
    ROW("burst", COUNT, burst, "1", "at a rate: messages that leave together"),
    ROW("sample", COUNT, sample, "0", "latency of every n-th message; 0: 16 when saturated, else 1"),
    ROW("flight", COUNT, flight, "128", "handshakes under way at once"),
    ROW("count", COUNT, count, "20000", "costs: messages of each kind"),
    ROW("round", COUNT, round, "0", "repeated in the result"),
    ROW("deadline", COUNT, deadline, "120", "seconds for all to be connected"),
    ROW("beat", COUNT, beat, "25", "floor: seconds between two pings of a connection"),
    ROW("server-cpus", COUNT, server_cpus, "0", "floor: its server runs on the first N processors alone; 0: anywhere"),
    ROW("total", COUNT, total, "100000", "churn: connects; cluster: messages to single users"),
    ROW("messages", COUNT, messages, "20", "cluster: messages to everybody"),
    ROW("secs", SECONDS, secs, "3", "measured seconds"),
    ROW("warm", SECONDS, warm, "1", "seconds before them (idle: until memory is read)"),
    ROW("saturate", FLAG, rate, NULL, "publish as fast as the window lets (the default)"),
    ROW("resume", FLAG, resume, NULL, "TLS: resume one session"),
    ROW("human", FLAG, human, NULL, "a line for people, on standard error"),
};

static int set_count(unsigned *out, const char *name, const char *value)
{
    char *end = NULL;
    errno = 0;
    unsigned long v = strtoul(value, &end, 10);
    if (errno || end == value || *end || value[0] == '-' || v > INT_MAX) {
        fprintf(stderr, "crier-bench: --%s wants a whole number, not '%s'\n", name, value);
        return -1;
    }
    *out = (unsigned)v;
    return 0;
}

static int set_seconds(double *out, const char *name, const char *value)
{
    char *end = NULL;
    double v = strtod(value, &end);
    if (end == value || *end || !(v >= 0 && v <= 86400)) {
        fprintf(stderr, "crier-bench: --%s wants seconds, not '%s'\n", name, value);
        return -1;
    }
    *out = v;
    return 0;
}

static int set_row(struct options *o, const struct option_row *row, const char *value)
{
    void *at = (char *)o + row->at;
    switch (row->kind) {
    case TEXT:
        *(const char **)at = value;
        return 0;
    case COUNT:
        return set_count(at, row->name, value);
    case SECONDS:
        return set_seconds(at, row->name, value);
    case FLAG:
        if (row->at == offsetof(struct options, rate))
            *(unsigned *)at = 0;
        else
            *(bool *)at = true;
        return 0;
    }
    return -1;
}

static const struct option_row *find_row(const char *name, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++)
        if (strlen(ROWS[i].name) == n && memcmp(ROWS[i].name, name, n) == 0)
            return &ROWS[i];
    return NULL;
}

static int one_of(const char *name, const char *value, const char *a, const char *b, const char *rest)
{
    if (strcmp(value, a) == 0 || strcmp(value, b) == 0)
        return 0;
    for (const char *p = rest; *p; p += strlen(p) + 1)
        if (strcmp(value, p) == 0)
            return 0;
    fprintf(stderr, "crier-bench: --%s cannot be '%s'\n", name, value);
    return -1;
}

static int check(const struct options *o)
{
    if (one_of("protocol", o->protocol, "crier", "plain", "sse\0poll\0tls\0") ||
        one_of("mode", o->mode, "send", "joined", "uring\0beat\0tls\0alone\0") ||
        one_of("what", o->what, "fanout", "unicast", "idle\0heartbeats\0connect\0handshake\0") ||
        one_of("body", o->body, "auto", "raw", "envelope\0live\0call\0api\0"))
        return -1;
    if (o->tls && one_of("tls", o->tls, "1.2", "1.3", ""))
        return -1;
    if (o->subs == 0 || o->procs == 0 || o->procs > 256 || o->subs < o->procs) {
        fprintf(stderr, "crier-bench: at least one subscriber a process, and at most 256 processes\n");
        return -1;
    }
    if (o->rooms == 0 || o->rooms > 65535 || (o->rooms > 1 && !o->room) || (o->spread && o->subs % o->rooms)) {
        fprintf(stderr, "crier-bench: --rooms wants --room, and with --spread a divisor of --subs\n");
        return -1;
    }
    if (o->size < 48 || o->size > 65536 || o->window == 0 || o->burst == 0 || o->flight == 0) {
        fprintf(stderr, "crier-bench: --size is 48 to 65536; --window, --flight and --burst at least 1\n");
        return -1;
    }
    return 0;
}

int options_parse(struct options *o, int argc, char **argv)
{
    memset(o, 0, sizeof *o);
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++)
        if (ROWS[i].initial && set_row(o, &ROWS[i], ROWS[i].initial))
            return -1;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0) {
            fprintf(stderr, "crier-bench: unexpected '%s'\n", argv[i]);
            return -1;
        }
        const char *name = argv[i] + 2, *eq = strchr(name, '=');
        const struct option_row *row = find_row(name, eq ? (size_t)(eq - name) : strlen(name));
        if (!row || (row->kind == FLAG && eq)) {
            fprintf(stderr, "crier-bench: unknown option '%s'\n", argv[i]);
            return -1;
        }
        const char *value = row->kind == FLAG ? "" : eq ? eq + 1 : ++i < argc ? argv[i] : NULL;
        if (!value) {
            fprintf(stderr, "crier-bench: --%s wants a value\n", row->name);
            return -1;
        }
        if (set_row(o, row, value))
            return -1;
    }
    return check(o);
}

void options_help(void)
{
    printf("options (not all mean something to each subcommand):\n");
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        const struct option_row *r = &ROWS[i];
        printf("  --%-12s %s", r->name, r->help);
        if (r->initial && r->initial[0])
            printf(" [%s]", r->initial);
        printf("\n");
    }
}
