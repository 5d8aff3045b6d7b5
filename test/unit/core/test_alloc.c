/*
 * The n-th allocation fails, for every n until the work succeeds without a failure: each time the documented failure
 * comes back, what was there before is whole, and nothing leaks. The linker redirects the allocators here (see the
 * Makefile).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/blob.h"
#include "core/buf.h"
#include "core/config.h"
#include "core/inbox.h"
#include "core/job.h"
#include "core/map.h"
#include "core/metrics.h"
#include "core/msg.h"

/* The program has one thread. */
static long countdown = -1; /* allocations that still succeed; -1: all */
static long live;           /* allocations made by wrapped calls and not freed */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
void __wrap_free(void *p);

static bool fails(void)
{
    return countdown == 0 || (countdown > 0 && countdown-- == 0);
}

static void *counted(void *p)
{
    live += p != NULL;
    return p;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : counted(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
    if (fails())
        return NULL;
    void *q = __real_realloc(p, n);
    live += p == NULL && q != NULL;
    return q;
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return fails() ? NULL : counted(__real_aligned_alloc(align, n));
}

void __wrap_free(void *p)
{
    live -= p != NULL;
    __real_free(p);
}

/* Runs `work` with the n-th allocation and all after it failing, n = 0, 1, ..., until it succeeds. `work` checks and
 * frees what it made, and says whether everything went well. */
static void with_failures(bool (*work)(void), unsigned least)
{
    unsigned n = 0;
    for (bool good = false; !good; n++) {
        assert_true(n < 10000);
        long before = live;
        countdown = (long)n;
        good = work();
        countdown = -1;
        assert_int_equal(live, before);
    }
    assert_true(n > least); /* it did fail as often as it allocates */
}

static bool buf_work(void)
{
    struct buf b;
    bool good = true;
    size_t len = 0;
    buf_init(&b, 100000);
    for (int i = 0; i < 2000 && good; i++) {
        good = buf_append_str(&b, "0123456789");
        len += good ? 10 : 0;
    }
    good = good && buf_printf(&b, "%0*d", 30000, 7);
    len += good ? 30000 : 0;
    assert_int_equal(b.len, len);
    for (size_t i = 0; i < len && i < 20000; i++)
        assert_int_equal(b.data[i], '0' + i % 10);
    buf_fini(&b);
    return good;
}

static void bufs(void **state)
{
    (void)state;
    with_failures(buf_work, 8);
}

static bool map_work(void)
{
    static char keys[500][8];
    static uint64_t numbers[500];
    struct map m;
    struct idmap ids;
    unsigned in = 0, ids_in = 0;
    map_init(&m);
    idmap_init(&ids, 0);
    for (; in < 500; in++) {
        (void)snprintf(keys[in], sizeof(keys[in]), "%u", in);
        if (!map_put(&m, span_str(keys[in]), keys[in]))
            break;
    }
    for (unsigned i = 0; i < 500; i++)
        numbers[i] = i + 1;
    while (ids_in < 500 && idmap_put(&ids, &numbers[ids_in]))
        ids_in++;
    assert_int_equal(m.count, in);
    assert_int_equal(ids.count, ids_in);
    for (unsigned i = 0; i < 500; i++) {
        assert_ptr_equal(map_get(&m, span_str(keys[i])), i < in ? keys[i] : NULL);
        assert_ptr_equal(idmap_get(&ids, i + 1), i < ids_in ? &numbers[i] : NULL);
    }
    map_fini(&m);
    idmap_fini(&ids);
    return in == 500 && ids_in == 500;
}

static void maps(void **state)
{
    (void)state;
    with_failures(map_work, 10);
}

/* A table that cannot be built smaller goes on as it is, also when it is full of dead slots. */
static void a_map_that_cannot_shrink(void **state)
{
    static char keys[1000][8];
    struct map m;
    (void)state;
    map_init(&m);
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "%u", i);
        assert_true(map_put(&m, span_str(keys[i]), keys[i]));
    }
    for (unsigned i = 1; i < 1000; i++)
        assert_ptr_equal(map_remove(&m, span_str(keys[i])), keys[i]);
    countdown = 0;
    unsigned put = 0;
    for (unsigned i = 1; i < 1000; i++)
        put += map_put(&m, span_str(keys[i]), keys[i]);
    countdown = -1;
    assert_in_range(put, 1, 999);
    assert_int_equal(m.count, put + 1);
    assert_ptr_equal(map_get(&m, span_str(keys[0])), keys[0]);
    assert_null(map_get(&m, SPAN_LIT("nobody"))); /* a probe still ends */
    map_fini(&m);
}

static bool job_work(void)
{
    struct job *j = job_new(NULL, 0);
    if (!j)
        return false;
    bool good = true;
    for (unsigned w = 0; w < WIRE_KINDS && good; w++) {
        struct blob *b = blob_copy(SPAN_LIT("frame"));
        good = b && job_set_wire(j, (enum wire)w, b) == b;
    }
    job_unref(j);
    return good;
}

static void jobs(void **state)
{
    (void)state;
    with_failures(job_work, WIRE_KINDS);
}

/* Built as callers build it: field by field, given up at the first failure. */
static bool op_work(void)
{
    struct op *op = op_new(OP_PUSH);
    if (!op)
        return false;
    bool good = (op->push.targets = calloc(3, sizeof(*op->push.targets))) != NULL;
    op->push.ntargets = good ? 3 : 0;
    for (unsigned i = 0; i < 3 && good; i++)
        good = (op->push.targets[i].name = span_dup(SPAN_LIT("user"))) != NULL;
    good = good && (op->push.payload = (uint8_t *)span_dup(SPAN_LIT("{}"))) != NULL;
    good = good && (op->push.id = span_dup(SPAN_LIT("1"))) != NULL;
    op_free(op);
    struct behind *b = behind_new(SPAN_LIT("user"), 5);
    good = good && b;
    free(b);
    return good;
}

static void ops(void **state)
{
    (void)state;
    with_failures(op_work, 7);
}

static bool inbox_work(void)
{
    struct inbox *in = inbox_new(3, 4);
    bool good = in != NULL;
    inbox_free(in, NULL, NULL);
    return good;
}

static void inboxes(void **state)
{
    (void)state;
    with_failures(inbox_work, 4);
}

static bool config_work(void)
{
    char *args[] = {(char *)"crier",     (char *)"--dev",   (char *)"--origins=same,https://a.example",
                    (char *)"--api-key", (char *)"a",       (char *)"--api-key=b",
                    (char *)"--node=x",  (char *)"--redis", (char *)"redis://:p@h:1"};
    struct config c;
    const char *file;
    enum config_action action;
    char err[300] = "";
    config_init(&c);
    bool good = config_from_args(&c, (int)ARRAY_LEN(args), args, &file, &action, err, sizeof(err)) &&
                config_validate(&c, err, sizeof(err));
    assert_true(good || strstr(err, "out of memory"));
    char *dump = config_dump(&c), *help = config_help();
    good = good && dump && help;
    free(dump);
    free(help);
    config_fini(&c);
    return good;
}

static void configs(void **state)
{
    (void)state;
    with_failures(config_work, 10);
}

static bool render_work(void)
{
    static struct metrics block;
    struct metrics *blocks[1] = {&block};
    struct buf out;
    metrics_init(&block, "shard-0");
    buf_init(&out, 1 << 20);
    bool good = metrics_render(blocks, 1, &out);
    assert_true(good ? out.len > 1000 : out.len == 0);
    buf_fini(&out);
    return good;
}

static void renders(void **state)
{
    (void)state;
    with_failures(render_work, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bufs),    cmocka_unit_test(maps),    cmocka_unit_test(a_map_that_cannot_shrink),
        cmocka_unit_test(jobs),    cmocka_unit_test(ops),     cmocka_unit_test(inboxes),
        cmocka_unit_test(configs), cmocka_unit_test(renders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
