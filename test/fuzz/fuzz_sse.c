/*
 * fuzz_sse.c - events written in the event stream format, read back by a client's reader. Bytes 0 and 1 say how much of
 * the rest is the id and how much the event's name, byte 2 is a small ceiling; what is left is the data.
 *
 * Held to, beyond not crashing:
 * - an id or a name with a line end or NUL is refused, all else is written, in exactly the bytes announced;
 * - a client dispatches exactly one event, with this id and name, and with the data's lines joined by \n;
 * - an id that a client brings is ours or not, and what is read out of it is written and read again;
 * - at a ceiling below the size the answer is no, and nothing was added.
 */
#include "check.h"
#include "proto/sse.h"
#include "proto/sse_id.h"
#include "test/unit/proto/sse_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool plain(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\n' || s.p[i] == '\r' || s.p[i] == '\0')
            return false;
    }
    return true;
}

static void check_data(struct span data, struct span seen)
{
    size_t n = 0;
    for (size_t i = 0; i < data.n; i++) {
        if (data.p[i] == '\n' && i && data.p[i - 1] == '\r')
            continue;
        CHECK(n < seen.n && seen.p[n] == (data.p[i] == '\r' ? '\n' : data.p[i]));
        n++;
    }
    CHECK(n == seen.n);
}

static void check_stream(const struct sse_event *e, struct span bytes)
{
    struct sse_seen s;
    sse_reader_open(&s, bytes);
    CHECK(sse_reader_next(&s) == (e->data.n > 0));
    CHECK(span_eq(buf_span(&s.id), e->id));
    if (e->data.n > 0) {
        CHECK(span_eq(buf_span(&s.event), e->event));
        check_data(e->data, buf_span(&s.data));
        CHECK(!sse_reader_next(&s));
    }
    sse_reader_close(&s);
}

/* What a client brings as its last id, and a room's name. */
static void check_id(struct span id, struct span room)
{
    uint64_t user = 0, seq = 0;
    struct buf b;
    bool ours = sse_id_user(id, &user);
    bool known = sse_id_room(id, room, &seq);
    CHECK(ours || !known);
    buf_init(&b, 1000);
    CHECK(sse_id_write_user(&b, user) && sse_id_write_room(&b, room, seq));
    CHECK(sse_id_user(buf_span(&b), &user) && sse_id_room(buf_span(&b), room, &seq));
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    size_t n = size - 3, nid = data[0] < n ? data[0] : n, nev = data[1] < n - nid ? data[1] : n - nid;
    struct span id = check_exact(span_of(data + 3, nid)), event = check_exact(span_of(data + 3 + nid, nev)),
                text = check_exact(span_of(data + 3 + nid + nev, n - nid - nev));
    struct sse_event e = {.id = id, .event = event, .data = text};
    struct buf b, tight;
    buf_init(&b, CHECK_LARGE);
    bool ok = sse_write(&b, &e);
    CHECK(ok == (plain(id) && plain(event)));
    CHECK(b.len == (ok ? sse_size(&e) : 0));
    if (ok)
        check_stream(&e, buf_span(&b));
    buf_init(&tight, data[2]);
    CHECK(sse_write(&tight, &e) == (ok && sse_size(&e) <= data[2]));
    CHECK(tight.len == 0 || span_eq(buf_span(&tight), buf_span(&b)));
    (void)sse_type_of(text);
    check_id(id, event);
    buf_fini(&b);
    buf_fini(&tight);
    check_free(id);
    check_free(event);
    check_free(text);
    return 0;
}
