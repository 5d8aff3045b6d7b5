/*
 * fuzz_json.c - the JSON reader, the string writer and the way to msgpack and back. Bytes 0 and 1 are a small ceiling,
 * the rest is the text.
 *
 * Held to, beyond not crashing:
 * - a value is valid without the white space around it, and has the depth that its tokens say;
 * - a string decodes to at most its raw length, to valid UTF-8, and what the writer makes of that decodes to it again;
 * - valid JSON becomes valid msgpack of the same depth, that becomes valid JSON, and from then on nothing changes;
 * - any bytes at all become a valid string; at a small ceiling the answer is no, and nothing was added.
 */
#include "check.h"
#include "proto/json.h"
#include "proto/mp.h"
#include "proto/transcode.h"
#include "proto/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_string(const struct json_value *v)
{
    uint8_t *text = malloc(v->raw.n), *again = malloc(v->raw.n * 6);
    struct json_value w;
    struct buf b;
    CHECK(text != NULL && again != NULL);
    ptrdiff_t n = json_decode(v, false, text, v->raw.n);
    CHECK(n == -1 || (n >= 0 && (size_t)n + 2 <= v->raw.n));
    if (n < 0)
        n = json_decode(v, true, text, v->raw.n);
    CHECK(n >= 0 && (size_t)n + 2 <= v->raw.n && utf8_valid(span_of(text, (size_t)n)));
    CHECK(n == 0 || json_decode(v, true, again, (size_t)n - 1) == -2);
    buf_init(&b, CHECK_LARGE);
    CHECK(json_write_string(&b, span_of(text, (size_t)n)));
    CHECK(json_parse(buf_span(&b), 0, &w) == JSON_OK && w.kind == JSON_STRING);
    CHECK(json_decode(&w, false, again, v->raw.n * 6) == n && memcmp(text, again, (size_t)n) == 0);
    buf_fini(&b);
    free(text);
    free(again);
}

static void check_tokens(struct span in, unsigned depth)
{
    struct json_reader r;
    struct json_value v;
    unsigned deepest = 0;
    json_reader_init(&r, in, JSON_MAX_DEPTH);
    for (enum json_token t; (t = json_next(&r, &v)) != JSON_T_END;) {
        CHECK(t != JSON_T_FAULT);
        if (r.depth > deepest)
            deepest = r.depth;
        if (t == JSON_T_KEY || (t == JSON_T_SCALAR && v.kind == JSON_STRING))
            check_string(&v);
    }
    CHECK(deepest == depth && r.deepest == depth);
}

static void check_transcode(const struct json_value *v, size_t ceiling)
{
    struct buf mp, json, mp2, json2, tight;
    struct json_value w;
    struct mp_reader r;
    unsigned depth;
    buf_init(&mp, CHECK_LARGE);
    buf_init(&json, CHECK_LARGE);
    buf_init(&mp2, CHECK_LARGE);
    buf_init(&json2, CHECK_LARGE);
    CHECK(transcode_json_to_msgpack(v->raw, &mp));
    mp_reader_init(&r, buf_span(&mp));
    CHECK(mp_skip(&r, MP_MAX_DEPTH, &depth) == MP_OK && r.p == r.end && depth == v->depth);
    CHECK(transcode_msgpack_to_json(buf_span(&mp), &json));
    CHECK(json_parse(buf_span(&json), JSON_MAX_DEPTH, &w) == JSON_OK && w.depth == v->depth);
    CHECK(transcode_json_to_msgpack(buf_span(&json), &mp2));
    CHECK(transcode_msgpack_to_json(buf_span(&mp2), &json2));
    CHECK(span_eq(buf_span(&json), buf_span(&json2)));

    buf_init(&tight, ceiling);
    CHECK(!transcode_json_to_msgpack(v->raw, &tight) ? tight.len == 0 : span_eq(buf_span(&tight), buf_span(&mp)));
    buf_fini(&tight);
    bool fits = transcode_msgpack_to_json(buf_span(&mp), &tight);
    CHECK(fits == (json.len <= ceiling) && tight.len == (fits ? json.len : 0));
    buf_fini(&tight);
    buf_fini(&mp);
    buf_fini(&json);
    buf_fini(&mp2);
    buf_fini(&json2);
}

static void check_written(struct span in)
{
    struct buf b;
    struct json_value v;
    buf_init(&b, CHECK_LARGE);
    CHECK(json_write_string(&b, in));
    CHECK(json_parse(buf_span(&b), 0, &v) == JSON_OK && v.kind == JSON_STRING);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct span in = check_exact(span_of(data + 2, size - 2));
    struct json_value v, w;
    enum json_status s = json_parse(in, JSON_MAX_DEPTH, &v);
    if (s == JSON_OK) {
        CHECK(v.raw.n > 0 && v.raw.p >= in.p && v.raw.p + v.raw.n <= in.p + in.n);
        CHECK(json_parse(v.raw, JSON_MAX_DEPTH, &w) == JSON_OK && span_eq(v.raw, w.raw) && v.depth == w.depth);
        CHECK(v.depth == 0 || json_parse(in, v.depth - 1, &w) == JSON_DEEP);
        check_tokens(in, v.depth);
        check_transcode(&v, data[0] | (size_t)data[1] << 8);
    }
    CHECK((s == JSON_UTF8) == !utf8_valid(in));
    check_written(in);
    check_free(in);
    return 0;
}
