/*
 * settings.c - the option table of the relay. Values are read as the broker reads its own (core/config_value.c).
 *
 * Pure but for its allocations. A sentence about a bad value never repeats a secret.
 */
#include "cmd/crier-relay/settings.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "core/config_table.h"
#include "core/log.h"
#include "store/redis_url.h"

enum { LEASE_MARGIN_MS = 5000, LEASE_TIMEOUTS = 3 };

struct setting {
    const char *section;
    struct option o; /* its `offset` is in struct settings */
    bool secret;
};

#define AT(field) offsetof(struct settings, field)
#define TEXT(section, name, field, def, arg, help)                                                                     \
    {                                                                                                                  \
        section, {name, OPT_STRING, AT(field), 0, 0, def, arg, help, NULL, NULL, NULL}, false                          \
    }
#define SECRET(section, field, help)                                                                                   \
    {                                                                                                                  \
        section, {"secret", OPT_STRING, AT(field), 0, 0, NULL, "VALUE|@FILE", help, NULL, NULL, NULL}, true            \
    }
#define VALUE(section, name, type, field, min, max, def, arg, help)                                                    \
    {                                                                                                                  \
        section, {name, type, AT(field), min, max, def, arg, help, NULL, NULL, NULL}, false                            \
    }
#define MINUTES 60000

static const struct setting table[] = {
    TEXT("redis", "url", redis, "redis://127.0.0.1:6379", "URL", "the Redis of the brokers"),
    TEXT("redis", "prefix", prefix, "crier:", "TEXT", "start of all keys, as the brokers have it"),
    TEXT("relay", "text", text, "You have a new message.", "TEXT", "what is sent where a push brings no text"),
    VALUE("relay", "attempts", OPT_NUMBER, attempts, 1, 1000, "8", "N", "attempts by one channel before it has failed"),
    VALUE("relay", "backoff", OPT_MS, backoff_ms, 1, 60 * MINUTES, "2s", "TIME",
          "wait behind the first attempt, doubled with each"),
    VALUE("relay", "backoff-max", OPT_MS, backoff_max_ms, 1, 1440 * MINUTES, "5m", "TIME", "the longest such wait"),
    VALUE("relay", "lease", OPT_MS, lease_ms, 1000, 60 * MINUTES, "60s", "TIME",
          "how long a claim lasts when its worker has died; at least 3 x timeout + 5s"),
    VALUE("relay", "timeout", OPT_MS, timeout_ms, 10, 5 * MINUTES, "10s", "TIME", "one HTTP request"),
    VALUE("relay", "poll", OPT_MS, poll_ms, 10, 60 * MINUTES, "1s", "TIME", "how often the store is asked what is due"),
    VALUE("relay", "parallel", OPT_NUMBER, parallel, 1, 1024, "16", "N", "attempts under way at a time"),
    TEXT("relay", "metrics-listen", metrics_listen, NULL, "ADDR:PORT", "serves /metrics and /healthz; empty: off"),
    VALUE("relay", "log", OPT_FORMAT, log, 0, 0, "text", "text|json", "form of the log on standard error"),
    TEXT("wecom", "corpid", corpid, NULL, "ID", "the enterprise"),
    SECRET("wecom", corp_secret, "the application's secret"),
    TEXT("wecom", "agentid", agentid, NULL, "N", "the application"),
    TEXT("wecom", "api", wecom_api, "https://qyapi.weixin.qq.com", "URL", "where WeCom answers"),
    TEXT("wechat", "appid", appid, NULL, "ID", "the official account"),
    SECRET("wechat", app_secret, "its secret"),
    TEXT("wechat", "template", template_id, NULL, "ID", "the template of the message"),
    TEXT("wechat", "field", field, NULL, "NAME", "the template's field that gets the text"),
    TEXT("wechat", "api", wechat_api, "https://api.weixin.qq.com", "URL", "where WeChat answers"),
    SECRET("webhook", hook_secret, "signs the body (Crier-Signature); empty: no signature"),
    VALUE("webhook", "allow-private", OPT_FLAG, allow_private, 0, 1, "no", "yes|no",
          "addresses of this machine and of private networks may be called"),
};

static void *field_of(const struct settings *s, const struct setting *t)
{
    return (char *)(uintptr_t)s + t->o.offset;
}

/* An empty value unsets a text. */
static bool put(struct settings *s, const struct setting *t, const char *value, char *err, size_t errlen)
{
    void *field = field_of(s, t);
    uint64_t v = 0;
    if (t->o.type == OPT_STRING) {
        char **text = field;
        char *copy = value[0] ? span_dup(span_str(value)) : NULL;
        if (value[0] && !copy) {
            snprintf(err, errlen, "out of memory");
            return false;
        }
        settings_wipe(text);
        *text = copy;
        return true;
    }
    char why[160];
    bool good = value_parse(&t->o, value, &v, why, sizeof(why));
    if (good && t->o.type == OPT_FORMAT && v == LOG_FORMAT_AUTO) {
        snprintf(why, sizeof(why), "is not text or json");
        good = false;
    }
    if (!good)
        snprintf(err, errlen, "%s = %.60s: the value %s", t->o.name, value, why);
    else if (t->o.type == OPT_FLAG)
        *(bool *)field = v != 0;
    else
        *(unsigned *)field = (unsigned)v;
    return good;
}

bool settings_init(struct settings *s)
{
    char err[200];
    bool good = true;
    *s = (struct settings){0};
    for (size_t i = 0; i < ARRAY_LEN(table) && good; i++)
        good = !table[i].o.def || put(s, &table[i], table[i].o.def, err, sizeof(err));
    if (!good)
        settings_fini(s);
    return good;
}

void settings_wipe(char **field)
{
    if (*field)
        OPENSSL_cleanse(*field, strlen(*field));
    free(*field);
    *field = NULL;
}

void settings_fini(struct settings *s)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].o.type == OPT_STRING)
            settings_wipe(field_of(s, &table[i]));
    }
}

bool settings_section(struct settings *s, struct span name, char *err, size_t errlen)
{
    unsigned channel = relay_channel(name);
    if (channel < RELAY_CHANNELS)
        s->has[channel] = true;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (span_eq(name, span_str(table[i].section)))
            return true;
    }
    snprintf(err, errlen, "there is no section [%.*s]; there are [redis], [relay], [wecom], [wechat] and [webhook]",
             (int)(name.n < 60 ? name.n : 60), (const char *)name.p);
    return false;
}

bool settings_set(struct settings *s, const char *section, const char *name, const char *value, char *err,
                  size_t errlen)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strcmp(table[i].section, section) == 0 && strcmp(table[i].o.name, name) == 0)
            return put(s, &table[i], value, err, errlen);
    }
    if (section[0])
        snprintf(err, errlen, "section [%.60s] has no option %.60s", section, name);
    else
        snprintf(err, errlen, "%.60s stands in no section", name);
    return false;
}

char **settings_secret(struct settings *s, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].secret && n-- == 0)
            return field_of(s, &table[i]);
    }
    return NULL;
}

/* ---- the whole ---- */

static bool complain(char *err, size_t errlen, const char *what)
{
    snprintf(err, errlen, "%s", what);
    return false;
}

/* Options of a configured channel that have no default, but the webhook's secret. */
static bool check_given(const struct settings *s, char *err, size_t errlen)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct setting *t = &table[i];
        unsigned channel = relay_channel(span_str(t->section));
        bool may_lack = t->o.type != OPT_STRING || AT(hook_secret) == t->o.offset || AT(metrics_listen) == t->o.offset;
        bool counts = channel == RELAY_CHANNELS || s->has[channel];
        if (counts && !may_lack && !*(char **)field_of(s, t)) {
            snprintf(err, errlen, "[%s] %s is missing", t->section, t->o.name);
            return false;
        }
    }
    return true;
}

static bool all_digits(const char *text)
{
    return strlen(text) <= 10 && text[strspn(text, "0123456789")] == '\0' && (text[0] != '0' || !text[1]);
}

/* http(s)://host[:port][/path], to which paths are added. */
static bool base_ok(const char *url)
{
    size_t n = strlen(url);
    bool http = strncmp(url, "http://", 7) == 0, https = strncmp(url, "https://", 8) == 0;
    return (http || https) && n > (http ? 7u : 8u) && n < 512 && !strpbrk(url, "?#@ \t") && url[n - 1] != '/' &&
           name_webhook_ok(span_str(url));
}

static bool listen_ok(const char *text)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || !colon[1] || strlen(colon + 1) > 5)
        return false;
    return colon[1 + strspn(colon + 1, "0123456789")] == '\0' && strtoul(colon + 1, NULL, 10) <= 65535;
}

bool settings_check(const struct settings *s, char *err, size_t errlen)
{
    struct redis_url url;
    char why[120];
    if (!check_given(s, err, errlen))
        return false;
    if (!redis_url_parse(s->redis, &url, why, sizeof(why))) {
        snprintf(err, errlen, "[redis] url: %s", why);
        return false;
    }
    redis_url_fini(&url);
    if (s->lease_ms < LEASE_TIMEOUTS * s->timeout_ms + LEASE_MARGIN_MS)
        return complain(err, errlen, "[relay] lease is shorter than 3 x timeout + 5s");
    if (s->backoff_ms > s->backoff_max_ms)
        return complain(err, errlen, "[relay] backoff is longer than backoff-max");
    if (s->metrics_listen && !listen_ok(s->metrics_listen))
        return complain(err, errlen, "[relay] metrics-listen is not ADDR:PORT");
    if (s->agentid && !all_digits(s->agentid))
        return complain(err, errlen, "[wecom] agentid is not a number");
    if (!base_ok(s->wecom_api))
        return complain(err, errlen, "[wecom] api is not http(s)://HOST[:PORT][/PATH] without a slash at its end");
    if (!base_ok(s->wechat_api))
        return complain(err, errlen, "[wechat] api is not http(s)://HOST[:PORT][/PATH] without a slash at its end");
    return true;
}

void settings_help(FILE *to)
{
    const char *section = "";
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct setting *t = &table[i];
        char left[64];
        if (strcmp(section, t->section) != 0)
            fprintf(to, "\n[%s]:\n", t->section);
        section = t->section;
        snprintf(left, sizeof(left), "%s = %s", t->o.name, t->o.arg);
        fprintf(to, "  %-27s %s", left, t->o.help);
        if (t->o.def)
            fprintf(to, " (%s)", t->o.def);
        fputc('\n', to);
    }
}
