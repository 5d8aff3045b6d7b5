/*
 * fuzz_envelope.c - payloads of publishers. Byte 0 is a ceiling of the scratch buffer; then P.
 *
 * Held to, beyond not crashing:
 * - what comes out is what its format says: valid JSON, msgpack, UTF-8; members obey the rules of names;
 * - written as an envelope in either codec and read again it has the same members;
 * - a message made of it is one valid object in both codecs.
 */
#include "check.h"
#include "proto/codec.h"
#include "proto/envelope.h"
#include "proto/json.h"
#include "proto/mp.h"
#include "proto/names.h"
#include "proto/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_DATA = 1 << 20 };

static void check_data(const struct envelope *e)
{
    struct json_value v;
    CHECK(e->data.n <= MAX_DATA);
    switch (e->format) {
    case DATA_JSON:
        CHECK(json_parse(e->data, JSON_MAX_DATA_DEPTH, &v) == JSON_OK && span_eq(v.raw, e->data));
        break;
    case DATA_MSGPACK:
        CHECK(mp_check(e->data, MP_MAX_DATA_DEPTH) == MP_OK);
        break;
    case DATA_TEXT:
        CHECK(utf8_valid(e->data));
        break;
    case DATA_BINARY:
        CHECK(!utf8_valid(e->data));
        break;
    }
}

static void check_members(const struct envelope *e)
{
    CHECK(e->id.n == 0 || name_id_ok(e->id));
    CHECK(e->event.n == 0 || name_event_ok(e->event));
    CHECK(e->from.n == 0 || name_user_ok(e->from));
    CHECK(e->collapse.n <= 64 && utf8_valid(e->collapse));
    CHECK(e->ttl_s == TTL_UNSET || e->ttl_s <= 315360000);
    CHECK(e->has_priority || e->priority == PRIO_NORMAL);
}

static void check_again(const struct envelope *e, struct buf *b, enum data_format format)
{
    struct envelope again;
    struct buf scratch;
    char why[128];
    buf_init(&scratch, CHECK_LARGE);
    CHECK(envelope_parse(buf_span(b), CHECK_LARGE, &scratch, &again, why, sizeof why) == ENVELOPE_OK);
    CHECK(!again.odd && again.format == format);
    CHECK(format != e->format || span_eq(again.data, e->data));
    CHECK(span_eq(again.id, e->id) && span_eq(again.event, e->event) && span_eq(again.from, e->from));
    CHECK(span_eq(again.collapse, e->collapse) && again.ttl_s == e->ttl_s && again.track == e->track);
    CHECK(again.has_priority == e->has_priority && again.priority == e->priority);
    buf_fini(&scratch);
    b->len = 0;
}

static void check_written(const struct envelope *e)
{
    struct job_head h = {
        .kind = TARGET_ALL, .id = SPAN_LIT("x"), .event = e->event, .format = e->format, .data = e->data};
    struct json_value v;
    struct buf b;
    buf_init(&b, CHECK_LARGE);
    CHECK(envelope_write_json(e, &b));
    check_again(e, &b, DATA_JSON);
    CHECK(envelope_write_msgpack(e, &b));
    check_again(e, &b, DATA_MSGPACK);
    CHECK(encode_message(CODEC_JSON, &h, &b));
    CHECK(json_parse(buf_span(&b), JSON_MAX_DEPTH, &v) == JSON_OK);
    b.len = 0;
    CHECK(encode_message(CODEC_MSGPACK, &h, &b));
    CHECK(mp_check(buf_span(&b), MP_MAX_DEPTH) == MP_OK);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct span in = check_exact(span_of(data + 1, size - 1));
    struct envelope e;
    struct buf scratch;
    char why[128] = "";
    buf_init(&scratch, data[0] * (size_t)16);
    switch (envelope_parse(in, MAX_DATA, &scratch, &e, why, sizeof why)) {
    case ENVELOPE_OK:
        check_data(&e);
        check_members(&e);
        check_written(&e);
        break;
    case ENVELOPE_REFUSED:
        CHECK(why[0] != '\0');
        break;
    case ENVELOPE_NO_MEMORY:
        CHECK(in.n > scratch.max); /* only escapes need room, and never more than P has bytes */
        break;
    }
    buf_fini(&scratch);
    check_free(in);
    return 0;
}
