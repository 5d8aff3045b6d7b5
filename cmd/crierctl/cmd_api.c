/*
 * cmd_api.c - the commands that are one call of the server API each: a table of method, path, what goes into the query
 * and into the body, and, for lists, how the next page is asked for. What comes back is shown as it is (--json) or by
 * view.c.
 */
#include <stdio.h>

#include "cmd/crierctl/api.h"
#include "cmd/crierctl/json_find.h"
#include "cmd/crierctl/opts.h"
#include "cmd/crierctl/view.h"

enum { MAX_PATH = 4096, MAX_BODY = 8192, MAX_CURSOR = 600 };

/* What a command may be given. */
enum word {
    WORD_USER, /* on the command line without a name, like the next two */
    WORD_ROOM,
    WORD_ID,
    WORD_ONE_USER, /* --user */
    WORD_DEVICE,
    WORD_REASON,
    WORD_LIMIT,
    WORD_AFTER,
    WORD_BEFORE,
    WORD_SINCE,
    WORD_WECOM,
    WORD_WECHAT,
    WORD_WEBHOOK,
    WORD_COUNT
};

#define BIT(w) (1u << (w))

static const struct {
    const char *name, *arg, *help;
    enum opt_kind kind;
} words[WORD_COUNT] = {
    [WORD_USER] = {"user", "USER", "the user", OPT_ARG},
    [WORD_ROOM] = {"room", "ROOM", "the room", OPT_ARG},
    [WORD_ID] = {"id", "ID", "the message's id", OPT_ARG},
    [WORD_ONE_USER] = {"user", "USER", "this recipient alone", OPT_TEXT},
    [WORD_DEVICE] = {"device", "NAME", "this device alone", OPT_TEXT},
    [WORD_REASON] = {"reason", "TEXT", "what the client is told", OPT_TEXT},
    [WORD_LIMIT] = {"limit", "N", "entries of a page", OPT_TEXT},
    [WORD_AFTER] = {"after", "CURSOR", "what follows this: next or cursor of the page before", OPT_TEXT},
    [WORD_BEFORE] = {"before", "SEQ", "what was before this", OPT_TEXT},
    [WORD_SINCE] = {"since", "SEQ", "what was after this", OPT_TEXT},
    [WORD_WECOM] = {"wecom", "ID", "the member's id in WeCom", OPT_TEXT},
    [WORD_WECHAT] = {"wechat", "OPENID", "the follower's id in WeChat", OPT_TEXT},
    [WORD_WEBHOOK] = {"webhook", "URL", "an address that takes a POST", OPT_TEXT},
};

struct api_command {
    struct subcommand sub;
    const char *method, *path; /* each % stands for the next word without a name */
    unsigned words;            /* bits of what it takes */
    unsigned body;             /* of those, which go into the body; the other named ones go into the query */
    const char *next;          /* member of an answer that says where the next page begins; NULL: no pages */
    enum word next_word;       /* what it is given as then */
    const char *clear;         /* help of --clear, which makes a DELETE of it, or a PUT where it has one; NULL: none */
    bool put;                  /* with something for the body it is a PUT, else a GET without one */
};

struct asked {
    const struct api_command *cmd;
    struct server server;
    const char *v[WORD_COUNT];
    bool json, pages, clear;
};

static const char *word_or(const struct asked *a, enum word w)
{
    return a->cmd->words & BIT(w) ? a->v[w] : NULL;
}

static bool build_path(const struct asked *a, struct buf *out)
{
    static const enum word in_path[] = {WORD_USER, WORD_ROOM, WORD_ID};
    size_t i = 0;
    bool ok = true;
    for (const char *p = a->cmd->path; *p && ok; p++) {
        if (*p != '%') {
            ok = buf_append_byte(out, (uint8_t)*p);
            continue;
        }
        while (i < ARRAY_LEN(in_path) && (!word_or(a, in_path[i]) || a->cmd->body & BIT(in_path[i]))) {
            i++;
        }
        ok = i < ARRAY_LEN(in_path) && append_escaped(out, a->v[in_path[i]]);
        i++;
    }
    const char *mark = "?";
    for (unsigned w = WORD_ONE_USER; w < WORD_COUNT && ok; w++) {
        if (!word_or(a, w) || a->cmd->body & BIT(w)) {
            continue;
        }
        ok = buf_printf(out, "%s%s=", mark, words[w].name) && append_escaped(out, a->v[w]);
        mark = "&";
    }
    return ok && buf_append_byte(out, '\0');
}

static const char *method_of(const struct asked *a)
{
    bool said = a->clear;
    for (unsigned w = 0; w < WORD_COUNT; w++) {
        said = said || (a->cmd->body & BIT(w) && a->v[w]);
    }
    if (a->cmd->put) {
        return said ? "PUT" : "GET";
    }
    return a->clear ? "DELETE" : a->cmd->method;
}

static bool build_body(const struct asked *a, struct buf *out)
{
    const char *mark = "{";
    if (!a->cmd->body || !strcmp(method_of(a), "GET")) {
        return true;
    }
    for (unsigned w = 0; w < WORD_COUNT; w++) {
        if (!(a->cmd->body & BIT(w)) || !a->v[w]) {
            continue;
        }
        if (!buf_printf(out, "%s\"%s\":", mark, words[w].name) || !json_write_string(out, span_str(a->v[w]))) {
            return false;
        }
        mark = ",";
    }
    return buf_append_str(out, *mark == '{' ? "{}" : "}");
}

/* Where the next page begins, into `cursor`; false: there is none. */
static bool next_page(const struct asked *a, struct span answer, char *cursor, size_t cap)
{
    struct json_value more, next;
    bool said = json_find(answer, "more", &more);
    if (!a->cmd->next || (said && more.kind != JSON_TRUE) || !json_find(answer, a->cmd->next, &next)) {
        return false;
    }
    if (next.kind == JSON_NUMBER) {
        snprintf(cursor, cap, "%.*s", SPAN_ARG(next.raw));
        return true;
    }
    ptrdiff_t n = next.kind == JSON_STRING ? json_decode(&next, true, (uint8_t *)cursor, cap - 1) : -1;
    cursor[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static enum ctl_exit one_call(struct asked *a, struct api *api, struct http_reply *reply)
{
    struct buf path, body;
    enum ctl_exit code = CTL_USAGE;
    buf_init(&path, MAX_PATH);
    buf_init(&body, MAX_BODY);
    if (build_path(a, &path) && build_body(a, &body)) {
        code = api_call(api, method_of(a), (const char *)path.data, buf_span(&body), reply);
    } else {
        complain(CTL_USAGE, "%s: what was given is too long", a->cmd->sub.name);
    }
    buf_fini(&path);
    buf_fini(&body);
    return code;
}

static enum ctl_exit all_pages(struct asked *a, struct api *api)
{
    char cursor[MAX_CURSOR], last[MAX_CURSOR] = "";
    enum word next = a->v[WORD_SINCE] ? WORD_SINCE : a->cmd->next_word;
    enum ctl_exit code;
    bool more;
    do {
        struct http_reply reply;
        http_reply_init(&reply);
        code = one_call(a, api, &reply);
        more = code == CTL_OK && next_page(a, buf_span(&reply.body), cursor, sizeof(cursor));
        if (code == CTL_OK && a->json) {
            api_print_raw(&reply);
        } else if (code == CTL_OK && !view_object(buf_span(&reply.body))) {
            code = complain(CTL_REFUSED, "the answer is no object: is that a Crier broker?");
        }
        http_reply_fini(&reply);
        a->v[next] = cursor;
        if (more && a->pages && !strcmp(last, cursor)) {
            return complain(CTL_REFUSED, "the server names the same page again: '%s'", cursor);
        }
        snprintf(last, sizeof(last), "%s", more ? cursor : "");
    } while (more && a->pages);
    if (more) {
        fprintf(stderr, "crierctl: there is more: --%s '%s', or --every-page\n", words[next].name, cursor);
    }
    return code;
}

static enum ctl_exit run(const struct subcommand *self, int argc, char **argv)
{
    struct asked a = {.cmd = CONTAINER_OF(self, struct api_command, sub)};
    struct opt opts[WORD_COUNT + 3];
    size_t n = 0;
    for (unsigned w = 0; w < WORD_COUNT; w++) {
        if (a.cmd->words & BIT(w)) {
            opts[n++] = (struct opt){words[w].name, words[w].kind, words[w].arg, words[w].help, &a.v[w]};
        }
    }
    if (a.cmd->next) {
        opts[n++] = (struct opt){"every-page", OPT_FLAG, NULL, "ask for all pages, one after the other", &a.pages};
    }
    if (a.cmd->clear) {
        opts[n++] = (struct opt){"clear", OPT_FLAG, NULL, a.cmd->clear, &a.clear};
    }
    opts[n++] = (struct opt){"json", OPT_FLAG, NULL, "print the server's answers as they came, one a line", &a.json};
    struct api api;
    enum ctl_exit code;
    if (!opts_read(self, opts, n, &a.server, argc, argv, &code))
        return code;
    if (!api_init(&api, &a.server)) {
        return CTL_USAGE;
    }
    code = all_pages(&a, &api);
    api_fini(&api);
    return code;
}

#define PAGES       BIT(WORD_LIMIT) | BIT(WORD_AFTER)
#define LEDGER_WORD BIT(WORD_ID) | BIT(WORD_ONE_USER) | PAGES
#define LEDGER_NEXT .next = "cursor", .next_word = WORD_AFTER

static const struct api_command api_message = {
    .sub = {.name = "message",
            .summary = "what became of a message that was pushed with --track",
            .about =
                "usage: crierctl message ID [--user USER]\n"
                "A line for each recipient, below it one for each device: queued, written, acked, expired, dropped.",
            .examples = "crierctl message order-7/paid\ncrierctl message order-7/paid --user alice --json",
            .run = run},
    .method = "GET",
    .path = "/api/messages/%",
    .words = LEDGER_WORD,
    LEDGER_NEXT};

static const struct api_command api_undelivered = {.sub = {.name = "undelivered",
                                                           .summary = "who has not got a tracked message",
                                                           .about = "usage: crierctl undelivered ID [--user USER]",
                                                           .examples = "crierctl undelivered order-7/paid --every-page",
                                                           .run = run},
                                                   .method = "GET",
                                                   .path = "/api/messages/%/undelivered",
                                                   .words = LEDGER_WORD,
                                                   LEDGER_NEXT};

static const struct api_command api_retry = {
    .sub = {.name = "retry",
            .summary = "send a tracked message again to those who have not got it",
            .about = "usage: crierctl retry ID [--user USER]\n"
                     "Each is told what was done: delivered (nothing to do), sent, waiting, stored, offline.",
            .examples = "crierctl retry order-7/paid --every-page",
            .run = run},
    .method = "POST",
    .path = "/api/messages/%/retry",
    .words = LEDGER_WORD,
    LEDGER_NEXT};

static const struct api_command api_user = {
    .sub = {.name = "user",
            .summary = "where a user is connected, the devices, and how much is pending",
            .about = "usage: crierctl user USER",
            .examples = "crierctl user alice",
            .run = run},
    .method = "GET",
    .path = "/api/users/%",
    .words = BIT(WORD_USER)};

static const struct api_command api_inbox = {
    .sub = {.name = "inbox",
            .summary = "a user's stored messages: show them, or take them away",
            .about = "usage: crierctl inbox USER [--clear]\n"
                     "With --clear all are taken away; a device that had not read them is told of a gap.",
            .examples = "crierctl inbox alice --limit 10\ncrierctl inbox alice --clear",
            .run = run},
    .method = "GET",
    .path = "/api/users/%/inbox",
    .words = BIT(WORD_USER) | PAGES,
    .next = "cursor",
    .next_word = WORD_AFTER,
    .clear = "take all stored messages away"};

static const struct api_command api_addresses = {
    .sub = {.name = "addresses",
            .summary = "where the relay finds a user: show it, or say it anew",
            .about = "usage: crierctl addresses USER [--wecom ID] [--wechat OPENID] [--webhook URL] [--clear]\n"
                     "What is given takes the place of all that was there.",
            .examples = "crierctl addresses alice\ncrierctl addresses alice --wecom zhangsan\n"
                        "crierctl addresses alice --clear",
            .run = run},
    .path = "/api/users/%/addresses",
    .words = BIT(WORD_USER) | BIT(WORD_WECOM) | BIT(WORD_WECHAT) | BIT(WORD_WEBHOOK),
    .body = BIT(WORD_WECOM) | BIT(WORD_WECHAT) | BIT(WORD_WEBHOOK),
    .put = true,
    .clear = "take all addresses away"};

static const struct api_command api_disconnect = {
    .sub = {.name = "disconnect",
            .summary = "end a user's connections, on every node",
            .about = "usage: crierctl disconnect USER [--device NAME] [--reason TEXT]\n"
                     "They are closed with 4009. It says how many nodes were told.",
            .examples = "crierctl disconnect alice --device phone --reason 'lost phone'",
            .run = run},
    .method = "POST",
    .path = "/api/users/%/disconnect",
    .words = BIT(WORD_USER) | BIT(WORD_DEVICE) | BIT(WORD_REASON),
    .body = BIT(WORD_DEVICE) | BIT(WORD_REASON)};

static const struct api_command api_subscribe = {.sub = {.name = "subscribe",
                                                         .summary = "put a user's present connections into a room",
                                                         .about = "usage: crierctl subscribe USER ROOM [--device NAME]",
                                                         .examples = "crierctl subscribe alice news",
                                                         .run = run},
                                                 .method = "POST",
                                                 .path = "/api/rooms/%/subscribe",
                                                 .words = BIT(WORD_USER) | BIT(WORD_ROOM) | BIT(WORD_DEVICE),
                                                 .body = BIT(WORD_USER) | BIT(WORD_DEVICE)};

static const struct api_command api_unsubscribe = {
    .sub = {.name = "unsubscribe",
            .summary = "take a user's present connections out of a room",
            .about = "usage: crierctl unsubscribe USER ROOM [--device NAME]",
            .examples = "crierctl unsubscribe alice news --device phone",
            .run = run},
    .method = "POST",
    .path = "/api/rooms/%/unsubscribe",
    .words = BIT(WORD_USER) | BIT(WORD_ROOM) | BIT(WORD_DEVICE),
    .body = BIT(WORD_USER) | BIT(WORD_DEVICE)};

static const struct api_command api_rooms = {
    .sub = {.name = "rooms",
            .summary = "list the rooms that somebody is in, or that keep a history",
            .about = "usage: crierctl rooms",
            .examples = "crierctl rooms --every-page",
            .run = run},
    .method = "GET",
    .path = "/api/rooms",
    .words = PAGES,
    .next = "next",
    .next_word = WORD_AFTER};

static const struct api_command api_room = {.sub = {.name = "room",
                                                    .summary = "how many nodes, users and messages a room has",
                                                    .about = "usage: crierctl room ROOM",
                                                    .examples = "crierctl room news",
                                                    .run = run},
                                            .method = "GET",
                                            .path = "/api/rooms/%",
                                            .words = BIT(WORD_ROOM)};

static const struct api_command api_presence = {.sub = {.name = "presence",
                                                        .summary = "who is in a room (the broker's option presence)",
                                                        .about = "usage: crierctl presence ROOM",
                                                        .examples = "crierctl presence hall.1 --every-page",
                                                        .run = run},
                                                .method = "GET",
                                                .path = "/api/rooms/%/presence",
                                                .words = BIT(WORD_ROOM) | PAGES,
                                                .next = "next",
                                                .next_word = WORD_AFTER};

static const struct api_command api_history = {
    .sub = {.name = "history",
            .summary = "what was said in a room (the broker's option room-history)",
            .about = "usage: crierctl history ROOM [--limit N] [--before SEQ | --since SEQ]\n"
                     "The newest messages, the oldest of them first; pages go backwards, with --since forwards.",
            .examples = "crierctl history chat.1 --limit 20\ncrierctl history chat.1 --since 0 --every-page",
            .run = run},
    .method = "GET",
    .path = "/api/rooms/%/history",
    .words = BIT(WORD_ROOM) | BIT(WORD_LIMIT) | BIT(WORD_BEFORE) | BIT(WORD_SINCE),
    .next = "next",
    .next_word = WORD_BEFORE};

static const struct api_command api_stats = {.sub = {.name = "stats",
                                                     .summary = "the figures of the cluster and of each node",
                                                     .about = "usage: crierctl stats",
                                                     .examples = "crierctl stats --json",
                                                     .run = run},
                                             .method = "GET",
                                             .path = "/api/stats"};

const struct subcommand *const api_commands[] = {
    &api_message.sub,    &api_undelivered.sub, &api_retry.sub,       &api_user.sub,      &api_inbox.sub,
    &api_disconnect.sub, &api_subscribe.sub,   &api_unsubscribe.sub, &api_rooms.sub,     &api_room.sub,
    &api_presence.sub,   &api_history.sub,     &api_stats.sub,       &api_addresses.sub, NULL,
};
