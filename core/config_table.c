/*
 * config_table.c - the options, one row each, and what makes a text value a good one. Constant data and pure functions.
 *
 * Everything a person meets comes from this table: the parser, --help, --dump-config and the check that each option is
 * documented. A row's `wrong` looks at form alone (a file is opened by whoever needs it); what options mean to one
 * another is in config_validate.
 */
#include "core/config_table.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "core/room_rule.h"

#define SHOWN_AS "***"

/* ---- forms of text values ---- */

static bool all_of(struct span s, const char *extra)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = (char)s.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == '\0' || !strchr(extra, c)))
            return false;
    }
    return true;
}

static bool port_good(struct span s)
{
    unsigned port = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || i == 5)
            return false;
        port = port * 10 + (s.p[i] - '0');
    }
    return s.n > 0 && port <= 65535;
}

static bool is_address(int family, struct span host)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[sizeof(struct in6_addr)];
    if (host.n >= sizeof(text))
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    return inet_pton(family, text, bytes) == 1;
}

/* "HOST:PORT" or "[IPV6]:PORT"; the host without brackets, empty when malformed. */
static struct span host_of(struct span s)
{
    const uint8_t *colon = s.n ? memrchr(s.p, ':', s.n) : NULL;
    if (!colon)
        return (struct span){0};
    size_t n = (size_t)(colon - s.p);
    if (!port_good(span_of(colon + 1, s.n - n - 1)))
        return (struct span){0};
    if (n > 2 && s.p[0] == '[' && s.p[n - 1] == ']') {
        struct span v6 = span_of(s.p + 1, n - 2);
        return is_address(AF_INET6, v6) ? v6 : (struct span){0};
    }
    struct span host = span_of(s.p, n);
    bool digits = true; /* what looks like an address must be one */
    for (size_t i = 0; i < n; i++)
        digits = digits && (s.p[i] == '.' || (s.p[i] >= '0' && s.p[i] <= '9'));
    bool good = n > 0 && n < 254 && all_of(host, ".-") && (!digits || is_address(AF_INET, host));
    return good ? host : (struct span){0};
}

struct span listener_host(const char *spec)
{
    static const char mark[] = ",public";
    struct span s = span_str(spec);
    size_t m = sizeof(mark) - 1;
    if (s.n > m && memcmp(s.p + s.n - m, mark, m) == 0)
        s.n -= m;
    return host_of(s);
}

bool listener_is_loopback(const char *spec)
{
    struct span host = listener_host(spec);
    if (SPAN_IS(host, "localhost") || SPAN_IS(host, "::1"))
        return true;
    return host.n > 4 && memcmp(host.p, "127.", 4) == 0 && is_address(AF_INET, host);
}

static const char *wrong_listener(const char *v)
{
    return listener_host(v).n ? NULL
                              : "is not ADDR:PORT or ADDR:PORT,public, such as 0.0.0.0:8080, [::1]:8443 or localhost:0";
}

/* host[:port][/db] */
static bool redis_place_good(const char *place)
{
    size_t n = strcspn(place, "/");
    struct span host = span_of(place, n);
    const char *db = place[n] ? place + n + 1 : "";
    bool bare = !memchr(place, ':', n) && n > 0 && all_of(host, ".-"); /* the port may be left out */
    return (bare || host_of(host).n) && strlen(db) < 6 && strspn(db, "0123456789") == strlen(db);
}

static const char *wrong_redis(const char *v)
{
    bool tcp = strncmp(v, "redis://", 8) == 0, local = strncmp(v, "unix://", 7) == 0;
    const char *rest = v + (tcp ? 8 : 7), *at = tcp || local ? strrchr(rest, '@') : NULL;
    const char *place = at ? at + 1 : rest;
    if (!(tcp && redis_place_good(place)) && !(local && *place == '/' && place[1]))
        return "is not redis://[user:pass@]host[:port][/db], such as redis://127.0.0.1:6379, or unix:///path/of/socket";
    if (at && strstr(rest, SHOWN_AS "@"))
        return "is what --dump-config shows in place of a secret; write the password itself";
    return NULL;
}

static const char *wrong_prefix(const char *v)
{
    struct span s = span_str(v);
    return s.n && s.n <= 64 && all_of(s, ":._-/") ? NULL : "is not 1 to 64 letters, digits or any of : . _ - /";
}

static const char *wrong_node(const char *v)
{
    struct span s = span_str(v);
    return s.n && s.n <= 64 && all_of(s, "._-") ? NULL : "is not 1 to 64 letters, digits or any of . _ -";
}

/* The part of a jwt-key behind "[KID=]ALG:", or NULL; *pem: it names a file. */
static const char *jwt_secret(const char *v, bool *pem)
{
    const char *colon = strchr(v, ':'), *eq = colon ? memchr(v, '=', (size_t)(colon - v)) : NULL;
    if (!colon || eq == v)
        return NULL;
    struct span alg = span_of(eq ? eq + 1 : v, (size_t)(colon - (eq ? eq + 1 : v)));
    *pem = !SPAN_IS(alg, "HS256");
    return !*pem || SPAN_IS(alg, "RS256") || SPAN_IS(alg, "ES256") ? colon + 1 : NULL;
}

static const char *wrong_jwt_key(const char *v)
{
    bool pem;
    const char *secret = jwt_secret(v, &pem);
    if (!secret || !*secret)
        return "is not [KID=]HS256:SECRET, [KID=]HS256:@FILE, [KID=]RS256:PEMFILE or [KID=]ES256:PEMFILE";
    return strcmp(secret, SHOWN_AS) ? NULL : "is what --dump-config shows in place of a secret; write the key itself";
}

static const char *wrong_api_key(const char *v)
{
    if (!*v || strcmp(v, "@") == 0)
        return "is empty; write the key, or @FILE to read it from a file";
    for (const char *p = v; *p; p++)
        if (*v != '@' && (*p <= 0x20 || *p > 0x7e))
            return "cannot be sent in an HTTP header; use printable ASCII without spaces";
    return strcmp(v, SHOWN_AS) ? NULL : "is what --dump-config shows in place of a secret; write the key itself";
}

static const char *wrong_origin(const char *v)
{
    if (strcmp(v, "same") == 0 || strcmp(v, "*") == 0 || strcmp(v, "null") == 0)
        return NULL;
    const char *sep = strstr(v, "://");
    bool good = sep && sep > v && all_of(span_of(v, (size_t)(sep - v)), "+.-*") && sep[3] &&
                all_of(span_str(sep + 3), ".:-_*[]?");
    return good ? NULL : "is not an origin such as https://app.example, https://*.example:8443, same, null or *";
}

static const char *wrong_path(const char *v)
{
    return *v ? NULL : "is empty; write the name of a file";
}

static const char *wrong_room_history(const char *v)
{
    struct room_rule rule;
    return room_rule_parse(v, &rule) ? NULL
                                     : "is not PATTERN:LENGTH:TTL with a length from 1 to 10000 and a time from 1s to "
                                       "365d, such as chat.*:200:1d";
}

static const char *wrong_presence(const char *v)
{
    size_t n = strlen(v);
    return n >= 1 && n <= 128 ? NULL : "is not a pattern of 1 to 128 bytes, such as lobby or chat.*";
}

/* ---- what is shown in place of secrets ---- */

static void hide_redis(const char *v, char *out, size_t outlen)
{
    const char *rest = strstr(v, "://"), *at = strrchr(v, '@');
    if (!rest || !at) {
        (void)snprintf(out, outlen, "%s", v);
        return;
    }
    rest += 3;
    const char *colon = memchr(rest, ':', (size_t)(at - rest));
    (void)snprintf(out, outlen, "%.*s:" SHOWN_AS "%s", (int)((colon ? colon : rest) - v), v, at);
}

static void hide_jwt_key(const char *v, char *out, size_t outlen)
{
    bool pem = false;
    const char *secret = jwt_secret(v, &pem);
    int n = secret ? (int)(secret - v) : 0;
    bool shown = secret && (pem || *secret == '@');
    (void)snprintf(out, outlen, "%.*s%s", n, v, shown ? secret : SHOWN_AS);
}

static void hide_api_key(const char *v, char *out, size_t outlen)
{
    (void)snprintf(out, outlen, "%s", *v == '@' ? v : SHOWN_AS);
}

/* ---- the table ---- */

#define AT(field) offsetof(struct config, field)
#define KIB       1024u
#define MIB       (1024u * KIB)
#define SEC       1000u
#define MIN       (60u * SEC)
#define HOUR      (60u * MIN)
#define DAY_S     86400u

/* clang-format off */
const struct option config_options[] = {
    {"listen", OPT_LIST, AT(listen), 0, 0, NULL, "ADDR:PORT",
     "Plain listener (repeatable; port 0: any free one; ,public behind it: serves no /api, /metrics, /console). "
     "127.0.0.1:8080 when no listener is given.", wrong_listener, NULL, "Listeners"},
    {"tls-listen", OPT_LIST, AT(tls_listen), 0, 0, NULL, "ADDR:PORT",
     "TLS listener (repeatable); needs --tls-cert and --tls-key.", wrong_listener, NULL, NULL},
    {"tcp-listen", OPT_LIST, AT(tcp_listen), 0, 0, NULL, "ADDR:PORT",
     "Listener for clients without HTTP: JSON lines or msgpack frames (repeatable).", wrong_listener, NULL, NULL},
    {"tcp-tls-listen", OPT_LIST, AT(tcp_tls_listen), 0, 0, NULL, "ADDR:PORT",
     "The same in TLS (repeatable).", wrong_listener, NULL, NULL},
    {"tls-cert", OPT_STRING, AT(tls_cert), 0, 0, NULL, "FILE",
     "Certificate chain, PEM. It and the key are read again at SIGHUP.", wrong_path, NULL, NULL},
    {"tls-key", OPT_STRING, AT(tls_key), 0, 0, NULL, "FILE",
     "Its private key, PEM.", wrong_path, NULL, NULL},

    {"redis", OPT_STRING, AT(redis), 0, 0, NULL, "URL",
     "redis://[user:pass@]host[:port][/db] or unix:///SOCKET: the store and the backplane of a cluster. Without it: "
     "embedded, one node.",
     wrong_redis, hide_redis, "Store"},
    {"prefix", OPT_STRING, AT(prefix), 0, 0, "crier:", "TEXT",
     "Start of all Redis keys and channels. Two clusters on one Redis need two.", wrong_prefix, NULL, NULL},
    {"redis-timeout", OPT_MS, AT(redis_timeout_ms), 10, 10 * MIN, "1s", "TIME",
     "A push that the store has not taken after this long is answered 503.", NULL, NULL, NULL},

    {"shards", OPT_NUMBER, AT(shards), 0, 64, "0", "N",
     "I/O threads; 0: one for each core.", NULL, NULL, "Node"},
    {"batch-sends", OPT_BATCH, AT(batch_sends), 0, 0, "auto", "HOW",
     "How the output of many connections is sent in one system call: io-uring, aio, off; auto: by the first of them that "
     "the kernel allows.", NULL, NULL, NULL},
    {"node", OPT_STRING, AT(node), 0, 0, NULL, "NAME",
     "This node's name in the cluster; the host's name when left out.", wrong_node, NULL, NULL},
    {"drain-timeout", OPT_MS, AT(drain_ms), 0, 10 * MIN, "10s", "TIME",
     "How long a stop waits for clients to leave before it cuts them.", NULL, NULL, NULL},

    {"jwt-key", OPT_LIST, AT(jwt_key), 0, 0, NULL, "SPEC",
     "Key for clients' tokens (repeatable): [KID=]HS256:SECRET, [KID=]RS256:PEMFILE or [KID=]ES256:PEMFILE; @FILE reads "
     "a secret from a file.", wrong_jwt_key, hide_jwt_key, "Who may do what"},
    {"api-key", OPT_LIST, AT(api_key), 0, 0, NULL, "SPEC",
     "Key of the server API (repeatable): the key, or @FILE.", wrong_api_key, hide_api_key, NULL},
    {"origins", OPT_COMMAS, AT(origins), 0, 0, "same", "LIST",
     "Origins of the web pages that may connect, separated by commas (repeatable): https://app.example, "
     "https://*.example, same.", wrong_origin, NULL, NULL},
    {"dev", OPT_FLAG, AT(dev), 0, 1, "false", NULL,
     "For trying out, on loopback alone: ?user=NAME without a token, the server API without a key.", NULL, NULL, NULL},
    {"echo", OPT_FLAG, AT(echo), 0, 1, "false", NULL,
     "Adds /echo for conformance suites; only with --dev.", NULL, NULL, NULL},

    {"max-message", OPT_SIZE, AT(max_message), 1 * KIB, 16 * MIB, "64KiB", "SIZE",
     "Longest message from a client.", NULL, NULL, "Limits"},
    {"max-payload", OPT_SIZE, AT(max_payload), 1, 16 * MIB, "64KiB", "SIZE",
     "Longest data of a message.", NULL, NULL, NULL},
    {"max-head", OPT_SIZE, AT(max_head), 1 * KIB, 1 * MIB, "8KiB", "SIZE",
     "Longest head of an HTTP request.", NULL, NULL, NULL},
    {"max-rooms", OPT_NUMBER, AT(max_rooms), 1, 100000, "128", "N",
     "Rooms a connection may be in.", NULL, NULL, NULL},
    {"max-user-conns", OPT_NUMBER, AT(max_user_conns), 1, 100000, "16", "N",
     "Connections a user may have on one node.", NULL, NULL, NULL},
    {"max-errors", OPT_NUMBER, AT(max_errors), 1, 1000000, "5", "N",
     "Bad messages a connection may send before it is closed (4004).", NULL, NULL, NULL},
    {"max-addr-conns", OPT_NUMBER, AT(max_addr_conns), 0, 1000000, "0", "N",
     "Connections an address may have on one node (IPv6: a /64); 0: any number, as behind a proxy.", NULL, NULL, NULL},
    {"rate-messages", OPT_NUMBER, AT(rate_messages), 0, 1000000, "0", "N",
     "Messages a second a client may send over one connection; twice as many at once; 0: any number.", NULL, NULL,
     NULL},
    {"rate-bytes", OPT_SIZE, AT(rate_bytes), 0, 1024 * MIB, "0", "SIZE",
     "The same for the bytes of those messages.", NULL, NULL, NULL},
    {"rate-subscribes", OPT_NUMBER, AT(rate_subscribes), 0, 1000000, "0", "N",
     "The same for subscribes; as many as max-rooms at once.", NULL, NULL, NULL},
    {"rate-user", OPT_NUMBER, AT(rate_user), 0, 1000, "4", "N",
     "All connections of a user together may do as much as this many; 0: any number.", NULL, NULL, NULL},
    {"outq-soft", OPT_SIZE, AT(outq_soft), 1 * KIB, 1024 * MIB, "256KiB", "SIZE",
     "Bytes waiting for one connection from which on live messages are dropped.", NULL, NULL, NULL},
    {"outq-hard", OPT_SIZE, AT(outq_hard), 1 * KIB, 1024 * MIB, "1MiB", "SIZE",
     "Bytes waiting for one connection from which on it is closed (4008).", NULL, NULL, NULL},
    {"outq-count", OPT_NUMBER, AT(outq_count), 1, 1000000, "1024", "N",
     "Messages waiting for one connection from which on live messages are dropped.", NULL, NULL, NULL},
    {"window", OPT_NUMBER, AT(window), 1, 100000, "256", "N",
     "Stored messages a session may have in flight, sent but not acknowledged.", NULL, NULL, NULL},

    {"deflate", OPT_FLAG, AT(deflate), 0, 1, "true", NULL,
     "Compresses WebSocket messages (permessage-deflate) for clients that offer it.", NULL, NULL, "Compression"},
    {"deflate-takeover", OPT_FLAG, AT(deflate_takeover), 0, 1, "false", NULL,
     "Keeps a compression context for each connection that allows it: smaller messages, much more memory and work.",
     NULL, NULL, NULL},
    {"deflate-min", OPT_SIZE, AT(deflate_min), 1, 16 * MIB, "256", "SIZE",
     "Shortest message that is compressed.", NULL, NULL, NULL},
    {"deflate-level", OPT_NUMBER, AT(deflate_level), 1, 9, "6", "N",
     "1 is fastest, 9 smallest.", NULL, NULL, NULL},

    {"ping-interval", OPT_MS, AT(ping_ms), 100, 1 * HOUR, "25s", "TIME",
     "Silence after which a ping goes out.", NULL, NULL, "Times"},
    {"idle-timeout", OPT_MS, AT(idle_ms), 200, 24 * HOUR, "60s", "TIME",
     "A client from which nothing came for this long is closed.", NULL, NULL, NULL},
    {"handshake-timeout", OPT_MS, AT(handshake_ms), 100, 10 * MIN, "10s", "TIME",
     "From accept to the end of the TLS handshake and the request's head.", NULL, NULL, NULL},
    {"keepalive-timeout", OPT_MS, AT(keepalive_ms), 100, 1 * HOUR, "60s", "TIME",
     "An HTTP connection with no request for this long is closed.", NULL, NULL, NULL},
    {"write-timeout", OPT_MS, AT(write_ms), 100, 1 * HOUR, "30s", "TIME",
     "A connection that takes nothing of what waits for it for this long is closed.", NULL, NULL, NULL},
    {"room-linger", OPT_MS, AT(linger_ms), 0, 1 * HOUR, "10s", "TIME",
     "A room's subscription outlives its last member by this.", NULL, NULL, NULL},
    {"ack-flush", OPT_MS, AT(ack_flush_ms), 10, 1 * MIN, "500ms", "TIME",
     "Acknowledgements are written to the store at most this late.", NULL, NULL, NULL},

    {"ttl", OPT_S, AT(ttl_s), 1, 365 * DAY_S, "7d", "TIME",
     "How long a message to a user is kept when it does not say itself.", NULL, NULL, "Stored messages"},
    {"inbox-cap", OPT_NUMBER, AT(inbox_cap), 1, 100000, "1000", "N",
     "Messages an inbox holds; past it the oldest goes and the client is told.", NULL, NULL, NULL},
    {"session", OPT_S, AT(session_s), 1, 365 * DAY_S, "7d", "TIME",
     "How long the place of a device that named itself is kept after it left.", NULL, NULL, NULL},
    {"guest-session", OPT_S, AT(guest_session_s), 1, 365 * DAY_S, "60s", "TIME",
     "The same for a device that the server named.", NULL, NULL, NULL},
    {"ledger-ttl", OPT_S, AT(ledger_ttl_s), 1, 365 * DAY_S, "1d", "TIME",
     "How long what became of a tracked message is remembered, from its last attempt on.", NULL, NULL, NULL},

    {"room-history", OPT_LIST, AT(room_history), 0, 0, NULL, "PATTERN:LENGTH:TTL",
     "Rooms whose messages are kept (repeatable; the first that fits counts): a glob over room names, how many "
     "messages, for how long, such as chat.*:200:1d. Needed on every node alike.", wrong_room_history, NULL, "Rooms"},
    {"presence", OPT_LIST, AT(presence), 0, 0, NULL, "PATTERN",
     "Rooms that know who is in them (repeatable): a glob over room names. Needed on every node alike.",
     wrong_presence, NULL, NULL},

    {"log", OPT_FORMAT, AT(log_format), 0, 0, "auto", "FORMAT",
     "text, json, or auto: text on a terminal, else json.", NULL, NULL, "Logs"},
    {"log-level", OPT_LEVEL, AT(log_level), 0, 0, "info", "LEVEL",
     "debug, info, warn or error.", NULL, NULL, NULL},
    {"access-log", OPT_FLAG, AT(access_log), 0, 1, "false", NULL,
     "One line for each HTTP request and each connection.", NULL, NULL, NULL},

    {"config", OPT_FILE, 0, 0, 0, NULL, "FILE",
     "Reads options from a file: lines NAME = VALUE without the dashes, # starts a comment.", NULL, NULL, "Start"},
    {"check", OPT_ACTION, CONFIG_CHECK, 0, 0, NULL, NULL,
     "Checks the configuration and ends.", NULL, NULL, NULL},
    {"dump-config", OPT_ACTION, CONFIG_DUMP, 0, 0, NULL, NULL,
     "Prints the whole configuration as a file, secrets hidden, and ends.", NULL, NULL, NULL},
    {"routes", OPT_ACTION, CONFIG_ROUTES, 0, 0, NULL, NULL,
     "Prints the methods and paths that the broker serves, and ends.", NULL, NULL, NULL},
    {"help", OPT_ACTION, CONFIG_HELP, 0, 0, NULL, NULL,
     "Prints this and ends.", NULL, NULL, NULL},
    {"version", OPT_ACTION, CONFIG_VERSION, 0, 0, NULL, NULL,
     "Prints the version and ends.", NULL, NULL, NULL},
};
/* clang-format on */
const size_t config_option_count = ARRAY_LEN(config_options);

/* ---- finding ---- */

const struct option *option_find(struct span name)
{
    for (size_t i = 0; i < config_option_count; i++)
        if (span_eq(span_str(config_options[i].name), name))
            return &config_options[i];
    return NULL;
}

bool option_is_setting(const struct option *o)
{
    return o->type != OPT_FILE && o->type != OPT_ACTION;
}

const char *config_option_name(size_t i)
{
    return i < config_option_count ? config_options[i].name : NULL;
}

enum { NAME_MAX_LEN = 32 };

/* How many letters must change to make a from b (Levenshtein), row by row. Both shorter than NAME_MAX_LEN. */
static size_t distance(struct span a, struct span b)
{
    size_t row[NAME_MAX_LEN];
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t change = corner + (a.p[i - 1] != b.p[j - 1]);
            corner = row[j];
            size_t gap = (row[j - 1] < row[j] ? row[j - 1] : row[j]) + 1;
            row[j] = gap < change ? gap : change;
        }
    }
    return row[b.n];
}

const char *option_like(struct span name)
{
    if (name.n < 2 || name.n >= NAME_MAX_LEN)
        return NULL;
    const char *best = NULL;
    size_t nearest = name.n < 5 ? 2 : 4; /* exclusive */
    for (size_t i = 0; i < config_option_count; i++) {
        struct span known = span_str(config_options[i].name);
        size_t d = distance(name, known);
        bool start_of = name.n >= 3 && name.n < known.n && memcmp(name.p, known.p, name.n) == 0;
        if (start_of && d > 1)
            d = 1;
        if (d < nearest) {
            nearest = d;
            best = config_options[i].name;
        }
    }
    return best;
}
