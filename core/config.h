/*
 * config.h - the options of the broker: one typed table gives the parser, --help, --dump-config and the check that each
 * option is documented (docs/configuration.md, crier.conf.example). After start a config is immutable and shared.
 *
 * Sources, later wins: built-in defaults, --config FILE, environment CRIER_*, flags. A list option given by a stronger
 * source replaces the whole list of the weaker one.
 */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include "core/base.h"

#define CONFIG_MAX_LIST 32

struct strlist {
    unsigned n;
    char *v[CONFIG_MAX_LIST];
};

/* How the output of a turn's connections is sent: many in one system call, by what the kernel allows. */
enum batch_sends { BATCH_AUTO, BATCH_URING, BATCH_AIO, BATCH_OFF };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct config {
    /* listeners: "ADDR:PORT" or "ADDR:PORT,public" (a public one serves no /api, /metrics, /console); port 0 allowed */
    struct strlist listen;
    struct strlist tls_listen;
    struct strlist tcp_listen;     /* "ADDR:PORT": clients without HTTP (docs/protocol.md) */
    struct strlist tcp_tls_listen; /* the same in TLS */
    char *tls_cert;                /* PEM chain */
    char *tls_key;                 /* PEM */

    /* store */
    char *redis;  /* redis://[user:pass@]host:port[/db]; NULL: embedded store */
    char *prefix; /* "crier:" */

    /* node */
    enum batch_sends batch_sends;
    unsigned shards;   /* 0: number of cores; 1-64 */
    char *node;        /* NULL: host name; an incarnation is added at start */
    unsigned drain_ms; /* how long SIGTERM waits for clients to go before it cuts them */

    /* who may do what */
    struct strlist
        jwt_key; /* SPEC: [KID=]HS256:SECRET | [KID=]RS256:PEMFILE | [KID=]ES256:PEMFILE; "@FILE" reads the secret */
    struct strlist api_key; /* the key, or "@FILE" */
    struct strlist origins; /* "https://a.example", "same", wildcards (default: same origin alone) */
    bool dev;
    bool echo;

    /* limits */
    unsigned max_message;     /* bytes of one client message; 64 KiB */
    unsigned max_payload;     /* bytes of `data`; 64 KiB */
    unsigned max_head;        /* bytes of one HTTP request head; 8 KiB */
    unsigned max_rooms;       /* rooms a connection; 128 */
    unsigned max_user_conns;  /* connections a user and node; 16 */
    unsigned max_errors;      /* bad messages a connection may send before it is closed 4004; 5 */
    unsigned rate_messages;   /* messages a second of one connection; 0: any number */
    unsigned rate_bytes;      /* bytes a second of those; 0: any number */
    unsigned rate_subscribes; /* subscribes a second; 0: any number */
    unsigned rate_user;       /* a user's connections together may do what so many may; 4; 0: any number */
    unsigned max_addr_conns;  /* connections an address and node; 0: any number */
    unsigned outq_soft;       /* bytes queued for one connection from which on live messages are dropped; 256 KiB */
    unsigned outq_hard;       /* bytes from which on it is closed 4008; 1 MiB */
    unsigned outq_count;      /* messages queued for one connection, soft limit; 1024 */
    unsigned window;          /* stored messages in flight (written, not acked) a session; 256 */

    /* compression of WebSocket messages (permessage-deflate) */
    bool deflate;
    bool deflate_takeover;  /* contexts kept from message to message where the client allows it */
    unsigned deflate_min;   /* bytes below which a message goes out as it is; 256 */
    unsigned deflate_level; /* zlib's, 1-9; 6 */

    /* times, milliseconds */
    unsigned ping_ms;          /* silence after which a ping goes out; 25 s */
    unsigned idle_ms;          /* nothing received for this long: closed; 60 s */
    unsigned handshake_ms;     /* accept to finished TLS + request head; 10 s */
    unsigned keepalive_ms;     /* idle HTTP keep-alive connection; 60 s */
    unsigned write_ms;         /* a write without progress; 30 s */
    unsigned linger_ms;        /* a room's subscription outlives its last member; 10 s */
    unsigned ack_flush_ms;     /* device cursors are written at most this late; 500 ms */
    unsigned redis_timeout_ms; /* a push is answered 503 after this long; 1 s */

    /* stored messages */
    unsigned ttl_s;           /* default TTL of a message to a user; 7 days */
    unsigned inbox_cap;       /* entries; 1000 */
    unsigned session_s;       /* a named device's cursor is kept; 7 days */
    unsigned guest_session_s; /* a server-named device's; 60 s */
    unsigned ledger_ttl_s;    /* what became of a tracked message is remembered; 1 day */

    /* rooms */
    struct strlist room_history; /* "PATTERN:LENGTH:TTL" (core/room_rule.h); the first that fits a room counts */
    struct strlist presence;     /* globs over the names of rooms that know who is in them */

    /* logs */
    enum log_format log_format;
    unsigned log_level; /* enum log_level */
    bool access_log;    /* one line an HTTP request and connection */
};

/* What the command line asked for beyond a configuration. */
enum config_action { CONFIG_RUN, CONFIG_CHECK, CONFIG_DUMP, CONFIG_ROUTES, CONFIG_HELP, CONFIG_VERSION };

void config_init(struct config *c); /* defaults */
void config_fini(struct config *c);

/* Sets one option by its long name ("listen", "ping-interval"). On failure: false, and one sentence in err that names
 * the option, the value and what would be right. `fresh_list`: a list option starts anew with this value. */
bool config_set(struct config *c, const char *name, const char *value, bool fresh_list, char *err,
                size_t errlen) MUST_CHECK;
/* CRIER_LISTEN=..., CRIER_JWT_KEY=... (lists: separated by spaces). */
bool config_from_env(struct config *c, char *const *envp, char *err, size_t errlen) MUST_CHECK;
/* Flags (--name value, --name=value, --flag, --no-flag). *config_file: the --config value, borrowed from argv (or
 * NULL); the caller reads that file first, so call this twice: pass 1 with c == NULL finds file and action, pass 2
 * sets. */
bool config_from_args(struct config *c, int argc, char **argv, const char **config_file, enum config_action *action,
                      char *err, size_t errlen) MUST_CHECK;
/* What cannot be seen option by option (a key without a certificate, open without --dev, echo without dev...). */
bool config_validate(const struct config *c, char *err, size_t errlen) MUST_CHECK;
/* The whole configuration in the config file's own syntax, secrets shown as "***". New string; caller frees. */
char *config_dump(const struct config *c) MUST_CHECK;
char *config_help(void) MUST_CHECK;
/* Names of all options in turn (for docs checks and shell completion); NULL after the last. */
const char *config_option_name(size_t i);

#endif
