/* P into jobs: names nobody gave, and which P is live only, wherever in it that is said. */
#include "store/jobmaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/metrics.h"

struct fixture {
    struct metrics m;
    struct jobmaker jm;
};

static void begin(struct fixture *f)
{
    metrics_init(&f->m, "test");
    jobmaker_init(&f->jm, &f->m, 65536, true);
}

static struct job *make(struct fixture *f, const char *payload, uint64_t seq)
{
    const struct job_source src = {
        .kind = TARGET_USER, .target = SPAN_LIT("ada"), .seq = seq, .payload = span_str(payload)};
    char why[120];
    struct job *j = NULL;
    assert_int_equal(job_make(&f->jm, &src, &j, why, sizeof why), JOB_MADE);
    return j;
}

/* "<salt>-<count>": the count is the next number in base 36, also where a digit is added. */
static void names_count_on(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    char salt[80] = "", first[80], id[80];
    for (unsigned long n = 1; n < 36 * 36 + 40; n++) {
        struct job *j = make(&f, "hello", 0);
        snprintf(id, sizeof id, "%.*s", SPAN_ARG(j->head.id));
        char *dash = strchr(id, '-');
        assert_non_null(dash);
        *dash = '\0';
        if (n == 1)
            snprintf(salt, sizeof salt, "%s", id);
        assert_string_equal(id, salt);
        assert_int_equal(strtoul(dash + 1, NULL, 36), n);
        job_unref(j);
    }
    jobmaker_fini(&f.jm);
    begin(&f); /* another incarnation */
    struct job *j = make(&f, "hello", 0);
    snprintf(first, sizeof first, "%.*s", SPAN_ARG(j->head.id));
    assert_memory_not_equal(first, salt, strlen(salt) + 1);
    job_unref(j);
    jobmaker_fini(&f.jm);
}

/* "<seq in base 36>.<8 hex digits of SHA-1(user)>": the same on all nodes. */
static void a_stored_one_is_called_after_its_place(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct job *j = make(&f, "hello", 1700000000000000);
    char id[80], *dot;
    snprintf(id, sizeof id, "%.*s", SPAN_ARG(j->head.id));
    assert_true(strtoull(id, &dot, 36) == 1700000000000000);
    assert_string_equal(dot, ".e4ea294c"); /* printf ada | sha1sum */
    job_unref(j);
    j = make(&f, "{\"data\":1,\"id\":\"mine\"}", 1700000000000000);
    assert_true(SPAN_IS(j->head.id, "mine"));
    job_unref(j);
    jobmaker_fini(&f.jm);
}

static enum job_made live(struct fixture *f, struct span payload, struct job **j)
{
    const struct job_source src = {.kind = TARGET_USER, .target = SPAN_LIT("ada"), .payload = payload};
    return job_make_live(&f->jm, &src, true, j);
}

/* `ttl` at every place of payloads of many lengths. */
static void live_only_is_seen_wherever_it_stands(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    for (unsigned before = 0; before < 50; before++) {
        for (unsigned behind = 0; behind < 50; behind++) {
            char text[160];
            int n = snprintf(text, sizeof text, "{\"data\":\"%.*s\",\"ttl\":0%.*s}", (int)before,
                             "ttttttttttttttttttttttttttttttttttttttttttttttttttlt", (int)behind,
                             "                                                  ");
            uint8_t *exact = malloc((size_t)n); /* a byte read beyond it shows under ASan */
            struct job *j;
            assert_non_null(exact);
            memcpy(exact, text, (size_t)n);
            assert_int_equal(live(&f, span_of(exact, (size_t)n), &j), JOB_MADE);
            assert_int_equal(j->head.seq, 0);
            job_unref(j);
            free(exact);
        }
    }
    jobmaker_fini(&f.jm);
}

static void others_are_not_live_only(void **state)
{
    (void)state;
    static const char *const kept[] = {
        "",
        "t",
        "tt",
        "hello",
        "{\"data\":1}",
        "{\"ttl\":60,\"data\":1}",
        "{\"ttl\":0,\"data\":1,\"id\":\"x\"}",
        "{\"ttl\":0,\"data\":1,\"track\":true}",
        "{\"ttl\":0,\"data\":",
        "{\"data\":\"tt tl ltt a text without the word in it tt\",\"event\":\"tttttttttttttttttttt\"}",
    };
    struct fixture f;
    begin(&f);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        struct job *j;
        if (live(&f, span_str(kept[i]), &j) != JOB_REFUSED)
            fail_msg("live only: %s", kept[i]);
        assert_null(j);
    }
    jobmaker_fini(&f.jm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_count_on),
        cmocka_unit_test(a_stored_one_is_called_after_its_place),
        cmocka_unit_test(live_only_is_seen_wherever_it_stands),
        cmocka_unit_test(others_are_not_live_only),
    };
    return cmocka_run_group_tests_name("jobmaker", tests, NULL, NULL);
}
