/*
 * cmd_batch.c - crierctl batch: messages from a file or standard input, one JSON object a line, as calls of
 * POST /api/push/batch. Lines are sent in their order, a batch at a time, so what comes later is not overtaken.
 *
 * A line that is refused is told with its number and costs the others nothing. What the broker is too busy for is sent
 * again (--retries), the lines that had got in already as well: those with an id are then one message. Progress goes to
 * standard error, every tenth of a second at most.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/crierctl/api.h"
#include "cmd/crierctl/json_find.h"
#include "cmd/crierctl/opts.h"
#include "core/clock.h"

enum { MAX_LINE = 4 * 1024 * 1024, MAX_BODY = 8 * 1024 * 1024, MOST = 1000, PROGRESS_MS = 100, RETRIES = 10 };

struct batch {
    struct server server;
    struct api api;
    const char *file;
    uint64_t size, retries;
    bool json, quiet, progress;
    FILE *in;
    uint64_t line;          /* read so far */
    uint64_t kept, refused; /* messages */
    uint64_t began_ms, told_ms;
    unsigned n;           /* messages in `body` */
    uint64_t lines[MOST]; /* where each of them was */
    struct buf body;
};

static void tell(struct batch *b, bool last)
{
    uint64_t now = clock_mono_ms();
    if (!b->progress || (!last && now - b->told_ms < PROGRESS_MS)) {
        return;
    }
    b->told_ms = now;
    double s = (double)(now - b->began_ms) / 1000;
    double rate = s > 0 ? (double)(b->kept + b->refused) / s : 0;
    fprintf(stderr, "\r%llu sent, %llu refused, %.1f s, %.0f/s ", (unsigned long long)(b->kept + b->refused),
            (unsigned long long)b->refused, s, rate);
    if (last) {
        fputc('\n', stderr);
    }
}

static void refuse(struct batch *b, uint64_t line, struct span error)
{
    char code[64] = "error", text[512] = "";
    (void)!json_find_text(error, "code", code, sizeof(code));
    (void)!json_find_text(error, "message", text, sizeof(text));
    b->refused++;
    if (b->progress) {
        fputc('\n', stderr);
    }
    complain(CTL_REFUSED, "line %llu: %s: %s", (unsigned long long)line, code, text);
}

/* One message's entry: refused as a whole, or for some of its targets, or kept. */
static void judge(struct batch *b, unsigned i, struct span entry)
{
    struct json_value error, results, one;
    struct json_reader r;
    if (json_find(entry, "error", &error)) {
        refuse(b, b->lines[i], error.raw);
        return;
    }
    if (json_find(entry, "results", &results)) {
        json_reader_init(&r, results.raw, JSON_MAX_DEPTH);
        bool list = json_next(&r, &one) == JSON_T_OPEN_ARRAY;
        while (list && json_element(&r, &one)) {
            if (json_find(one.raw, "error", &error)) {
                refuse(b, b->lines[i], error.raw);
                return;
            }
        }
    }
    b->kept++;
}

static enum ctl_exit read_answer(struct batch *b, const struct http_reply *reply)
{
    struct json_value results, one;
    struct json_reader r;
    unsigned i = 0;
    if (json_find(buf_span(&reply->body), "results", &results)) {
        json_reader_init(&r, results.raw, JSON_MAX_DEPTH);
        bool list = json_next(&r, &one) == JSON_T_OPEN_ARRAY;
        while (list && i < b->n && json_element(&r, &one)) {
            judge(b, i++, one.raw);
            if (b->json) {
                printf("%.*s\n", SPAN_ARG(one.raw));
            }
        }
    }
    return i == b->n ? CTL_OK
                     : complain(CTL_REFUSED, "the answer has not a result for each message: is that a Crier broker?");
}

static enum ctl_exit flush(struct batch *b)
{
    struct http_reply reply;
    char unknown[128];
    if (b->n == 0) {
        return CTL_OK;
    }
    snprintf(unknown, sizeof(unknown),
             "whether lines %llu to %llu were taken is not known: those with an id can be sent again",
             (unsigned long long)b->lines[0], (unsigned long long)b->lines[b->n - 1]);
    http_reply_init(&reply);
    enum ctl_exit code = CTL_REFUSED;
    if (!buf_append_byte(&b->body, ']')) {
        complain(CTL_REFUSED, "out of memory");
    } else {
        code = api_send_patiently(&b->api, "POST", "/api/push/batch", buf_span(&b->body), unknown, b->retries, &reply);
    }
    if (code == CTL_OK) {
        code = read_answer(b, &reply);
    }
    http_reply_fini(&reply);
    b->body.len = 0;
    b->n = 0;
    tell(b, false);
    return code;
}

static enum ctl_exit add(struct batch *b, struct span line)
{
    struct json_value v;
    if (json_parse(line, JSON_MAX_DEPTH, &v) != JSON_OK || v.kind != JSON_OBJECT) {
        b->refused++;
        complain(CTL_REFUSED, "line %llu is no JSON object", (unsigned long long)b->line);
        return CTL_OK;
    }
    enum ctl_exit code = CTL_OK;
    if (b->n == b->size || b->body.len + v.raw.n + 2 > MAX_BODY) {
        code = flush(b);
    }
    if (code == CTL_OK && !(buf_append_byte(&b->body, b->n ? ',' : '[') && buf_append_span(&b->body, v.raw))) {
        code = complain(CTL_REFUSED, "line %llu: out of memory, or more than 8 MiB", (unsigned long long)b->line);
    }
    b->lines[b->n++] = b->line;
    return code;
}

static bool blank(struct span s)
{
    size_t i = 0;
    while (i < s.n && (s.p[i] == ' ' || s.p[i] == '\t' || s.p[i] == '\r' || s.p[i] == '\n')) {
        i++;
    }
    return i == s.n;
}

static enum ctl_exit send_all(struct batch *b)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    enum ctl_exit code = CTL_OK;
    while (code == CTL_OK && (n = getline(&line, &cap, b->in)) >= 0) {
        b->line++;
        if (n > MAX_LINE) {
            code = complain(CTL_USAGE, "line %llu is longer than 4 MiB", (unsigned long long)b->line);
        } else if (!blank(span_of(line, (size_t)n))) {
            code = add(b, span_of(line, (size_t)n));
        }
    }
    free(line);
    return code == CTL_OK ? flush(b) : code;
}

static enum ctl_exit work(struct batch *b)
{
    b->progress = !b->quiet && isatty(STDERR_FILENO);
    b->began_ms = clock_mono_ms();
    buf_init(&b->body, MAX_BODY + MAX_LINE);
    enum ctl_exit code = send_all(b);
    tell(b, true);
    buf_fini(&b->body);
    if (!b->json) {
        printf("%llu kept, %llu refused, %.2f s\n", (unsigned long long)b->kept, (unsigned long long)b->refused,
               (double)(clock_mono_ms() - b->began_ms) / 1000);
    }
    return code == CTL_OK && b->refused ? CTL_REFUSED : code;
}

static enum ctl_exit run(const struct subcommand *self, int argc, char **argv)
{
    struct batch b = {.size = 200, .retries = RETRIES, .in = stdin};
    const struct opt opts[] = {
        {"file", OPT_ARG_MAYBE, "FILE", "JSON lines; left out, or -: standard input", &b.file},
        {"size", OPT_NUMBER, "N", "messages a call, 1 to 1000 (200)", &b.size},
        {"retries", OPT_NUMBER, "N", "how often a call is made again when the broker is too busy (10)", &b.retries},
        {"quiet", OPT_FLAG, NULL, "no progress on a terminal", &b.quiet},
        {"json", OPT_FLAG, NULL, "print the result of each message, one a line", &b.json},
    };
    enum ctl_exit code;
    if (!opts_read(self, opts, ARRAY_LEN(opts), &b.server, argc, argv, &code))
        return code;
    if (b.size < 1 || b.size > MOST) {
        return complain(CTL_USAGE, "--size wants 1 to %d", MOST);
    }
    if (b.file && strcmp(b.file, "-") != 0 && !(b.in = fopen(b.file, "r"))) {
        return complain(CTL_USAGE, "%s: %s", b.file, strerror(errno));
    }
    code = CTL_USAGE;
    if (api_init(&b.api, &b.server)) {
        code = work(&b);
        api_fini(&b.api);
    }
    if (b.in != stdin) {
        fclose(b.in);
    }
    return code;
}

const struct subcommand cmd_batch = {
    .name = "batch",
    .summary = "send many messages, one JSON object a line",
    .about = "usage: crierctl batch [FILE]\n"
             "Each line is what POST /api/push takes: {\"user\":\"alice\",\"data\":1,\"id\":\"a\"}. Lines are sent in "
             "order; one\n"
             "that is refused is told with its number, and the others go on.",
    .examples = "crierctl batch messages.jsonl\n"
                "jq -c '{user, data: .text, id}' people.json | crierctl batch --json",
    .run = run,
};
