/*
 * cmd_nodes.c - crierctl nodes: the cluster as any of its nodes sees it, a line a node.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cmd/crierctl/api.h"
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

static enum ctl_exit get(struct api *a, const char *path, struct http_reply *reply)
{
    return api_call(a, "GET", path, span_of(NULL, 0), reply);
}

static enum ctl_exit show(struct api *a, bool json)
{
    struct http_reply nodes, stats;
    struct table *t = NULL;
    http_reply_init(&nodes);
    http_reply_init(&stats);
    enum ctl_exit code = get(a, "/api/nodes", &nodes);
    bool good = code == CTL_OK;
    if (good && json) {
        api_print_raw(&nodes);
    } else if (good && !(t = calloc(1, sizeof(*t)))) {
        code = complain(CTL_REFUSED, "out of memory");
    } else if (good && !read_nodes(buf_span(&nodes.body), t)) {
        code = complain(CTL_REFUSED, "the answer has no nodes: is that a Crier broker?");
    } else if (good) {
        code = get(a, "/api/stats", &stats);
        if (code == CTL_OK) {
            read_figures(buf_span(&stats.body), t);
        }
        print_table(t);
    }
    free(t);
    http_reply_fini(&stats);
    http_reply_fini(&nodes);
    return code;
}

static enum ctl_exit run(const struct subcommand *self, int argc, char **argv)
{
    struct server server;
    bool json = false;
    struct api api;
    const struct opt opts[] = {
        {"json", OPT_FLAG, NULL, "print the server's answer as it came", &json},
    };
    enum ctl_exit code;
    if (!opts_read(self, opts, ARRAY_LEN(opts), &server, argc, argv, &code))
        return code;
    if (!api_init(&api, &server)) {
        return CTL_USAGE;
    }
    code = show(&api, json);
    api_fini(&api);
    return code;
}

const struct subcommand cmd_nodes = {
    .name = "nodes",
    .summary = "list the nodes of the cluster, as every one of them sees it",
    .about = "usage: crierctl nodes [--json]",
    .examples = "crierctl nodes\ncrierctl nodes --json",
    .run = run,
};
