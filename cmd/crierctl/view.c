/*
 * view.c - see view.h. Nothing here knows which call an answer belongs to: a list of objects is a line for each, with
 * the lists inside them indented below. Whole numbers that are milliseconds of this century are shown as times; a seq
 * is a thousand times as large.
 */
#include "cmd/crierctl/view.h"

#include <stdio.h>
#include <time.h>

#include "cmd/crierctl/json_find.h"
#include "core/buf.h"

enum { MAX_LINE = 16 * 1024 * 1024, INDENT = 2 };

#define MS_2001 UINT64_C(1000000000000)
#define MS_2286 UINT64_C(10000000000000)

static bool append_time(struct buf *out, uint64_t ms)
{
    char text[32];
    struct tm tm;
    time_t t = (time_t)(ms / 1000);
    return localtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm) > 0 &&
           buf_printf(out, "%s.%03u", text, (unsigned)(ms % 1000));
}

static bool append_value(struct buf *out, const struct json_value *v)
{
    uint64_t n;
    if (v->kind == JSON_NUMBER && json_uint(v, &n) && n >= MS_2001 && n < MS_2286) {
        return append_time(out, n);
    }
    struct span shown = v->raw;
    if (v->kind == JSON_STRING && !v->escaped) {
        shown = span_of(shown.p + 1, shown.n - 2);
    }
    return json_append_plain(out, shown);
}

static struct span name_of(const struct json_value *key)
{
    return span_of(key->raw.p + 1, key->raw.n - 2);
}

static bool is_list(const struct json_value *key, const struct json_value *v)
{
    return v->kind == JSON_ARRAY && !json_string_is(key, "data");
}

static bool open_object(struct json_reader *r, struct span object)
{
    struct json_value v;
    json_reader_init(r, object, JSON_MAX_DEPTH);
    return json_next(r, &v) == JSON_T_OPEN_OBJECT;
}

static bool append_fields(struct buf *out, struct span object)
{
    struct json_reader r;
    struct json_value key, v;
    const char *space = "";
    bool ok = open_object(&r, object);
    while (ok && json_member(&r, &key, &v)) {
        if (is_list(&key, &v)) {
            continue;
        }
        ok = buf_append_str(out, space) && json_append_plain(out, name_of(&key)) && buf_append_byte(out, '=') &&
             append_value(out, &v);
        space = "  ";
    }
    return ok;
}

static bool append_lists(struct buf *out, struct span object, unsigned indent);

static bool append_list(struct buf *out, struct span list, unsigned indent)
{
    struct json_reader r;
    struct json_value v;
    json_reader_init(&r, list, JSON_MAX_DEPTH);
    bool ok = json_next(&r, &v) == JSON_T_OPEN_ARRAY;
    while (ok && json_element(&r, &v)) {
        ok = buf_printf(out, "%*s", (int)indent, "") &&
             (v.kind == JSON_OBJECT ? append_fields(out, v.raw) : append_value(out, &v)) &&
             buf_append_byte(out, '\n') && (v.kind != JSON_OBJECT || append_lists(out, v.raw, indent + INDENT));
    }
    return ok;
}

/* What append_fields left out. Depth is bounded by the reader's. */
static bool append_lists(struct buf *out, struct span object, unsigned indent)
{
    struct json_reader r;
    struct json_value key, v;
    bool ok = open_object(&r, object);
    while (ok && json_member(&r, &key, &v)) {
        if (!is_list(&key, &v)) {
            continue;
        }
        struct span name = name_of(&key);
        ok = buf_printf(out, "%*s%.*s:%s\n", (int)indent, "", SPAN_ARG(name),
                        v.depth == 1 && v.raw.n == 2 ? " none" : "") &&
             append_list(out, v.raw, indent + INDENT);
    }
    return ok;
}

bool view_object(struct span object)
{
    struct buf out;
    struct json_reader r;
    struct json_value key, v;
    buf_init(&out, MAX_LINE);
    bool ok = open_object(&r, object);
    while (ok && json_member(&r, &key, &v)) {
        struct span name = name_of(&key);
        if (is_list(&key, &v)) {
            continue;
        }
        ok = buf_printf(&out, "%-10.*s ", SPAN_ARG(name)) && append_value(&out, &v) && buf_append_byte(&out, '\n');
    }
    ok = ok && append_lists(&out, object, 0);
    if (out.len) {
        fwrite(out.data, 1, out.len, stdout);
    }
    buf_fini(&out);
    return ok;
}

void view_line(struct span object)
{
    struct buf out;
    buf_init(&out, MAX_LINE);
    if (append_fields(&out, object)) {
        printf("%.*s\n", SPAN_ARG(buf_span(&out)));
    }
    buf_fini(&out);
}
