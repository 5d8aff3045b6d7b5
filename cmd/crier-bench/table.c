/*
 * table.c - reads result lines (flat JSON this program wrote) and prints them for people: per scenario the ratios
 * first, each formed within one round and then the median taken, because the machine's speed moves between rounds and
 * the ratio does not; then the medians themselves. Columns and ratios are tables below: a new measurement is a new line
 * there.
 */
#include "table.h"

#include "core/base.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ROWS_MAX   1024
#define FIELDS     9
#define LINE_BYTES 32768

struct column {
    const char *key, *title;
    double scale;
    int decimals;
};

struct kind {
    const char *bench;
    const char *ratio_key;
    struct column columns[FIELDS];
};

static const struct kind KINDS[] = {
    {"fanout",
     "cpu_us_per_delivery",
     {{"cpu_us_per_delivery", "CPU-us/delivery", 1, 3},
      {"cpu_user_share", "in user space, %", 100, 0},
      {"deliveries_per_s", "deliveries/s", 1, 0},
      {"server_cores", "server cores", 1, 2},
      {"deliveries_per_read", "deliveries/read", 1, 1},
      {"p50_us", "p50 ms", 1e-3, 2},
      {"p99_us", "p99 ms", 1e-3, 2},
      {"lost", "lost", 1, 0},
      {"duplicates", "twice", 1, 0}}},
    {"unicast",
     "cpu_us_per_delivery",
     {{"cpu_us_per_delivery", "CPU-us/delivery", 1, 2},
      {"cpu_user_share", "in user space, %", 100, 0},
      {"deliveries_per_s", "deliveries/s", 1, 0},
      {"other_cpu_us_per_message", "Redis us/message", 1, 2},
      {"p50_us", "p50 ms", 1e-3, 2},
      {"p99_us", "p99 ms", 1e-3, 2},
      {"lost", "lost", 1, 0},
      {"duplicates", "twice", 1, 0}}},
    {"sse",
     "cpu_us_per_delivery",
     {{"cpu_us_per_delivery", "CPU-us/delivery", 1, 3},
      {"cpu_user_share", "in user space, %", 100, 0},
      {"deliveries_per_s", "deliveries/s", 1, 0},
      {"deliveries_per_read", "deliveries/read", 1, 1},
      {"p50_us", "p50 ms", 1e-3, 2},
      {"p99_us", "p99 ms", 1e-3, 2},
      {"lost", "lost", 1, 0},
      {"duplicates", "twice", 1, 0}}},
    {"longpoll",
     "cpu_us_per_delivery",
     {{"cpu_us_per_delivery", "CPU-us/delivery", 1, 2},
      {"deliveries_per_s", "deliveries/s", 1, 0},
      {"other_cpu_us_per_message", "Redis us/message", 1, 2},
      {"p50_us", "p50 ms", 1e-3, 2},
      {"p99_us", "p99 ms", 1e-3, 2},
      {"lost", "lost", 1, 0},
      {"duplicates", "twice", 1, 0}}},
    {"poll",
     "cpu_us_per_poll",
     {{"cpu_us_per_poll", "CPU-us/empty poll", 1, 2},
      {"polls_per_s", "polls/s", 1, 0},
      {"bytes_per_answer", "bytes/answer", 1, 0}}},
    {"idle", "pss_per_conn", {{"pss_per_conn", "KiB/connection", 1.0 / 1024, 2}}},
    {"heartbeats", "server_cores", {{"server_cores", "% of a core", 100, 3}, {"wakeups_per_s", "wake-ups/s", 1, 0}}},
    {"still", "wakeups_per_s", {{"wakeups_per_s", "wake-ups/s", 1, 2}, {"server_cores", "% of a core", 100, 4}}},
    {"handshake",
     "cpu_us_per_connect",
     {{"cpu_us_per_connect", "CPU-us/handshake", 1, 1},
      {"connects_per_s", "handshakes/s", 1, 0},
      {"resumed", "resumed", 1, 0}}},
    {"connect",
     "cpu_us_per_connect",
     {{"cpu_us_per_connect", "CPU-us/connect", 1, 1}, {"connects_per_s", "connects/s", 1, 0}}},
    {"costs",
     "cpu_us",
     {{"cpu_us", "broker CPU-us", 1, 2},
      {"redis_us", "Redis CPU-us", 1, 2},
      {"bytes", "bytes in Redis", 1, 0},
      {"ms", "all, ms", 1, 0}}},
    {"churn",
     "memory_ratio",
     {{"connects", "connects and disconnects", 1, 0},
      {"anon_before", "MiB before", 1.0 / 1048576, 2},
      {"anon_after", "MiB after", 1.0 / 1048576, 2},
      {"memory_ratio", "after/before", 1, 3},
      {"cpu_us_first", "CPU-us/connect, first", 1, 1},
      {"cpu_us_last", "last", 1, 1},
      {"cpu_ratio", "last/first", 1, 3}}},
};

static const struct {
    const char *over, *under;
} RATIOS[] = {
    {"crier", "floor joined"},                   //
    {"crier", "floor send"},                     //
    {"crier by aio", "floor send"},              //
    {"crier, a send each", "floor send"},        //
    {"crier", "floor uring"},                    //
    {"crier", "floor beat"},                     //
    {"crier TLS", "floor TLS"},                  //
    {"crier", "OpenSSL alone"},                  //
    {"crier", "floor TLS"},                      //
    {"crier resumed", "OpenSSL alone resumed"},  //
    {"crier resumed", "crier"},                  //
    {"crier stored", "floor send"},              //
    {"crier stored by aio", "floor send"},       //
    {"crier stored, a send each", "floor send"}, //
    {"crier stored by call", "floor send"},      //
    {"nchan", "crier"},                          //
    {"crier TLS", "crier"},                      //
    {"nchan TLS", "crier TLS"},                  //
    {"nchan resumed", "crier resumed"},          //
};

struct row {
    const struct kind *kind;
    char label[40];
    char tls[8], key_kind[16]; /* version and key, where they make a scenario of its own */
    unsigned subs, rate, round;
    double ratio_value;
    double field[FIELDS];
    bool printed;
};

struct table {
    struct row *rows;
    unsigned n;
    bool markdown;
};

/* ---- reading ---- */

static const char *value_of(const char *line, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *p = strstr(line, quoted);
    return p ? p + strlen(quoted) : NULL;
}

static double number_of(const char *line, const char *key)
{
    const char *p = value_of(line, key);
    return p ? strtod(p, NULL) : NAN;
}

static void text_of(const char *line, const char *key, char *out, size_t n)
{
    const char *p = value_of(line, key);
    size_t len = p && *p == '"' ? strcspn(p + 1, "\"") : 0;
    snprintf(out, n, "%.*s", (int)len, len ? p + 1 : "");
}

static void read_row(struct table *t, const char *line)
{
    char bench[24];
    struct row *r = &t->rows[t->n];
    *r = (struct row){0};
    text_of(line, "bench", bench, sizeof bench);
    for (size_t i = 0; i < ARRAY_LEN(KINDS); i++)
        if (strcmp(bench, KINDS[i].bench) == 0)
            r->kind = &KINDS[i];
    if (!r->kind)
        return;
    text_of(line, "label", r->label, sizeof r->label);
    if (strcmp(bench, "handshake") == 0) {
        text_of(line, "tls", r->tls, sizeof r->tls);
        text_of(line, "key_kind", r->key_kind, sizeof r->key_kind);
    }
    double rate = number_of(line, "rate");
    r->subs = (unsigned)number_of(line, "subs");
    r->round = (unsigned)number_of(line, "round");
    r->rate = isnan(rate) ? 0 : (unsigned)rate;
    r->ratio_value = number_of(line, r->kind->ratio_key);
    for (size_t i = 0; i < FIELDS && r->kind->columns[i].key; i++)
        r->field[i] = number_of(line, r->kind->columns[i].key) * r->kind->columns[i].scale;
    t->n++;
}

static int read_file(struct table *t, const char *path)
{
    FILE *f = fopen(path, "re");
    char *line = malloc(LINE_BYTES);
    if (!f || !line) {
        perror(path);
        free(line);
        if (f)
            (void)fclose(f);
        return -1;
    }
    while (t->n < ROWS_MAX && fgets(line, LINE_BYTES, f))
        read_row(t, line);
    free(line);
    (void)fclose(f);
    return 0;
}

/* ---- arithmetic ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, unsigned n)
{
    if (n == 0)
        return NAN;
    qsort(v, n, sizeof *v, compare);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static bool same_scenario(const struct row *a, const struct row *b)
{
    return a->kind == b->kind && a->subs == b->subs && a->rate == b->rate && strcmp(a->tls, b->tls) == 0 &&
           strcmp(a->key_kind, b->key_kind) == 0;
}

static double median_field(const struct table *t, const struct row *like, size_t field, unsigned *rounds)
{
    double v[ROWS_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < t->n; i++)
        if (same_scenario(&t->rows[i], like) && strcmp(t->rows[i].label, like->label) == 0 &&
            !isnan(t->rows[i].field[field]))
            v[n++] = t->rows[i].field[field];
    *rounds = n;
    return median(v, n);
}

static double median_ratio(const struct table *t, const struct row *like, const char *over, const char *under)
{
    double v[ROWS_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < t->n; i++)
        for (unsigned k = 0; k < t->n; k++) {
            const struct row *a = &t->rows[i], *b = &t->rows[k];
            if (n < ROWS_MAX && same_scenario(a, like) && same_scenario(b, like) && a->round == b->round &&
                strcmp(a->label, over) == 0 && strcmp(b->label, under) == 0 && b->ratio_value > 0)
                v[n++] = a->ratio_value / b->ratio_value;
        }
    return median(v, n);
}

/* ---- printing ---- */

static void print_title(const struct table *t, const struct row *like, unsigned rounds)
{
    bool messages = strcmp(like->kind->ratio_key, "cpu_us_per_delivery") == 0;
    printf("%s%s: %u %s", t->markdown ? "\n### " : "\n", like->kind->bench, like->subs,
           messages ? "subscribers" : "connections");
    if (like->tls[0])
        printf(", TLS %s", like->tls);
    if (like->key_kind[0])
        printf(", key %s", like->key_kind);
    if (like->rate)
        printf(", %u messages/s", like->rate);
    else if (messages)
        printf(", saturated");
    printf(", median of %u round%s\n\n", rounds, rounds == 1 ? "" : "s");
}

static void print_ratios(const struct table *t, const struct row *like)
{
    bool any = false;
    for (size_t i = 0; i < ARRAY_LEN(RATIOS); i++) {
        double v = median_ratio(t, like, RATIOS[i].over, RATIOS[i].under);
        if (isnan(v))
            continue;
        printf("%s%s : %s = %.2f\n", t->markdown ? "- " : "  ", RATIOS[i].over, RATIOS[i].under, v);
        any = true;
    }
    if (any)
        printf("\n");
}

static void print_header(const struct table *t, const struct kind *k)
{
    printf(t->markdown ? "| |" : "  %-33s", "");
    for (size_t i = 0; i < FIELDS && k->columns[i].key; i++)
        printf(t->markdown ? " %s |" : "  %17s", k->columns[i].title);
    printf("\n");
    if (!t->markdown)
        return;
    printf("|---|");
    for (size_t i = 0; i < FIELDS && k->columns[i].key; i++)
        printf("---:|");
    printf("\n");
}

static void print_value(const struct table *t, double v, int decimals)
{
    char text[40];
    if (isnan(v))
        snprintf(text, sizeof text, "-");
    else
        snprintf(text, sizeof text, "%.*f", decimals, v);
    printf(t->markdown ? " %s |" : "  %17s", text);
}

static void print_rows(struct table *t, const struct row *like)
{
    for (unsigned i = 0; i < t->n; i++) {
        struct row *r = &t->rows[i];
        if (r->printed || !same_scenario(r, like))
            continue;
        printf(t->markdown ? "| %s |" : "  %-33s", r->label);
        for (size_t c = 0; c < FIELDS && r->kind->columns[c].key; c++) {
            unsigned rounds = 0;
            print_value(t, median_field(t, r, c, &rounds), r->kind->columns[c].decimals);
        }
        printf("\n");
        for (unsigned k = i; k < t->n; k++)
            if (same_scenario(&t->rows[k], like) && strcmp(t->rows[k].label, r->label) == 0)
                t->rows[k].printed = true;
    }
}

static void print_scenario(struct table *t, const struct row *like)
{
    unsigned rounds = 0;
    (void)median_field(t, like, 0, &rounds);
    print_title(t, like, rounds);
    print_ratios(t, like);
    print_header(t, like->kind);
    print_rows(t, like);
}

int table_main(int argc, char **argv)
{
    struct table t = {.markdown = argc == 2 && strcmp(argv[0], "--markdown") == 0};
    if (argc != 1 + (int)t.markdown) {
        fprintf(stderr, "crier-bench: table [--markdown] FILE\n");
        return 2;
    }
    t.rows = calloc(ROWS_MAX + 1, sizeof *t.rows);
    int status = t.rows ? read_file(&t, argv[argc - 1]) : -1;
    for (unsigned i = 0; status == 0 && i < t.n; i++)
        if (!t.rows[i].printed)
            print_scenario(&t, &t.rows[i]);
    if (status == 0 && t.n == 0)
        fprintf(stderr, "crier-bench: no results in %s\n", argv[argc - 1]);
    free(t.rows);
    return status == 0 && t.n > 0 ? 0 : 1;
}
