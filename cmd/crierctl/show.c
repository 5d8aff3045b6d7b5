/*
 * show.c - see show.h. Everything a server sent is made safe for a terminal first (json_append_plain, json_find_text).
 */
#include "cmd/crierctl/show.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cmd/crierctl/json_find.h"

enum { MAX_LINE = 64 * 1024 * 1024 };

void show_init(struct show *s, bool json)
{
    const char *term = getenv("TERM");
    s->json = json;
    s->colour = !json && isatty(STDOUT_FILENO) && !getenv("NO_COLOR") && !(term && !strcmp(term, "dumb"));
}

static const char *ink(const struct show *s, const char *code)
{
    return s->colour ? code : "";
}

static void clock_text(uint64_t ms, char out[16])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    if (!localtime_r(&t, &tm) || strftime(out, 16, "%H:%M:%S", &tm) == 0) {
        snprintf(out, 16, "--:--:--");
    }
}

static void print_data(struct span message)
{
    struct json_value data;
    struct buf line;
    buf_init(&line, MAX_LINE);
    if (json_find(message, "data", &data) && json_append_plain(&line, data.raw)) {
        fwrite(line.data, 1, line.len, stdout);
    }
    buf_fini(&line);
}

static void print_pretty(const struct show *s, struct span message)
{
    char when[16], room[160] = "", from[160], event[160];
    uint64_t ts = 0, seq = 0;
    (void)!json_find_uint(message, "ts", &ts);
    clock_text(ts, when);
    bool in_room = json_find_text(message, "room", room, sizeof(room));
    const char *where = in_room ? room : json_find_true(message, "all") ? "everyone" : "to you";
    printf("%s%s%s %s%s%s%s", ink(s, "\033[2m"), when, ink(s, "\033[0m"), ink(s, in_room ? "\033[36m" : "\033[32m"),
           in_room ? "#" : "", where, ink(s, "\033[0m"));
    if (json_find_text(message, "from", from, sizeof(from))) {
        printf(" %s<%s>%s", ink(s, "\033[33m"), from, ink(s, "\033[0m"));
    }
    if (json_find_text(message, "event", event, sizeof(event))) {
        printf(" %s%s%s", ink(s, "\033[35m"), event, ink(s, "\033[0m"));
    }
    putchar(' ');
    print_data(message);
    if (json_find_uint(message, "seq", &seq)) {
        printf(" %sseq %llu%s", ink(s, "\033[2m"), (unsigned long long)seq, ink(s, "\033[0m"));
    }
    putchar('\n');
}

void show_message(const struct show *s, struct span message)
{
    struct buf line;
    if (s->json) {
        buf_init(&line, MAX_LINE);
        if (json_append_plain(&line, message) && buf_append_byte(&line, '\n')) {
            fwrite(line.data, 1, line.len, stdout);
        }
        buf_fini(&line);
    } else {
        print_pretty(s, message);
    }
    fflush(stdout);
}

void show_note(const struct show *s, const char *fmt, ...)
{
    va_list args;
    bool colour = s->colour && isatty(STDERR_FILENO);
    va_start(args, fmt);
    fputs(colour ? "\033[2m* " : "* ", stderr);
    vfprintf(stderr, fmt, args);
    fputs(colour ? "\033[0m\n" : "\n", stderr);
    va_end(args);
}
