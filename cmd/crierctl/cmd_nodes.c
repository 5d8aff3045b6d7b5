/*
 * cmd_nodes.c - crierctl nodes: the cluster as any of its nodes sees it, a line a node.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cmd/crierctl/http.h"
#include "cmd/crierctl/json_find.h"
#include "cmd/crierctl/opts.h"

enum { MAX_ROWS = 1024, CELL = 128 };

struct row {
    char name[CELL], address[CELL], version[32], since[32], ingest[8];
    uint64_t clients, users;
};

struct table {
    unsigned n;
    struct row v[MAX_ROWS];
};

static bool get(const struct server *s, struct link *l, const struct url *u, const char *path, struct http_reply *reply,
                enum ctl_exit *code)
{
    char err[512];
    http_reply_init(reply);
    if (!http_call(l, u, s, "GET", path, s->api_key, span_of(NULL, 0), reply, err, sizeof(err))) {
        *code = complain(CTL_NO_CONNECT, "%s", err);
        return false;
    }
    if (reply->status == 200) {
        return true;
    }
    http_error_text(reply, err, sizeof(err));
    const char *hint = reply->status == 401 ? "; give the API key with --api-key or CRIER_API_KEY" : "";
    *code = complain(CTL_REFUSED, "refused: %s%s", err, hint);
    return false;
}

/* How long ago, in the two largest units: "3d 4h", "5m 2s". */
static void ago(uint64_t since_ms, char *out, size_t cap)
{
    uint64_t now = (uint64_t)time(NULL), s = now > since_ms / 1000 ? now - since_ms / 1000 : 0;
    if (s >= 86400) {
        snprintf(out, cap, "%llud %lluh", (unsigned long long)(s / 86400), (unsigned long long)(s % 86400 / 3600));
    } else if (s >= 3600) {
        snprintf(out, cap, "%lluh %llum", (unsigned long long)(s / 3600), (unsigned long long)(s % 3600 / 60));
    } else {
        snprintf(out, cap, "%llum %llus", (unsigned long long)(s / 60), (unsigned long long)(s % 60));
    }
}

static bool begin_list(struct span body, struct json_reader *r)
{
    struct json_value nodes, open;
    if (!json_find(body, "nodes", &nodes)) {
        return false;
    }
    json_reader_init(r, nodes.raw, JSON_MAX_DEPTH);
    return json_next(r, &open) == JSON_T_OPEN_ARRAY;
}

static void get_text(struct span object, const char *name, char *out, size_t cap)
{
    if (!json_find_text(object, name, out, cap)) {
        snprintf(out, cap, "-");
    }
}

static uint64_t get_uint(struct span object, const char *name)
{
    uint64_t v = 0;
    return json_find_uint(object, name, &v) ? v : 0;
}

static bool read_nodes(struct span body, struct table *t)
{
    struct json_reader r;
    struct json_value one;
    if (!begin_list(body, &r)) {
        return false;
    }
    while (t->n < MAX_ROWS && json_element(&r, &one)) {
        struct row *row = &t->v[t->n];
        *row = (struct row){.clients = 0};
        if (!json_find_text(one.raw, "name", row->name, sizeof(row->name))) {
            return false;
        }
        get_text(one.raw, "address", row->address, sizeof(row->address));
        get_text(one.raw, "version", row->version, sizeof(row->version));
        ago(get_uint(one.raw, "since"), row->since, sizeof(row->since));
        snprintf(row->ingest, sizeof(row->ingest), "%s", json_find_true(one.raw, "ingest") ? "yes" : "-");
        t->n++;
    }
    return true;
}

/* The figures of GET /api/stats, to the rows of the same name. */
static void read_figures(struct span body, struct table *t)
{
    struct json_reader r;
    struct json_value one;
    char name[CELL];
    if (!begin_list(body, &r)) {
        return;
    }
    while (json_element(&r, &one)) {
        if (!json_find_text(one.raw, "name", name, sizeof(name))) {
            continue;
        }
        for (unsigned i = 0; i < t->n; i++) {
            if (strcmp(t->v[i].name, name) != 0) {
                continue;
            }
            t->v[i].clients = get_uint(one.raw, "clients");
            t->v[i].users = get_uint(one.raw, "users");
        }
    }
}

static int widest(const struct table *t, size_t offset, const char *title)
{
    size_t w = strlen(title);
    for (unsigned i = 0; i < t->n; i++) {
        size_t n = strlen((const char *)&t->v[i] + offset);
        w = n > w ? n : w;
    }
    return (int)w;
}

static void print_table(const struct table *t)
{
    int name = widest(t, offsetof(struct row, name), "NODE");
    int address = widest(t, offsetof(struct row, address), "ADDRESS");
    int since = widest(t, offsetof(struct row, since), "UP");
    int version = widest(t, offsetof(struct row, version), "VERSION");
    printf("%-*s  %-*s  %-*s  %-*s  %-6s  %7s  %7s\n", name, "NODE", address, "ADDRESS", since, "UP", version,
           "VERSION", "INGEST", "CLIENTS", "USERS");
    for (unsigned i = 0; i < t->n; i++) {
        const struct row *r = &t->v[i];
        printf("%-*s  %-*s  %-*s  %-*s  %-6s  %7llu  %7llu\n", name, r->name, address, r->address, since, r->since,
               version, r->version, r->ingest, (unsigned long long)r->clients, (unsigned long long)r->users);
    }
}

static enum ctl_exit show(const struct server *s, struct link *l, const struct url *u, bool json)
{
    struct http_reply nodes, stats;
    struct table *t = NULL;
    enum ctl_exit code = CTL_OK;
    bool good = get(s, l, u, "/api/nodes", &nodes, &code);
    if (good && json) {
        printf("%.*s\n", SPAN_ARG(buf_span(&nodes.body)));
    } else if (good && !(t = calloc(1, sizeof(*t)))) {
        code = complain(CTL_REFUSED, "out of memory");
    } else if (good && !read_nodes(buf_span(&nodes.body), t)) {
        code = complain(CTL_REFUSED, "the answer has no nodes: is that a Crier broker?");
    } else if (good) {
        if (get(s, l, u, "/api/stats", &stats, &code)) {
            read_figures(buf_span(&stats.body), t);
        }
        http_reply_fini(&stats);
        print_table(t);
    }
    free(t);
    http_reply_fini(&nodes);
    return code;
}

static enum ctl_exit run(const struct subcommand *self, int argc, char **argv)
{
    struct server server;
    bool json = false;
    char err[512];
    struct url url;
    struct link link;
    const struct opt opts[] = {
        {"json", OPT_FLAG, NULL, "print the server's answer as it came", &json},
    };
    switch (opts_parse(self, opts, ARRAY_LEN(opts), &server, argc, argv)) {
    case OPTS_HELP_SHOWN:
        return CTL_OK;
    case OPTS_WRONG:
        return CTL_USAGE;
    case OPTS_GO_ON:
        break;
    }
    if (!url_parse(server.url, &url, err, sizeof(err))) {
        return complain(CTL_USAGE, "%s", err);
    }
    if (!link_open(&link, &url, &server, err, sizeof(err))) {
        return complain(CTL_NO_CONNECT, "%s", err);
    }
    enum ctl_exit code = show(&server, &link, &url, json);
    link_close(&link);
    return code;
}

const struct subcommand cmd_nodes = {
    .name = "nodes",
    .summary = "list the nodes of the cluster, as every one of them sees it",
    .about = "usage: crierctl nodes [--json]",
    .run = run,
};
