/*
 * cmd_push.c - crierctl push: one POST /api/push, its answer a line per receiver. With --retries what the broker could
 * not take just then is sent again after the time it asks for, under one id.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/crierctl/api.h"
#include "cmd/crierctl/json_find.h"
#include "cmd/crierctl/opts.h"
#include "cmd/crierctl/view.h"

enum { MAX_DATA = 16 * 1024 * 1024 };

struct push {
    struct server server;
    const char *user, *room;
    struct opt_list users, rooms, channels;
    bool all, track;
    const char *data;
    const char *id, *priority, *event, *collapse, *from, *text;
    uint64_t ttl, retries, after;
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

static bool add_list(struct buf *b, const char *name, const struct opt_list *l)
{
    bool ok = !l->n || buf_printf(b, "\"%s\":", name);
    for (unsigned i = 0; i < l->n && ok; i++) {
        ok = buf_append_byte(b, i ? ',' : '[') && json_write_string(b, span_str(l->v[i]));
    }
    return ok && (!l->n || buf_append_str(b, "],"));
}

static bool add_escalate(struct buf *b, const struct push *p)
{
    return p->after == OPT_UNSET ||
           (buf_append_str(b, "\"escalate\":{") && add_list(b, "to", &p->channels) && add_text(b, "text", p->text) &&
            buf_printf(b, "\"after\":%llu},", (unsigned long long)p->after));
}

static bool build(const struct push *p, struct span data, struct buf *b)
{
    return buf_append_byte(b, '{') && add_text(b, "user", p->user) && add_text(b, "room", p->room) &&
           add_list(b, "users", &p->users) && add_list(b, "rooms", &p->rooms) &&
           (!p->track || buf_append_str(b, "\"track\":true,")) && (!p->all || buf_append_str(b, "\"all\":true,")) &&
           add_text(b, "id", p->id) && add_text(b, "event", p->event) && add_text(b, "from", p->from) &&
           add_text(b, "priority", p->priority) && add_text(b, "collapse", p->collapse) &&
           (p->ttl == OPT_UNSET || buf_printf(b, "\"ttl\":%llu,", (unsigned long long)p->ttl)) && add_escalate(b, p) &&
           buf_append_str(b, "\"data\":") && buf_append_span(b, data) && buf_append_byte(b, '}');
}

static enum ctl_exit print_reply(const struct push *p, const struct http_reply *reply)
{
    struct json_value results, one, error;
    struct json_reader r;
    bool ok = true;
    if (p->json) {
        api_print_raw(reply);
    }
    if (!json_find(buf_span(&reply->body), "results", &results)) {
        return complain(CTL_REFUSED, "the answer has no results: is that a Crier broker?");
    }
    json_reader_init(&r, results.raw, JSON_MAX_DEPTH);
    if (json_next(&r, &one) == JSON_T_OPEN_ARRAY) {
        while (json_element(&r, &one)) {
            ok = ok && !json_find(one.raw, "error", &error);
            if (!p->json) {
                view_line(one.raw);
            }
        }
    }
    return ok ? CTL_OK : CTL_REFUSED;
}

static enum ctl_exit post(const struct push *p, struct span body)
{
    struct api api;
    struct http_reply reply;
    if (!api_init(&api, &p->server)) {
        return CTL_USAGE;
    }
    http_reply_init(&reply);
    const char *unknown = p->id
                              ? "whether the message was taken is not known: the same --id makes it safe to send again"
                              : "whether the message was taken is not known: with --id it could be sent again";
    enum ctl_exit code = api_send_patiently(&api, "POST", "/api/push", body, unknown, p->retries, &reply);
    if (code == CTL_OK) {
        code = print_reply(p, &reply);
    }
    http_reply_fini(&reply);
    api_fini(&api);
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
    struct push p = {.ttl = OPT_UNSET, .after = OPT_UNSET};
    const struct opt opts[] = {
        {"user", OPT_TEXT, "USER", "to all devices of this user, kept while they are away", &p.user},
        {"users", OPT_LIST, "USER...", "to each of these", &p.users},
        {"room", OPT_TEXT, "ROOM", "to the members of this room", &p.room},
        {"rooms", OPT_LIST, "ROOM...", "to the members of each of these", &p.rooms},
        {"all", OPT_FLAG, NULL, "to everyone connected", &p.all},
        {"data", OPT_TEXT, "JSON|@FILE|-", "the message: a JSON value, a file with one, or standard input", &p.data},
        {"id", OPT_TEXT, "ID", "the same id twice is one message", &p.id},
        {"ttl", OPT_NUMBER, "SECONDS", "kept this long; 0: only for who is connected now", &p.ttl},
        {"priority", OPT_TEXT, "low|normal|high", "who is dropped first from a slow connection's queue", &p.priority},
        {"event", OPT_TEXT, "NAME", "name of the event", &p.event},
        {"collapse", OPT_TEXT, "KEY", "a queued live message with this key is replaced", &p.collapse},
        {"from", OPT_TEXT, "NAME", "who it is from", &p.from},
        {"track", OPT_FLAG, NULL, "record what becomes of it: crierctl message ID", &p.track},
        {"escalate-after", OPT_NUMBER, "SECONDS", "unacknowledged by then, the relay brings it (docs/relay.md)",
         &p.after},
        {"escalate-to", OPT_LIST, "CHANNEL...", "by the first of these that can: wecom, wechat, webhook", &p.channels},
        {"escalate-text", OPT_TEXT, "TEXT", "what WeCom and WeChat show", &p.text},
        {"retries", OPT_NUMBER, "N", "send it again so often when the broker is too busy (0); wants --id", &p.retries},
        {"json", OPT_FLAG, NULL, "print the server's answer as it came", &p.json},
    };
    enum ctl_exit code;
    if (!opts_read(self, opts, ARRAY_LEN(opts), &p.server, argc, argv, &code))
        return code;
    if ((p.user != NULL) + (p.room != NULL) + (p.users.n > 0) + (p.rooms.n > 0) + p.all != 1) {
        return complain(CTL_USAGE,
                        "push wants one of --user USER, --users USER..., --room ROOM, --rooms ROOM..., --all");
    }
    if ((p.after == OPT_UNSET) != (p.channels.n == 0) || (p.text && !p.channels.n)) {
        return complain(CTL_USAGE, "--escalate-after SECONDS and --escalate-to CHANNEL... go together");
    }
    if (p.retries && !p.id) {
        return complain(CTL_USAGE, "--retries wants --id ID: only then is a message that is sent twice one message");
    }
    if (!p.data) {
        return complain(CTL_USAGE, "push wants --data JSON (or --data @FILE, --data - for standard input)");
    }
    return push_data(&p);
}

const struct subcommand cmd_push = {
    .name = "push",
    .summary = "send a message to a user, a room or everyone",
    .about = "usage: crierctl push --user USER|--users USER...|--room ROOM|--rooms ROOM...|--all --data JSON\n"
             "The answer comes when the store has the message: a line for each receiver.",
    .examples = "crierctl push --user alice --data '{\"text\":\"hi\"}' --id order-7/paid --retries 5\n"
                "crierctl push --users alice bob --data 1 --track --id m1\n"
                "crierctl push --user alice --data 1 --escalate-after 60 --escalate-to wecom webhook\n"
                "date | jq -R . | crierctl push --room clock --data - --ttl 0",
    .run = run,
};
