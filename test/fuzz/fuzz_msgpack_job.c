/*
 * fuzz_msgpack_job.c - bytes as one msgpack value and as a packed job. Bytes 0 and 1 are a small ceiling.
 *
 * Held to, beyond not crashing:
 * - a value that passes the check becomes valid JSON, within the ceiling or not at all;
 * - it is over exactly where its last element is: each shorter prefix is refused;
 * - a job that can be read, packed again and read again is the same, and its spans lie in its own bytes.
 */
#include "check.h"
#include "proto/job_codec.h"
#include "proto/json.h"
#include "proto/mp.h"
#include "proto/transcode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_value(struct span in, size_t ceiling)
{
    struct buf json, tight;
    struct json_value v;
    buf_init(&json, CHECK_LARGE);
    buf_init(&tight, ceiling);
    CHECK(transcode_msgpack_to_json(in, &json));
    CHECK(json_parse(buf_span(&json), JSON_MAX_DEPTH, &v) == JSON_OK);
    bool fits = transcode_msgpack_to_json(in, &tight);
    CHECK(fits == (json.len <= ceiling) && tight.len == (fits ? json.len : 0));
    for (size_t n = in.n > 64 ? in.n - 64 : 0; n < in.n; n++)
        CHECK(mp_check(span_of(in.p, n), MP_MAX_DEPTH) == MP_SYNTAX);
    buf_fini(&json);
    buf_fini(&tight);
}

static bool inside(const struct job *j, struct span s)
{
    return s.n == 0 || (s.p >= j->bytes && s.p + s.n <= j->bytes + j->len);
}

static void check_same(const struct job *j, const struct job_head *h)
{
    const struct job_head *g = &j->head;
    CHECK(g->kind == h->kind && g->seq == h->seq && g->prev == h->prev && g->expires_s == h->expires_s);
    CHECK(g->ts_ms == h->ts_ms && g->priority == h->priority && g->track == h->track && g->format == h->format);
    CHECK(span_eq(g->target, h->target) && span_eq(g->id, h->id) && span_eq(g->event, h->event));
    CHECK(span_eq(g->from, h->from) && span_eq(g->collapse, h->collapse) && span_eq(g->data, h->data));
    CHECK(inside(j, g->target) && inside(j, g->id) && inside(j, g->event) && inside(j, g->from));
    CHECK(inside(j, g->collapse) && inside(j, g->data));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct span in = check_exact(span_of(data + 2, size - 2));
    struct job_head h;
    if (mp_check(in, MP_MAX_DEPTH) == MP_OK)
        check_value(in, data[0] | (size_t)data[1] << 8);
    struct job *copy = job_from_bytes(in);
    int answer = job_unpack(in, &h);
    CHECK((answer == 0) == (copy != NULL));
    if (copy != NULL) {
        struct job *j = job_pack(&h);
        CHECK(j != NULL && h.id.n > 0 && (h.target.n > 0) == (h.kind != TARGET_ALL));
        check_same(copy, &h);
        check_same(j, &h);
        CHECK(j->collapse_key == copy->collapse_key && (j->collapse_key != 0) == (h.collapse.n > 0));
        CHECK(j->len <= in.n); /* the smallest form */
        job_unref(j);
    }
    job_unref(copy);
    check_free(in);
    return 0;
}
