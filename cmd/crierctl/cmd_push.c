/*
 * cmd_push.c - crierctl push: one POST /api/push, its answer a line per receiver.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/crierctl/http.h"
#include "cmd/crierctl/json_find.h"
#include "cmd/crierctl/opts.h"

enum { MAX_DATA = 16 * 1024 * 1024 };

struct push {
    struct server server;
    const char *user, *room;
    bool all;
    const char *data;
    const char *id, *priority, *event, *collapse, *from;
    uint64_t ttl;
    bool json;
};

static bool read_stream(FILE *f, struct buf *out)
{
    for (;;) {
        uint8_t *room = buf_reserve(out, 4096);
        if (!room) {
            return false;
        }
        size_t n = fread(room, 1, 4096, f);
        buf_commit(out, n);
        if (n == 0) {
            return !ferror(f);
        }
    }
}

/* --data JSON, @FILE or - into out. */
static bool load_data(const char *arg, struct buf *out)
{
    bool ok;
    errno = 0;
    if (!strcmp(arg, "-")) {
        ok = read_stream(stdin, out);
    } else if (*arg == '@') {
        FILE *f = fopen(arg + 1, "rb");
        if (!f) {
            complain(CTL_USAGE, "--data %s: %s", arg, strerror(errno));
            return false;
        }
        ok = read_stream(f, out);
        fclose(f);
    } else {
        ok = buf_append_str(out, arg);
    }
    if (!ok) {
        complain(CTL_USAGE, "--data %s: %s", arg, errno ? strerror(errno) : "more than 16 MiB");
    }
    return ok;
}

static bool add_text(struct buf *b, const char *name, const char *value)
{
    return !value ||
           (buf_printf(b, "\"%s\":", name) && json_write_string(b, span_str(value)) && buf_append_byte(b, ','));
}

static bool build(const struct push *p, struct span data, struct buf *b)
{
    return buf_append_byte(b, '{') && add_text(b, "user", p->user) && add_text(b, "room", p->room) &&
           (!p->all || buf_append_str(b, "\"all\":true,")) && add_text(b, "id", p->id) &&
           add_text(b, "event", p->event) && add_text(b, "from", p->from) && add_text(b, "priority", p->priority) &&
           add_text(b, "collapse", p->collapse) &&
           (p->ttl == OPT_UNSET || buf_printf(b, "\"ttl\":%llu,", (unsigned long long)p->ttl)) &&
           buf_append_str(b, "\"data\":") && buf_append_span(b, data) && buf_append_byte(b, '}');
}

/* One line of a result: its members as name=value; false if it says that this receiver was refused. */
static bool print_result(struct span result)
{
    struct json_reader r;
    struct json_value key, value;
    struct buf line;
    bool ok = true;
    const char *space = "";
    buf_init(&line, MAX_DATA);
    json_reader_init(&r, result, JSON_MAX_DEPTH);
    bool good = json_next(&r, &value) == JSON_T_OPEN_OBJECT;
    while (good && json_member(&r, &key, &value)) {
        ok = ok && !json_string_is(&key, "error");
        struct span shown = value.raw;
        if (value.kind == JSON_STRING && !value.escaped) {
            shown = span_of(shown.p + 1, shown.n - 2);
        }
        good = buf_append_str(&line, space) && json_append_plain(&line, span_of(key.raw.p + 1, key.raw.n - 2)) &&
               buf_append_byte(&line, '=') && json_append_plain(&line, shown);
        space = "  ";
    }
    printf("%.*s\n", SPAN_ARG(buf_span(&line)));
    buf_fini(&line);
    return ok;
}

static enum ctl_exit print_reply(const struct push *p, const struct http_reply *reply)
{
    char text[700];
    if (reply->status < 200 || reply->status > 299) {
        http_error_text(reply, text, sizeof(text));
        const char *hint = reply->status == 401 ? "; give the API key with --api-key or CRIER_API_KEY" : "";
        return complain(CTL_REFUSED, "refused: %s%s", text, hint);
    }
    if (p->json) {
        printf("%.*s\n", SPAN_ARG(buf_span(&reply->body)));
        return CTL_OK;
    }
    struct json_value results, one;
    struct json_reader r;
    bool ok = true;
    if (!json_find(buf_span(&reply->body), "results", &results)) {
        return complain(CTL_REFUSED, "the answer has no results: is that a Crier broker?");
    }
    json_reader_init(&r, results.raw, JSON_MAX_DEPTH);
    if (json_next(&r, &one) == JSON_T_OPEN_ARRAY) {
        while (json_element(&r, &one)) {
            ok = print_result(one.raw) && ok;
        }
    }
    return ok ? CTL_OK : CTL_REFUSED;
}

static enum ctl_exit post(const struct push *p, struct span body)
{
    char err[512];
    struct url url;
    struct link link;
    struct http_reply reply;
    if (!url_parse(p->server.url, &url, err, sizeof(err))) {
        return complain(CTL_USAGE, "%s", err);
    }
    if (!link_open(&link, &url, &p->server, err, sizeof(err))) {
        return complain(CTL_NO_CONNECT, "%s", err);
    }
    http_reply_init(&reply);
    enum ctl_exit code;
    if (http_call(&link, &url, &p->server, "POST", "/api/push", p->server.api_key, body, &reply, err, sizeof(err))) {
        code = print_reply(p, &reply);
    } else {
        code = complain(CTL_NO_CONNECT,
                        "%s; whether the message was taken is not known: with --id it can be sent again", err);
    }
    http_reply_fini(&reply);
    link_close(&link);
    return code;
}

static enum ctl_exit push_data(const struct push *p)
{
    struct buf data, body;
    struct json_value value;
    enum ctl_exit code = CTL_USAGE;
    buf_init(&data, MAX_DATA);
    buf_init(&body, MAX_DATA + 65536);
    if (load_data(p->data, &data)) {
        if (json_parse(buf_span(&data), JSON_MAX_DATA_DEPTH, &value) != JSON_OK) {
            complain(CTL_USAGE, "--data is not JSON; text wants quotes of its own: --data '\"hi\"'");
        } else if (!build(p, value.raw, &body)) {
            complain(CTL_USAGE, "out of memory");
        } else {
            code = post(p, buf_span(&body));
        }
    }
    buf_fini(&data);
    buf_fini(&body);
    return code;
}

static enum ctl_exit run(const struct subcommand *self, int argc, char **argv)
{
    struct push p = {.ttl = OPT_UNSET};
    const struct opt opts[] = {
        {"user", OPT_TEXT, "USER", "to all devices of this user, kept while they are away", &p.user},
        {"room", OPT_TEXT, "ROOM", "to the members of this room", &p.room},
        {"all", OPT_FLAG, NULL, "to everyone connected", &p.all},
        {"data", OPT_TEXT, "JSON|@FILE|-", "the message: a JSON value, a file with one, or standard input", &p.data},
        {"id", OPT_TEXT, "ID", "the same id twice is one message", &p.id},
        {"ttl", OPT_NUMBER, "SECONDS", "kept this long; 0: only for who is connected now", &p.ttl},
        {"priority", OPT_TEXT, "low|normal|high", "who is dropped first from a slow connection's queue", &p.priority},
        {"event", OPT_TEXT, "NAME", "name of the event", &p.event},
        {"collapse", OPT_TEXT, "KEY", "a queued live message with this key is replaced", &p.collapse},
        {"from", OPT_TEXT, "NAME", "who it is from", &p.from},
        {"json", OPT_FLAG, NULL, "print the server's answer as it came", &p.json},
    };
    switch (opts_parse(self, opts, ARRAY_LEN(opts), &p.server, argc, argv)) {
    case OPTS_HELP_SHOWN:
        return CTL_OK;
    case OPTS_WRONG:
        return CTL_USAGE;
    case OPTS_GO_ON:
        break;
    }
    if ((p.user != NULL) + (p.room != NULL) + p.all != 1) {
        return complain(CTL_USAGE, "push wants one of --user USER, --room ROOM, --all");
    }
    if (!p.data) {
        return complain(CTL_USAGE, "push wants --data JSON (or --data @FILE, --data - for standard input)");
    }
    return push_data(&p);
}

const struct subcommand cmd_push = {
    .name = "push",
    .summary = "send a message to a user, a room or everyone",
    .about = "usage: crierctl push --user USER|--room ROOM|--all --data JSON\n"
             "example: crierctl push --user alice --data '{\"text\":\"hi\"}'",
    .run = run,
};
