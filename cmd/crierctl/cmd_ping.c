/*
 * cmd_ping.c - crierctl ping: is the server alive, and ready to serve; how long an answer takes.
 */
#include <stdio.h>

#include "cmd/crierctl/http.h"
#include "cmd/crierctl/opts.h"
#include "core/clock.h"

/* One GET on the open link, one line about it. */
static enum ctl_exit ask(struct link *l, const struct url *u, const struct server *s, const char *path)
{
    char err[512];
    struct http_reply reply;
    http_reply_init(&reply);
    uint64_t start = clock_mono_us();
    enum ctl_exit code = CTL_OK;
    if (!http_call(l, u, s, "GET", path, s->api_key, span_str(NULL), &reply, err, sizeof(err))) {
        code = complain(CTL_NO_CONNECT, "%s: %s", path, err);
    } else {
        double ms = (double)(clock_mono_us() - start) / 1000;
        bool fine = reply.status == 200;
        printf("%-8s %-9s %.2f ms\n", path + 1, fine ? "ok" : "not ok", ms);
        if (!fine) {
            http_error_text(&reply, err, sizeof(err));
            code = complain(CTL_REFUSED, "%s: %s", path, err);
        }
    }
    http_reply_fini(&reply);
    return code;
}

static enum ctl_exit run(const struct subcommand *self, int argc, char **argv)
{
    struct server s;
    struct url url;
    struct link link;
    char err[512];
    enum ctl_exit code;
    if (!opts_read(self, NULL, 0, &s, argc, argv, &code))
        return code;
    if (!url_parse(s.url, &url, err, sizeof(err))) {
        return complain(CTL_USAGE, "%s", err);
    }
    uint64_t start = clock_mono_us();
    if (!link_open(&link, &url, &s, err, sizeof(err))) {
        return complain(CTL_NO_CONNECT, "%s", err);
    }
    printf("%-8s %-9s %.2f ms  %s port %s%s\n", "connect", "ok", (double)(clock_mono_us() - start) / 1000, url.host,
           url.port, url.tls ? ", TLS" : "");
    code = ask(&link, &url, &s, "/healthz");
    if (code != CTL_NO_CONNECT) {
        enum ctl_exit ready = ask(&link, &url, &s, "/readyz");
        code = code == CTL_OK ? ready : code;
    }
    link_close(&link);
    return code;
}

const struct subcommand cmd_ping = {
    .name = "ping",
    .summary = "is the broker alive (/healthz) and ready (/readyz), and how quickly it answers",
    .about = "usage: crierctl ping [--url URL]",
    .examples = "crierctl ping --url https://push.example.org",
    .run = run,
};

const struct subcommand cmd_health = {
    .name = "health",
    .summary = "the same as ping; for scripts that wait: it ends with 0 when the broker can serve",
    .about = "usage: crierctl health [--url URL]",
    .examples = "until crierctl health --timeout 1; do sleep 1; done",
    .run = run,
};
