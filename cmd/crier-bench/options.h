/*
 * options.h - the command line of crier-bench. One table gives the parser, the help text and the defaults.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "core/base.h"

struct options {
    const char *url;         /* where subscribers connect; "{}" stands for the user's name */
    const char *publish;     /* where the publisher sends: redis://, http://; "{}" stands for the target */
    const char *channel;     /* Redis channel; "{}" stands for the target */
    const char *prefix;      /* cluster: of the channels */
    const char *room;        /* subscribed to after the welcome; NULL: none */
    const char *user_prefix; /* users are called PREFIX0, PREFIX1, ... */
    const char *protocol;    /* crier | plain | sse | poll | tls */
    const char *body;        /* auto | raw | envelope | live | api */
    const char *mode;        /* floor: send | joined | uring | beat | tls | alone */
    const char *what;        /* floor: fanout | unicast | idle | heartbeats | connect | handshake */
    const char *cert, *key;  /* floor: of its TLS */
    const char *ports;       /* comma-separated: connection n goes to the n-th port, in turn */
    const char *server_pid;  /* comma-separated */
    const char *other_pid;   /* comma-separated: a helper of the server, reported beside it (Redis) */
    const char *label;
    const char *tls;      /* 1.2 | 1.3 | NULL: whatever is negotiated */
    const char *key_kind; /* of the server's key, repeated in the result; "" */
    unsigned subs;        /* connections, all processes together */
    unsigned procs;
    unsigned rooms;       /* ROOM0, ROOM1, ... in turn; each connection is in all of them, or in one (spread) */
    unsigned size;        /* bytes of a payload */
    unsigned window;      /* messages not yet received by the slowest process */
    unsigned rate;        /* messages a second; 0: saturate */
    unsigned burst;       /* at a rate: so many leave together, at the moment of the first */
    unsigned sample;      /* latency of every n-th message of a connection; 0: choose */
    unsigned flight;      /* handshakes under way at once, all processes together */
    unsigned count;       /* costs: messages of each kind */
    unsigned round;       /* repeated in the result, for scripts that run several */
    unsigned deadline;    /* seconds for all to be connected */
    unsigned beat;        /* floor: seconds between two pings of a connection */
    unsigned server_cpus; /* floor: its server runs on the first so many processors; 0: anywhere */
    unsigned total;       /* churn: connects; cluster: messages to single users */
    unsigned messages;    /* cluster: messages to everybody */
    double secs, warm;
    bool human, spread;
    bool resume; /* TLS: resume one session */
};

/* Fills `o` with defaults, then from argv (behind the subcommand). 0, or -1 after a sentence on standard error. Strings
 * borrow from argv. */
int options_parse(struct options *o, int argc, char **argv) MUST_CHECK;
void options_help(void);

#endif
