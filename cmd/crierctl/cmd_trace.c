/*
 * cmd_trace.c - crierctl trace: the way of one tracked message, as its ledger has it: where and when it was stored for
 * each recipient, and when each device was written to and acknowledged it.
 *
 * Idea: the answer comes in pages of recipients; each is drawn as soon as it is there and nothing is kept, so a message
 * to many users costs no memory. Times are local, and behind each the milliseconds since the message was stored.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cmd/crierctl/api.h"
#include "cmd/crierctl/json_find.h"
#include "cmd/crierctl/opts.h"
#include "cmd/crierctl/show.h"

enum { NAME = 1024, WORD = 64, MAX_PATH = 8192 };

struct trace {
    struct server server;
    const char *id;
    bool undelivered, json;
    struct show show;
    struct api api;
    unsigned recipients;
};

static const char *ink(const struct trace *t, const char *code)
{
    return t->show.colour ? code : "";
}

static const char *ink_of_state(const struct trace *t, const char *state)
{
    static const struct {
        const char *state, *code;
    } inks[] = {{"acked", "\033[32m"},   {"relayed", "\033[34m"}, {"written", "\033[33m"}, {"queued", "\033[36m"},
                {"expired", "\033[31m"}, {"dropped", "\033[31m"}, {"unknown", "\033[35m"}};
    for (size_t i = 0; i < ARRAY_LEN(inks); i++) {
        if (!strcmp(state, inks[i].state)) {
            return ink(t, inks[i].code);
        }
    }
    return "";
}

/* ---- lines ---- */

static uint64_t get_uint(struct span object, const char *name)
{
    uint64_t v = 0;
    return json_find_uint(object, name, &v) ? v : 0;
}

static void get_text(struct span object, const char *name, char *out, size_t cap)
{
    if (!json_find_text(object, name, out, cap)) {
        snprintf(out, cap, "?");
    }
}

static void print_clock(uint64_t ms)
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char text[32];
    if (!localtime_r(&s, &tm) || strftime(text, sizeof(text), "%F %T", &tm) == 0) {
        snprintf(text, sizeof(text), "?");
    }
    printf("%s.%03u", text, (unsigned)(ms % 1000));
}

/* One step: when, how long after it was stored, what. The line goes on behind it; nothing is printed for no time. */
static bool step(const struct trace *t, const char *indent, uint64_t ms, uint64_t from_ms, const char *what)
{
    if (!ms) {
        return false;
    }
    fputs(indent, stdout);
    fputs(ink(t, "\033[2m"), stdout);
    print_clock(ms);
    if (ms >= from_ms) {
        printf(" %+8lld ms", (long long)(ms - from_ms));
    } else {
        printf(" %+8lld ms", -(long long)(from_ms - ms));
    }
    printf("%s  %-8s", ink(t, "\033[0m"), what);
    return true;
}

static void print_device(const struct trace *t, struct span d, uint64_t from_ms)
{
    static const char indent[] = "  |    ";
    char name[NAME], state[WORD], node[NAME], reason[WORD];
    uint64_t times = get_uint(d, "times");
    get_text(d, "device", name, sizeof(name));
    get_text(d, "state", state, sizeof(state));
    get_text(d, "node", node, sizeof(node));
    get_text(d, "reason", reason, sizeof(reason));
    printf("  +- device %s  %s%s%s\n", name, ink_of_state(t, state), state, ink(t, "\033[0m"));
    if (step(t, indent, get_uint(d, "arrived"), from_ms, "arrived")) {
        printf("  at node %s, shard %llu\n", node, (unsigned long long)get_uint(d, "shard"));
    }
    if (step(t, indent, get_uint(d, "written"), from_ms, "written")) {
        if (times > 1) {
            printf("  for the %lluth time", (unsigned long long)times);
        }
        putchar('\n');
    }
    if (step(t, indent, get_uint(d, "acked"), from_ms, "acked")) {
        putchar('\n');
    }
    if (step(t, indent, get_uint(d, "dropped"), from_ms, "dropped")) {
        printf("  %s\n", reason);
    }
}

/* Calls fn for each element of the member `name`, an array; returns how many there were. */
static unsigned each(const struct trace *t, struct span object, const char *name, uint64_t from_ms,
                     void (*fn)(const struct trace *, struct span, uint64_t))
{
    struct json_reader r;
    struct json_value list, one;
    unsigned n = 0;
    if (!json_find(object, name, &list)) {
        return 0;
    }
    json_reader_init(&r, list.raw, JSON_MAX_DEPTH);
    if (json_next(&r, &one) != JSON_T_OPEN_ARRAY) {
        return 0;
    }
    for (; json_element(&r, &one); n++) {
        fn(t, one.raw, from_ms);
    }
    return n;
}

static void print_drop(const struct trace *t, struct span d, uint64_t from_ms)
{
    char reason[WORD];
    uint64_t at = get_uint(d, "at"), count = get_uint(d, "count");
    get_text(d, "reason", reason, sizeof(reason));
    if (!step(t, "  |  ", at, from_ms, "dropped")) {
        printf("  |  %-34s  %-8s", "", "dropped");
    }
    printf("  %s", reason);
    if (count > 1) {
        printf(", %llu times", (unsigned long long)count);
    }
    putchar('\n');
}

static void print_relay(const struct trace *t, struct span d, uint64_t from_ms)
{
    char channel[WORD], state[WORD], detail[NAME];
    uint64_t attempts = get_uint(d, "attempts");
    get_text(d, "channel", channel, sizeof(channel));
    get_text(d, "state", state, sizeof(state));
    get_text(d, "detail", detail, sizeof(detail));
    if (step(t, "  |  ", get_uint(d, "at"), from_ms, "relay")) {
        printf("  by %s: %s, %s", channel, state, detail);
        if (attempts > 1) {
            printf(", attempt %llu", (unsigned long long)attempts);
        }
        putchar('\n');
    }
}

/* ---- a recipient ---- */

static void print_stored(const struct trace *t, struct span r, uint64_t queued_ms)
{
    static const char indent[] = "  |  ";
    char node[NAME];
    struct json_value shown;
    uint64_t seq = get_uint(r, "seq"), attempts = get_uint(r, "attempts"), online = get_uint(r, "online");
    get_text(r, "node", node, sizeof(node));
    bool by_backend = !strcmp(node, "-");
    if (step(t, indent, queued_ms, queued_ms, seq ? "stored" : "sent")) {
        printf("  by %s%s", by_backend ? "a backend" : "node ", by_backend ? "" : node);
        if (seq) {
            printf(", seq %llu", (unsigned long long)seq);
        }
        if (json_find(r, "online", &shown)) {
            printf(", shown to %llu node%s", (unsigned long long)online, online == 1 ? "" : "s");
        }
        putchar('\n');
    }
    if (step(t, indent, get_uint(r, "retried"), queued_ms, "retried")) {
        printf("  attempt %llu\n", (unsigned long long)attempts);
    }
}

static void print_name(const struct trace *t, struct span r)
{
    char name[NAME], state[WORD];
    get_text(r, "state", state, sizeof(state));
    if (json_find_text(r, "user", name, sizeof(name))) {
        printf("user %s", name);
    } else if (json_find_text(r, "room", name, sizeof(name))) {
        printf("room %s", name);
    } else {
        fputs("everyone", stdout);
    }
    printf("  %s%s%s\n", ink_of_state(t, state), state, ink(t, "\033[0m"));
}

static void print_recipient(const struct trace *t, struct span r, uint64_t unused)
{
    (void)unused;
    static const char indent[] = "  |  ";
    uint64_t queued_ms = get_uint(r, "queued");
    struct json_value devices, escalate;
    print_name(t, r);
    print_stored(t, r, queued_ms);
    if (!json_find(r, "devices", &devices)) { /* a room or everyone: counts alone */
        if (step(t, indent, get_uint(r, "last"), queued_ms, "written")) {
            printf("  to %llu connections, this was the last\n", (unsigned long long)get_uint(r, "written"));
        }
    } else if (each(t, r, "devices", queued_ms, print_device) == 0) {
        printf("  |  no device has been seen\n");
    }
    (void)each(t, r, "dropped", queued_ms, print_drop);
    if (json_find(r, "escalate", &escalate) && step(t, indent, get_uint(escalate.raw, "at"), queued_ms, "escalate")) {
        putchar('\n');
    }
    (void)each(t, r, "relayed", queued_ms, print_relay);
    if (step(t, indent, get_uint(r, "expired"), queued_ms, "expired") ||
        step(t, indent, get_uint(r, "expires"), queued_ms, "expires")) {
        putchar('\n');
    }
}

/* ---- pages ---- */

static bool page_path(const struct trace *t, const char *after, struct buf *out)
{
    return buf_append_str(out, "/api/messages/") && append_escaped(out, t->id) &&
           buf_append_str(out, t->undelivered ? "/undelivered" : "") &&
           (!*after || (buf_append_str(out, "?after=") && append_escaped(out, after))) && buf_append_byte(out, '\0');
}

static void print_page(struct trace *t, const struct http_reply *reply)
{
    if (t->json) {
        api_print_raw(reply);
    } else {
        t->recipients += each(t, buf_span(&reply->body), "recipients", 0, print_recipient);
    }
}

/* after: in, where the page begins, NAME bytes; out: where the next one does, "" when there is none. */
static enum ctl_exit one_page(struct trace *t, char *after)
{
    struct http_reply reply;
    struct buf path;
    enum ctl_exit code;
    http_reply_init(&reply);
    buf_init(&path, MAX_PATH);
    if (!page_path(t, after, &path)) {
        code = complain(CTL_USAGE, "the id is too long");
    } else {
        code = api_call(&t->api, "GET", (const char *)path.data, span_of(NULL, 0), &reply);
    }
    if (code == CTL_OK) {
        struct span body = buf_span(&reply.body);
        print_page(t, &reply);
        if (!json_find_true(body, "more") || !json_find_text(body, "cursor", after, NAME)) {
            *after = '\0';
        }
    }
    buf_fini(&path);
    http_reply_fini(&reply);
    return code;
}

static enum ctl_exit all_pages(struct trace *t)
{
    char after[NAME] = "";
    enum ctl_exit code;
    do {
        code = one_page(t, after);
    } while (code == CTL_OK && *after);
    if (code == CTL_OK && !t->json && !t->recipients) {
        puts(t->undelivered ? "everybody has got it" : "it had no recipients");
    }
    return code;
}

static enum ctl_exit run(const struct subcommand *self, int argc, char **argv)
{
    struct trace t = {.id = NULL};
    const struct opt opts[] = {
        {"undelivered", OPT_FLAG, NULL, "only who has not got it", &t.undelivered},
        {"json", OPT_FLAG, NULL, "print the server's answer as it came, a line a page", &t.json},
    };
    if (argc > 0 && argv[0][0] != '-') {
        t.id = argv[0];
        argc--;
        argv++;
    }
    enum ctl_exit code;
    if (!opts_read(self, opts, ARRAY_LEN(opts), &t.server, argc, argv, &code))
        return code;
    if (!t.id || !*t.id) {
        return complain(CTL_USAGE, "trace wants the message's id: crierctl trace ID");
    }
    if (!api_init(&t.api, &t.server)) {
        return CTL_USAGE;
    }
    show_init(&t.show, t.json);
    code = all_pages(&t);
    api_fini(&t.api);
    return code;
}

const struct subcommand cmd_trace = {
    .name = "trace",
    .summary = "draw the way of one tracked message: stored, arrived, written, acknowledged",
    .about = "usage: crierctl trace ID [--undelivered] [--json]\n"
             "The message has to be sent with \"track\": true.",
    .examples = "crierctl trace order-7/paid\ncrierctl trace order-7/paid --undelivered",
    .run = run,
};
