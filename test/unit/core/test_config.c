/* The options: every form of value, good and bad; the sources and their order; the configuration as a whole; dump and
 * help. */
#include "core/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/log.h"

static char err[400];

static bool set(struct config *c, const char *name, const char *value)
{
    err[0] = '\0';
    return config_set(c, name, value, true, err, sizeof(err));
}

/* ---- single values ---- */

static void defaults(void **state)
{
    struct config c;
    (void)state;
    config_init(&c);
    assert_int_equal(c.listen.n, 0);
    assert_string_equal(c.prefix, "crier:");
    assert_null(c.redis);
    assert_int_equal(c.shards, 0);
    assert_int_equal(c.max_message, 65536);
    assert_int_equal(c.max_head, 8192);
    assert_int_equal(c.max_rooms, 128);
    assert_int_equal(c.max_user_conns, 16);
    assert_int_equal(c.outq_soft, 256 << 10);
    assert_int_equal(c.outq_hard, 1 << 20);
    assert_int_equal(c.window, 256);
    assert_int_equal(c.ping_ms, 25000);
    assert_int_equal(c.idle_ms, 60000);
    assert_int_equal(c.ack_flush_ms, 500);
    assert_int_equal(c.redis_timeout_ms, 1000);
    assert_int_equal(c.ttl_s, 7 * 86400);
    assert_int_equal(c.inbox_cap, 1000);
    assert_int_equal(c.guest_session_s, 60);
    assert_int_equal(c.log_format, LOG_FORMAT_AUTO);
    assert_int_equal(c.log_level, LOG_INFO);
    assert_int_equal(c.origins.n, 1);
    assert_string_equal(c.origins.v[0], "same");
    assert_false(c.dev || c.echo || c.access_log);
    config_fini(&c);
}

static void numbers(void **state)
{
    static const struct {
        const char *name, *value;
        size_t offset;
        unsigned is;
    } good[] = {
        {"ping-interval", "30", offsetof(struct config, ping_ms), 30000}, /* bare: seconds */
        {"ping-interval", "500ms", offsetof(struct config, ping_ms), 500},
        {"idle-timeout", "10m", offsetof(struct config, idle_ms), 600000},
        {"idle-timeout", "2min", offsetof(struct config, idle_ms), 120000},
        {"idle-timeout", "24h", offsetof(struct config, idle_ms), 86400000},
        {"ttl", "1h", offsetof(struct config, ttl_s), 3600},
        {"ttl", "90", offsetof(struct config, ttl_s), 90},
        {"ttl", "2000ms", offsetof(struct config, ttl_s), 2},
        {"session", "365d", offsetof(struct config, session_s), 365 * 86400},
        {"max-message", "16MiB", offsetof(struct config, max_message), 16 << 20},
        {"max-message", "4096", offsetof(struct config, max_message), 4096},
        {"max-message", "64K", offsetof(struct config, max_message), 65536},
        {"outq-hard", "1GiB", offsetof(struct config, outq_hard), 1 << 30},
        {"room-linger", "0", offsetof(struct config, linger_ms), 0},
        {"shards", "64", offsetof(struct config, shards), 64},
        {"inbox-cap", "100000", offsetof(struct config, inbox_cap), 100000},
        {"log-level", "debug", offsetof(struct config, log_level), LOG_DEBUG},
    };
    struct config c;
    (void)state;
    config_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        unsigned v;
        assert_true(set(&c, good[i].name, good[i].value));
        memcpy(&v, (const char *)&c + good[i].offset, sizeof(v));
        assert_int_equal(v, good[i].is);
    }
    config_fini(&c);
}

/* Each is refused, changes nothing, and the sentence names the option and, unless it is secret, the value. */
static void bad_values(void **state)
{
    static const struct {
        const char *name, *value, *says;
    } bad[] = {
        {"ping-interval", "5x", "duration"},
        {"ping-interval", "", "duration"},
        {"ping-interval", "-5", "duration"},
        {"ping-interval", "s", "duration"},
        {"ping-interval", "5 s", "duration"},
        {"ping-interval", "1.5s", "duration"},
        {"ping-interval", "99ms", "from 100ms to 1h"},
        {"ping-interval", "99999999999999999999999d", "too large"},
        {"ttl", "500ms", "whole seconds"},
        {"ttl", "0", "from 1s to 365d"},
        {"ttl", "366d", "from 1s to 365d"},
        {"shards", "65", "from 0 to 64"},
        {"shards", "1k", "whole number"},
        {"inbox-cap", "0", "from 1 to 100000"},
        {"inbox-cap", "100001", "from 1 to 100000"},
        {"max-message", "17MiB", "from 1KiB to 16MiB"},
        {"max-message", "99999999999999999999GiB", "too large"},
        {"max-message", "64kb", "size"},
        {"dev", "maybe", "true or false"},
        {"log", "xml", "auto, text or json"},
        {"log-level", "loud", "debug, info, warn or error"},
        {"listen", "8080", "ADDR:PORT"},
        {"listen", ":8080", "ADDR:PORT"},
        {"listen", "0.0.0.0", "ADDR:PORT"},
        {"listen", "0.0.0.0:65536", "ADDR:PORT"},
        {"listen", "0.0.0.0:", "ADDR:PORT"},
        {"listen", "0.0.0.0:99999999999", "ADDR:PORT"},
        {"listen", "256.0.0.1:80", "ADDR:PORT"},
        {"listen", "::1:80", "ADDR:PORT"},
        {"listen", "[::1:80", "ADDR:PORT"},
        {"listen", "[::zz]:80", "ADDR:PORT"},
        {"listen", "127.0.0.1:80,private", "ADDR:PORT"},
        {"listen", "a b:80", "ADDR:PORT"},
        {"redis", "localhost:6379", "redis://"},
        {"redis", "redis://", "redis://"},
        {"redis", "redis://:6379", "redis://"},
        {"redis", "redis://h:port", "redis://"},
        {"redis", "redis://h:1/x", "redis://"},
        {"redis", "unix://relative", "redis://"},
        {"redis", "redis://u:***@h:1", "in place of a secret"},
        {"prefix", "", "letters"},
        {"prefix", "a b", "letters"},
        {"prefix", "{x}:", "letters"},
        {"node", "a/b", "letters"},
        {"jwt-key", "secret", "HS256"},
        {"jwt-key", "HS512:secret", "HS256"},
        {"jwt-key", "=HS256:secret", "HS256"},
        {"jwt-key", "HS256:", "HS256"},
        {"jwt-key", "k1=HS256:***", "in place of a secret"},
        {"api-key", "***", "in place of a secret"},
        {"api-key", "two words", "printable"},
        {"api-key", "@", "empty"},
        {"origins", "app.example", "origin"},
        {"origins", "https://a.example/path", "origin"},
        {"origins", "https://a.example,,same", "origin"},
        {"node", "a\nb", "one line"},
        {"config", "x", "command line alone"},
        {"check", "true", "command line alone"},
    };
    struct config c;
    (void)state;
    config_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *before = config_dump(&c);
        if (set(&c, bad[i].name, bad[i].value))
            fail_msg("--%s %s was taken", bad[i].name, bad[i].value);
        if (!strstr(err, bad[i].says) || !strstr(err, bad[i].name))
            fail_msg("--%s %s: %s", bad[i].name, bad[i].value, err);
        if (strcmp(bad[i].name, "origins") != 0) {
            char *after = config_dump(&c);
            assert_string_equal(before, after);
            free(after);
        }
        free(before);
    }
    config_fini(&c);
}

static void secrets_stay_out_of_messages(void **state)
{
    struct config c;
    (void)state;
    config_init(&c);
    assert_false(set(&c, "redis", "redis//u:hunter2@h:1"));
    assert_null(strstr(err, "hunter2"));
    assert_false(set(&c, "jwt-key", "hunter2"));
    assert_null(strstr(err, "hunter2"));
    assert_false(set(&c, "api-key", "hunter2 hunter2"));
    assert_null(strstr(err, "hunter2"));
    config_fini(&c);
}

static void good_texts(void **state)
{
    static const char *const good[][2] = {
        {"listen", "0.0.0.0:8080"},
        {"listen", "[::]:0,public"},
        {"listen", "localhost:65535"},
        {"tls-listen", "broker-1.example:443,public"},
        {"redis", "redis://127.0.0.1:6379"},
        {"redis", "redis://h"},
        {"redis", "redis://h/3"},
        {"redis", "redis://u:p%40@[::1]:6379/15"},
        {"redis", "redis://:p/w@h:1"},
        {"redis", "unix:///run/redis.sock"},
        {"redis", ""},
        {"prefix", "app1:crier:"},
        {"jwt-key", "HS256:c2VjcmV0=="},
        {"jwt-key", "k-1=RS256:/etc/key.pem"},
        {"jwt-key", "ES256:es.pem"},
        {"jwt-key", "HS256:@/run/secret file"},
        {"api-key", "@/run/secret"},
        {"origins", "https://*.example:8443, same , http://[::1]:3000,*"},
        {"node", ""},
    };
    struct config c;
    (void)state;
    config_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!set(&c, good[i][0], good[i][1]))
            fail_msg("%s", err);
    assert_null(c.redis);
    assert_int_equal(c.origins.n, 4);
    assert_string_equal(c.origins.v[1], "same");
    assert_string_equal(c.origins.v[2], "http://[::1]:3000");
    assert_true(set(&c, "origins", ""));
    assert_int_equal(c.origins.n, 0);
    config_fini(&c);
}

static void unknown_names(void **state)
{
    static const char *const likes[][2] = {
        {"lisen", "listen"},
        {"ping_interval", "ping-interval"},
        {"outq", "outq-soft"},
        {"jwt", "jwt-key"},
        {"max-mesage", "max-message"},
        {"TTL", NULL},
        {"x", NULL},
        {"zzzzzzzzzz", NULL},
        {"", NULL},
    };
    struct config c;
    (void)state;
    config_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(likes); i++) {
        assert_false(set(&c, likes[i][0], "1"));
        assert_non_null(strstr(err, likes[i][1] ? likes[i][1] : "--help"));
        assert_int_equal(strstr(err, "did you mean") != NULL, likes[i][1] != NULL);
    }
    char longname[2000];
    memset(longname, 'a', sizeof(longname) - 1);
    longname[sizeof(longname) - 1] = '\0';
    assert_false(set(&c, longname, longname));
    config_fini(&c);
}

static void lists(void **state)
{
    struct config c;
    char key[16];
    (void)state;
    config_init(&c);
    for (unsigned i = 0; i < CONFIG_MAX_LIST; i++) {
        (void)snprintf(key, sizeof(key), "key%u", i);
        assert_true(config_set(&c, "api-key", key, false, err, sizeof(err)));
    }
    assert_false(config_set(&c, "api-key", "onemore", false, err, sizeof(err)));
    assert_non_null(strstr(err, "32"));
    assert_int_equal(c.api_key.n, CONFIG_MAX_LIST);
    assert_string_equal(c.api_key.v[31], "key31");
    assert_true(config_set(&c, "api-key", "fresh", true, err, sizeof(err)));
    assert_int_equal(c.api_key.n, 1);
    assert_string_equal(c.api_key.v[0], "fresh");
    assert_false(config_set(&c, "api-key", "bad one", true, err, sizeof(err)));
    assert_int_equal(c.api_key.n, 1); /* refused: the old list stays */
    config_fini(&c);
}

/* ---- sources ---- */

static bool args(struct config *c, const char *const *v, const char **file, enum config_action *action)
{
    int n = 0;
    while (v[n])
        n++;
    err[0] = '\0';
    return config_from_args(c, n, (char **)(uintptr_t)v, file, action, err, sizeof(err));
}
#define ARGS(...) ((const char *const[]){"crier", __VA_ARGS__, NULL})

static void command_line(void **state)
{
    struct config c;
    const char *file;
    enum config_action action;
    const char *const *line = ARGS("--config", "/etc/crier.conf", "--listen", "127.0.0.1:1", "--listen=[::1]:2",
                                   "--dev", "--access-log=true", "--no-echo", "--check", "--ttl", "1h", "--ttl", "2h");
    (void)state;
    config_init(&c);
    assert_true(args(NULL, line, &file, &action)); /* first pass: finds the file */
    assert_string_equal(file, "/etc/crier.conf");
    assert_int_equal(action, CONFIG_CHECK);
    assert_true(config_set(&c, "listen", "10.0.0.1:9", true, err, sizeof(err))); /* as from that file */
    assert_true(config_set(&c, "echo", "true", true, err, sizeof(err)));
    assert_true(args(&c, line, &file, &action));
    assert_int_equal(c.listen.n, 2); /* the flags' list replaces the file's */
    assert_string_equal(c.listen.v[0], "127.0.0.1:1");
    assert_string_equal(c.listen.v[1], "[::1]:2");
    assert_true(c.dev && c.access_log && !c.echo);
    assert_int_equal(c.ttl_s, 7200);
    config_fini(&c);
}

static void the_default_listener(void **state)
{
    struct config c;
    const char *file;
    enum config_action action;
    (void)state;
    config_init(&c);
    assert_true(args(&c, ARGS("--dev"), &file, &action));
    assert_null(file);
    assert_int_equal(action, CONFIG_RUN);
    assert_int_equal(c.listen.n, 1);
    assert_string_equal(c.listen.v[0], "127.0.0.1:8080");
    config_fini(&c);
    config_init(&c);
    assert_true(args(&c, ARGS("--tls-listen", "127.0.0.1:0"), &file, &action));
    assert_int_equal(c.listen.n, 0); /* who asks for TLS alone gets TLS alone */
    config_fini(&c);
}

static void bad_command_lines(void **state)
{
    static const struct {
        const char *line[4];
        const char *says;
    } bad[] = {
        {{"crier", "--lisen", "127.0.0.1:1"}, "did you mean --listen?"},
        {{"crier", "--listen"}, "--listen needs a value: --listen ADDR:PORT"},
        {{"crier", "--listen", "--dev"}, "needs a value"},
        {{"crier", "--config"}, "needs a value"},
        {{"crier", "--help=yes"}, "takes no value"},
        {{"crier", "--no-dev=1"}, "takes no value"},
        {{"crier", "--no-listen"}, "there is no option"},
        {{"crier", "--no-"}, "there is no option"},
        {{"crier", "8080"}, "unexpected argument \"8080\""},
        {{"crier", "-x"}, "unexpected argument"},
        {{"crier", "--"}, "unexpected argument"},
        {{"crier", ""}, "unexpected argument"},
        {{"crier", "--=x"}, "there is no option"},
    };
    const char *file;
    enum config_action action;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(args(NULL, bad[i].line, &file, &action));
        if (!strstr(err, bad[i].says))
            fail_msg("%s %s: %s", bad[i].line[1], bad[i].line[2] ? bad[i].line[2] : "", err);
    }
}

static void actions(void **state)
{
    static const struct {
        const char *flag;
        enum config_action action;
    } all[] = {{"--check", CONFIG_CHECK},   {"--dump-config", CONFIG_DUMP},
               {"--routes", CONFIG_ROUTES}, {"--help", CONFIG_HELP},
               {"-h", CONFIG_HELP},         {"--version", CONFIG_VERSION}};
    const char *file;
    enum config_action action;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        assert_true(args(NULL, ARGS(all[i].flag), &file, &action));
        assert_int_equal(action, all[i].action);
    }
}

static void environment(void **state)
{
    const char *const env[] = {"PATH=/bin",
                               "CRIER_LISTEN=127.0.0.1:1  [::1]:2 ",
                               "CRIER_PING_INTERVAL=7s",
                               "CRIER_DEV=on",
                               "CRIER_ORIGINS=https://a.example,same https://b.example",
                               "CRIER_REDIS=",                 /* empty: not set */
                               "CRIER_PORT=tcp://10.0.0.1:80", /* not ours: some orchestrators set such things */
                               "CRIER_HELP=1",
                               NULL};
    const char *const bad[] = {"CRIER_SHARDS=many", NULL};
    struct config c;
    (void)state;
    config_init(&c);
    assert_true(config_set(&c, "redis", "redis://h:1", true, err, sizeof(err)));
    assert_true(config_set(&c, "listen", "10.0.0.1:9", true, err, sizeof(err)));
    assert_true(config_from_env(&c, (char *const *)(uintptr_t)env, err, sizeof(err)));
    assert_int_equal(c.listen.n, 2);
    assert_string_equal(c.listen.v[1], "[::1]:2");
    assert_int_equal(c.ping_ms, 7000);
    assert_true(c.dev);
    assert_int_equal(c.origins.n, 3);
    assert_string_equal(c.redis, "redis://h:1");
    assert_false(config_from_env(&c, (char *const *)(uintptr_t)bad, err, sizeof(err)));
    assert_non_null(strstr(err, "CRIER_SHARDS"));
    assert_non_null(strstr(err, "many"));
    assert_true(config_from_env(&c, NULL, err, sizeof(err)));
    config_fini(&c);
}

/* ---- as a whole ---- */

/* "name=value" settings on top of the defaults, then validated. */
static bool valid(const char *const *settings)
{
    struct config c;
    config_init(&c);
    for (; *settings; settings++) {
        char name[40];
        const char *eq = strchr(*settings, '=');
        (void)snprintf(name, sizeof(name), "%.*s", (int)(eq - *settings), *settings);
        if (!config_set(&c, name, eq + 1, false, err, sizeof(err)))
            fail_msg("%s", err);
    }
    err[0] = '\0';
    bool good = config_validate(&c, err, sizeof(err));
    config_fini(&c);
    return good;
}
#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void whole_configurations(void **state)
{
    (void)state;
    assert_true(valid(SETTINGS("listen=127.0.0.1:1", "dev=true")));
    assert_true(valid(SETTINGS("listen=0.0.0.0:1", "jwt-key=HS256:x")));
    assert_true(valid(SETTINGS("listen=0.0.0.0:1", "api-key=x")));
    assert_true(valid(SETTINGS("listen=127.9.9.9:1", "listen=[::1]:2", "listen=localhost:3", "dev=true", "echo=true")));
    assert_true(valid(SETTINGS("tls-listen=0.0.0.0:1", "tls-cert=c", "tls-key=k", "api-key=x")));
    assert_true(valid(SETTINGS("listen=0.0.0.0:1", "api-key=x", "outq-soft=1MiB")));

    assert_false(valid(SETTINGS("api-key=x")));
    assert_non_null(strstr(err, "--listen"));
    assert_false(valid(SETTINGS("listen=127.0.0.1:1"))); /* open by accident */
    assert_non_null(strstr(err, "--jwt-key"));
    assert_non_null(strstr(err, "--dev"));
    assert_false(valid(SETTINGS("listen=0.0.0.0:1", "dev=true")));
    assert_non_null(strstr(err, "0.0.0.0:1"));
    assert_false(valid(SETTINGS("listen=0.0.0.0:1", "dev=true", "api-key=x")));
    assert_false(valid(SETTINGS("listen=[::]:1", "dev=true")));
    assert_false(valid(SETTINGS("listen=127.example:1", "dev=true")));
    assert_false(valid(SETTINGS("listen=127.0.0.1:1", "tls-listen=10.0.0.1:2", "tls-cert=c", "tls-key=k", "dev=true")));
    assert_false(valid(SETTINGS("listen=127.0.0.1:1", "api-key=x", "echo=true")));
    assert_non_null(strstr(err, "--dev"));
    assert_false(valid(SETTINGS("tls-listen=127.0.0.1:1", "dev=true")));
    assert_non_null(strstr(err, "--tls-cert"));
    assert_false(valid(SETTINGS("tls-listen=127.0.0.1:1", "tls-cert=c", "dev=true")));
    assert_false(valid(SETTINGS("listen=127.0.0.1:1", "tls-key=c", "dev=true")));
    assert_non_null(strstr(err, "--tls-cert is missing"));
    assert_false(valid(SETTINGS("listen=127.0.0.1:1", "dev=true", "outq-soft=2MiB")));
    assert_non_null(strstr(err, "--outq-hard"));
    assert_false(valid(SETTINGS("listen=127.0.0.1:1", "dev=true", "ping-interval=60s")));
    assert_non_null(strstr(err, "--idle-timeout"));
}

/* ---- dump and help ---- */

/* Reads a dump as the file reader does: NAME = VALUE lines, comments left out. */
static void load(struct config *c, const char *dump)
{
    char last[40] = "", name[40], value[200];
    for (const char *p = dump; *p; p += strcspn(p, "\n") + 1) {
        if (*p == '#' || *p == '\n')
            continue;
        value[0] = '\0';
        assert_true(sscanf(p, "%39[a-z-] = %199[^\n]", name, value) >= 1);
        if (!config_set(c, name, value, strcmp(name, last) != 0, err, sizeof(err)))
            fail_msg("%s", err);
        memcpy(last, name, sizeof(last));
    }
}

static void dump_round_trip(void **state)
{
    static const char *const line[] = {"crier",
                                       "--listen",
                                       "127.0.0.1:0",
                                       "--listen",
                                       "[::1]:0,public",
                                       "--tls-cert",
                                       "/a b/cert.pem",
                                       "--tls-key",
                                       "k",
                                       "--redis",
                                       "redis://h:1",
                                       "--shards",
                                       "3",
                                       "--origins",
                                       "https://a.example,same",
                                       "--dev",
                                       "--ttl",
                                       "90s",
                                       "--ping-interval",
                                       "1500ms",
                                       "--max-message",
                                       "1000000",
                                       "--room-linger",
                                       "0",
                                       "--log",
                                       "json",
                                       "--log-level",
                                       "warn",
                                       "--access-log",
                                       "--jwt-key",
                                       "k=RS256:/k.pem",
                                       "--api-key",
                                       "@/run/key",
                                       NULL};
    struct config c, d;
    const char *file;
    enum config_action action;
    (void)state;
    config_init(&c);
    config_init(&d);
    assert_true(args(&c, line, &file, &action));
    char *first = config_dump(&c);
    assert_non_null(first);
    load(&d, first);
    char *second = config_dump(&d);
    assert_string_equal(first, second);
    assert_int_equal(d.ttl_s, 90);
    assert_int_equal(d.max_message, 1000000);
    assert_int_equal(d.listen.n, 2);
    assert_non_null(strstr(first, "ping-interval = 1500ms\n"));
    assert_non_null(strstr(first, "max-message = 1000000\n"));
    assert_non_null(strstr(first, "ttl = 90s\n"));
    assert_non_null(strstr(first, "idle-timeout = 1m\n"));
    assert_non_null(strstr(first, "outq-hard = 1MiB\n"));
    assert_non_null(strstr(first, "room-linger = 0ms\n"));
    assert_non_null(strstr(first, "# node =\n"));
    free(first);
    free(second);
    config_fini(&c);
    config_fini(&d);
}

static void dump_hides_secrets(void **state)
{
    struct config c;
    (void)state;
    config_init(&c);
    assert_true(set(&c, "redis", "redis://user:hunter2@h:1/2"));
    assert_true(set(&c, "api-key", "hunter2"));
    assert_true(config_set(&c, "jwt-key", "k1=HS256:hunter2=", false, err, sizeof(err)));
    assert_true(config_set(&c, "jwt-key", "HS256:@/file", false, err, sizeof(err)));
    char *dump = config_dump(&c);
    assert_null(strstr(dump, "hunter2"));
    assert_non_null(strstr(dump, "redis = redis://user:***@h:1/2\n"));
    assert_non_null(strstr(dump, "api-key = ***\n"));
    assert_non_null(strstr(dump, "jwt-key = k1=HS256:***\njwt-key = HS256:@/file\n"));
    free(dump);
    assert_true(set(&c, "redis", "redis://hunter2@h:1"));
    dump = config_dump(&c);
    assert_null(strstr(dump, "hunter2"));
    free(dump);
    assert_true(set(&c, "redis", "unix://:hunter2@/run/r.sock?db=1"));
    dump = config_dump(&c);
    assert_non_null(strstr(dump, "redis = unix://:***@/run/r.sock?db=1\n"));
    free(dump);
    config_fini(&c);
}

/* Every option is in --help and, if it is a setting, in the dump; every field of a size or time can be set. */
static void help_and_dump_are_whole(void **state)
{
    struct config c;
    (void)state;
    config_init(&c);
    char *help = config_help(), *dump = config_dump(&c);
    size_t n = 0;
    for (; config_option_name(n); n++) {
        char text[48];
        (void)snprintf(text, sizeof(text), "--%s", config_option_name(n));
        assert_non_null(strstr(help, text));
        bool setting =
            strcmp(config_option_name(n), "config") != 0 && !strstr("check dump-config routes help version", text + 2);
        (void)snprintf(text, sizeof(text), "%s =", config_option_name(n));
        assert_int_equal(strstr(dump, text) != NULL, setting);
    }
    assert_true(n >= 44);
    assert_null(config_option_name(n));
    for (const char *p = help; *p; p += strcspn(p, "\n") + 1)
        assert_true(strcspn(p, "\n") <= 100);
    free(help);
    free(dump);
    config_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(numbers),
        cmocka_unit_test(bad_values),
        cmocka_unit_test(secrets_stay_out_of_messages),
        cmocka_unit_test(good_texts),
        cmocka_unit_test(unknown_names),
        cmocka_unit_test(lists),
        cmocka_unit_test(command_line),
        cmocka_unit_test(the_default_listener),
        cmocka_unit_test(bad_command_lines),
        cmocka_unit_test(actions),
        cmocka_unit_test(environment),
        cmocka_unit_test(whole_configurations),
        cmocka_unit_test(dump_round_trip),
        cmocka_unit_test(dump_hides_secrets),
        cmocka_unit_test(help_and_dump_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
