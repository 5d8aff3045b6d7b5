/* What a Prometheus server reads: names once, sums, threads, the histogram, and the ceiling of the buffer. */
#include "core/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/buf.h"

enum { BLOCKS = 3 };

struct set {
    struct metrics block[BLOCKS];
    struct metrics *all[BLOCKS];
};

static struct set *set_new(void)
{
    struct set *s = aligned_alloc(64, sizeof(*s) + 64 - sizeof(*s) % 64);
    assert_non_null(s);
    for (unsigned i = 0; i < BLOCKS; i++) {
        char name[40];
        (void)snprintf(name, sizeof(name), i + 1 < BLOCKS ? "shard-%u" : "dispatcher-with-a-long-name", i);
        metrics_init(&s->block[i], name);
        s->all[i] = &s->block[i];
    }
    return s;
}

/* The text, NUL-terminated; the caller frees it. */
static char *render(struct set *s)
{
    struct buf b;
    size_t n;
    buf_init(&b, 1 << 20);
    assert_true(metrics_render(s->all, BLOCKS, &b));
    assert_true(buf_append_byte(&b, '\0'));
    return (char *)buf_steal(&b, &n);
}

static void has_line(const char *text, const char *line)
{
    size_t n = strlen(line);
    for (const char *p = text; (p = strstr(p, line)); p++)
        if ((p == text || p[-1] == '\n') && p[n] == '\n')
            return;
    fail_msg("no line \"%s\"", line);
}

static void sums_and_threads(void **state)
{
    struct set *s = set_new();
    (void)state;
    metric_add(&s->block[0], M_DELIVERED, 5);
    metric_add(&s->block[1], M_DELIVERED, 7);
    metric_add(&s->block[0], M_BYTES_IN, UINT32_MAX);
    metric_add(&s->block[0], M_BYTES_IN, UINT32_MAX);
    metric_set(&s->block[0], M_CONNS_OPEN, 3);
    metric_set(&s->block[1], M_CONNS_OPEN, 4);
    metric_add(&s->block[2], M_LOOP_TURNS, 9);
    metric_sub(&s->block[0], M_USERS, 1); /* left here, came there */
    metric_add(&s->block[1], M_USERS, 3);
    metric_sub(&s->block[0], M_ROOMS, 2);
    assert_int_equal(metric_get(&s->block[1], M_USERS), 3);
    char *text = render(s);
    has_line(text, "crier_deliveries_total 12");
    has_line(text, "crier_bytes_total{direction=\"in\"} 8589934590");
    has_line(text, "crier_bytes_total{direction=\"out\"} 0");
    has_line(text, "crier_connections{thread=\"shard-0\"} 3");
    has_line(text, "crier_connections{thread=\"shard-1\"} 4");
    has_line(text, "crier_connections{thread=\"dispatcher-with\"} 0"); /* names are cut */
    has_line(text, "crier_loop_turns_total{thread=\"dispatcher-with\"} 9");
    has_line(text, "crier_users 2");
    has_line(text, "crier_rooms -2"); /* between two reads: a sign, not 18 quintillion */
    has_line(text, "# TYPE crier_deliveries_total counter");
    has_line(text, "# TYPE crier_connections gauge");
    has_line(text, "# TYPE crier_loop_turns_total counter");
    has_line(text, "# TYPE crier_build_info gauge");
    has_line(text, "crier_build_info{version=\"" CRIER_VERSION "\"} 1");
    free(text);
    free(s);
}

/* Every line is a comment or a sample of the name that the last comments announced; no name is announced twice; no
 * sample appears twice. */
static void well_formed(void **state)
{
    struct set *s = set_new();
    char *text = render(s), *line = text, *next;
    char names[200][64], samples[300][200], name[64] = "", type[16] = "";
    unsigned nnames = 0, nsamples = 0;
    (void)state;
    for (; *line; line = next) {
        next = strchr(line, '\n');
        assert_non_null(next);
        *next++ = '\0';
        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_int_equal(sscanf(line, "# HELP %63s", name), 1);
            assert_true(strlen(line) > 8 + strlen(name)); /* says something */
            for (unsigned i = 0; i < nnames; i++)
                assert_string_not_equal(names[i], name);
            assert_true(nnames < ARRAY_LEN(names));
            memcpy(names[nnames++], name, sizeof(name));
            continue;
        }
        if (*line == '#') {
            char typed[64];
            assert_int_equal(sscanf(line, "# TYPE %63s %15s", typed, type), 2);
            assert_string_equal(typed, name);
            continue;
        }
        char *end, *space = strrchr(line, ' ');
        assert_non_null(space);
        (void)strtod(space + 1, &end);
        assert_true(end > space + 1 && *end == '\0');
        *space = '\0';
        assert_int_equal(strncmp(line, name, strlen(name)), 0);
        char after = line[strlen(name)];
        assert_true(after == '\0' || after == '{' || (after == '_' && strcmp(type, "histogram") == 0));
        for (unsigned i = 0; i < nsamples; i++)
            assert_string_not_equal(samples[i], line);
        assert_true(nsamples < ARRAY_LEN(samples) && strlen(line) < sizeof(samples[0]));
        memcpy(samples[nsamples++], line, strlen(line) + 1);
    }
    assert_true(nnames > 30 && nsamples >= M_COUNT);
    free(text);
    free(s);
}

static void latencies(void **state)
{
    struct set *s = set_new();
    (void)state;
    metric_latency(&s->block[0], 0);
    metric_latency(&s->block[0], 10); /* bounds belong to their bucket */
    metric_latency(&s->block[0], 11);
    metric_latency(&s->block[1], 20);
    metric_latency(&s->block[1], 5242880); /* the last bound */
    metric_latency(&s->block[1], 5242881);
    metric_latency(&s->block[1], 100000000);
    char *text = render(s);
    has_line(text, "# TYPE crier_publish_to_write_seconds histogram");
    has_line(text, "crier_publish_to_write_seconds_bucket{le=\"0.00001\"} 2");
    has_line(text, "crier_publish_to_write_seconds_bucket{le=\"0.00002\"} 4");
    has_line(text, "crier_publish_to_write_seconds_bucket{le=\"0.00004\"} 4");
    has_line(text, "crier_publish_to_write_seconds_bucket{le=\"5.24288\"} 5");
    has_line(text, "crier_publish_to_write_seconds_bucket{le=\"+Inf\"} 7");
    has_line(text, "crier_publish_to_write_seconds_count 7");
    has_line(text, "crier_publish_to_write_seconds_sum 110.485802");
    free(text);
    free(s);
}

/* At whatever byte the buffer ends: it fails and leaves what was in it alone. */
static void no_room(void **state)
{
    struct set *s = set_new();
    char *text = render(s);
    size_t whole = strlen(text);
    (void)state;
    for (size_t max = 4; max < whole + 5; max += max < whole - 50 ? 97 : 1) {
        struct buf b;
        buf_init(&b, max);
        assert_true(buf_append_str(&b, "abc"));
        bool good = metrics_render(s->all, BLOCKS, &b);
        assert_int_equal(good, max >= whole + 3);
        assert_int_equal(b.len, good ? whole + 3 : 3);
        assert_memory_equal(b.data, "abc", 3);
        buf_fini(&b);
    }
    free(text);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_threads),
        cmocka_unit_test(well_formed),
        cmocka_unit_test(latencies),
        cmocka_unit_test(no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
