/*
 * test_sse.c - events as bytes, and read back by a reader written from the specification: line ends of every kind,
 * leading spaces, what must not be in a name, ceilings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/sse.h"
#include "sse_reader.h"

static void expect_bytes(const struct sse_event *e, const char *want)
{
    size_t n = strlen(want);
    assert_int_equal(sse_size(e), n);
    for (size_t max = 0; max <= n; max++) {
        struct buf b;
        buf_init(&b, max);
        assert_int_equal(sse_write(&b, e), max == n);
        assert_true(span_eq(buf_span(&b), max == n ? span_str(want) : SPAN_LIT("")));
        buf_fini(&b);
    }
}

static void the_bytes_of_an_event(void **state)
{
    (void)state;
    struct sse_event e = {.data = SPAN_LIT("{}")};
    expect_bytes(&e, "data: {}\n\n");
    e.id = SPAN_LIT("17");
    expect_bytes(&e, "id: 17\ndata: {}\n\n");
    e.event = SPAN_LIT("greet");
    expect_bytes(&e, "id: 17\nevent: greet\ndata: {}\n\n");
    e.retry_ms = 4294967295u;
    expect_bytes(&e, "retry: 4294967295\nid: 17\nevent: greet\ndata: {}\n\n");
    expect_bytes(&(struct sse_event){.retry_ms = 1}, "retry: 1\n\n");
}

static void a_line_for_each_line_of_data(void **state)
{
    (void)state;
    static const struct {
        const char *data, *want;
    } cases[] = {
        {"a\nb", "data: a\ndata: b\n\n"},
        {"a\r\nb", "data: a\ndata: b\n\n"},
        {"a\rb", "data: a\ndata: b\n\n"},
        {"a\n\rb", "data: a\ndata: \ndata: b\n\n"},
        {"a\r\r\nb", "data: a\ndata: \ndata: b\n\n"},
        {"\n", "data: \ndata: \n\n"},
        {"a\n", "data: a\ndata: \n\n"},
        {"\r\n", "data: \ndata: \n\n"},
        {" a", "data:  a\n\n"},
        {"a: b", "data: a: b\n\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_bytes(&(struct sse_event){.data = span_str(cases[i].data)}, cases[i].want);
}

static void names_hold_no_line_end(void **state)
{
    (void)state;
    const struct span bad[] = {SPAN_LIT("a\nb"), SPAN_LIT("\r"), SPAN_LIT("a\r\ndata: x"), SPAN_LIT("a\0b")};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf b;
        buf_init(&b, 1000);
        assert_false(sse_write(&b, &(struct sse_event){.event = bad[i], .data = SPAN_LIT("x")}));
        assert_false(sse_write(&b, &(struct sse_event){.id = bad[i], .data = SPAN_LIT("x")}));
        assert_int_equal(b.len, 0);
        buf_fini(&b);
    }
}

/* All texts of up to five bytes over an alphabet of what matters, as two events and a comment in one stream. */
static void a_client_reads_what_was_written(void **state)
{
    (void)state;
    static const char alphabet[] = {'\n', '\r', ' ', ':', 'a'};
    for (unsigned n = 1; n <= 5; n++) {
        unsigned all = 1;
        for (unsigned i = 0; i < n; i++)
            all *= sizeof alphabet;
        for (unsigned k = 0; k < all; k++) {
            char text[5];
            uint8_t want[5];
            size_t len = 0;
            for (unsigned i = 0, v = k; i < n; i++, v /= sizeof alphabet)
                text[i] = alphabet[v % sizeof alphabet];
            for (unsigned i = 0; i < n; i++) {
                if (text[i] == '\n' && i && text[i - 1] == '\r')
                    continue;
                want[len++] = text[i] == '\r' ? '\n' : (uint8_t)text[i];
            }
            struct buf b;
            buf_init(&b, 1000);
            struct guard g;
            struct sse_event e = {
                .id = SPAN_LIT("7"), .event = SPAN_LIT("e"), .data = guard_copy(&g, span_of(text, n))};
            assert_true(sse_write(&b, &e) && buf_append_str(&b, SSE_COMMENT));
            e.id = (struct span){NULL, 0};
            e.event = e.id;
            assert_true(sse_write(&b, &e));
            struct sse_seen s;
            sse_reader_open(&s, buf_span(&b));
            assert_true(sse_reader_next(&s));
            assert_true(span_eq(buf_span(&s.data), span_of(want, len)));
            assert_true(span_eq(buf_span(&s.event), SPAN_LIT("e")));
            assert_true(sse_reader_next(&s));
            assert_true(span_eq(buf_span(&s.data), span_of(want, len)));
            assert_int_equal(s.event.len, 0);
            assert_true(span_eq(buf_span(&s.id), SPAN_LIT("7")));
            assert_false(sse_reader_next(&s));
            sse_reader_close(&s);
            guard_free(&g);
            buf_fini(&b);
        }
    }
}

static void the_type_of_an_object(void **state)
{
    (void)state;
    static const struct {
        const char *object, *type;
    } cases[] = {
        {"{\"type\":\"welcome\",\"conn\":\"1\"}", "welcome"},
        {"{\"type\":\"ok\"}", "ok"},
        {"{\"type\":\"\"}", ""},
        {"{\"type\":\"half", ""},
        {"{\"type\":7}", ""},
        {"{\"id\":\"x\"}", ""},
        {"", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct guard g;
        struct span type = sse_type_of(guard_copy(&g, span_str(cases[i].object)));
        assert_true(span_eq(type, span_str(cases[i].type)));
        guard_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_of_an_event),  cmocka_unit_test(a_line_for_each_line_of_data),
        cmocka_unit_test(names_hold_no_line_end), cmocka_unit_test(a_client_reads_what_was_written),
        cmocka_unit_test(the_type_of_an_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
