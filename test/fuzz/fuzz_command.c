/*
 * fuzz_command.c - client commands. Byte 0: bit 0 picks the codec, the rest a ceiling of the scratch buffer; then the
 * frame.
 *
 * Held to, beyond not crashing:
 * - what is accepted obeys the rules of names and limits;
 * - a message made of an accepted send is one valid object in both codecs, with the data byte for byte in its own;
 * - answers that repeat a ref, and errors, are valid objects in the client's codec.
 */
#include "check.h"
#include "proto/codec.h"
#include "proto/envelope.h"
#include "proto/json.h"
#include "proto/mp.h"
#include "proto/names.h"
#include "proto/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_DATA = 4096 };

static void check_valid(enum codec c, const struct buf *b)
{
    struct json_value v;
    if (c == CODEC_JSON)
        CHECK(json_parse(buf_span(b), JSON_MAX_DEPTH, &v) == JSON_OK && v.kind == JSON_OBJECT);
    else
        CHECK(mp_check(buf_span(b), MP_MAX_DEPTH) == MP_OK && (b->data[0] & 0xF0) == 0x80);
}

static void check_message(enum codec own, const struct command *cmd)
{
    struct job_head h = {.kind = cmd->all          ? TARGET_ALL
                                 : cmd->room.n > 0 ? TARGET_ROOM
                                                   : TARGET_USER,
                         .target = cmd->room.n > 0 ? cmd->room : cmd->user,
                         .ts_ms = 1,
                         .id = cmd->id.n > 0 ? cmd->id : SPAN_LIT("x"),
                         .event = cmd->event,
                         .format = cmd->format,
                         .data = cmd->data};
    for (int c = CODEC_JSON; c <= CODEC_MSGPACK; c++) {
        struct buf b;
        buf_init(&b, CHECK_LARGE);
        CHECK(encode_message((enum codec)c, &h, &b));
        check_valid((enum codec)c, &b);
        size_t behind = c == CODEC_JSON ? 1 : 0;
        if ((enum codec)c == own)
            CHECK(memcmp(b.data + b.len - behind - h.data.n, h.data.p, h.data.n) == 0);
        buf_fini(&b);
    }
}

static void check_command(enum codec c, const struct command *cmd)
{
    struct buf b;
    CHECK(cmd->room.n == 0 || name_room_ok(cmd->room));
    CHECK(cmd->user.n == 0 || name_user_ok(cmd->user));
    CHECK(cmd->id.n == 0 || name_id_ok(cmd->id));
    CHECK(cmd->event.n == 0 || name_event_ok(cmd->event));
    CHECK(cmd->seq <= JSON_MAX_SAFE && cmd->since <= JSON_MAX_SAFE && cmd->limit <= JSON_MAX_SAFE);
    CHECK(cmd->data.n <= MAX_DATA && cmd->ref.n <= 256 && utf8_valid(cmd->token));
    CHECK(cmd->ttl_s == TTL_UNSET || cmd->ttl_s <= 315360000);
    if (cmd->type == CMD_SEND) {
        CHECK((cmd->user.n > 0) + (cmd->room.n > 0) + cmd->all == 1 && cmd->data.n > 0);
        check_message(c, cmd);
    }
    buf_init(&b, CHECK_LARGE);
    CHECK(encode_ok(c, cmd->ref, &b));
    check_valid(c, &b);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    enum codec c = data[0] & 1 ? CODEC_MSGPACK : CODEC_JSON;
    struct span in = check_exact(span_of(data + 1, size - 1));
    struct command cmd;
    struct command_error err;
    struct buf scratch, b;
    buf_init(&scratch, (data[0] >> 1) * (size_t)64);
    if (command_parse(c, in, MAX_DATA, &scratch, &cmd, &err) == 0) {
        check_command(c, &cmd);
    } else {
        CHECK(err.code[0] != '\0' && err.message[0] != '\0' && utf8_valid(span_str(err.message)));
        buf_init(&b, CHECK_LARGE);
        CHECK(encode_error(c, err.ref, err.code, err.message, 0, &b));
        check_valid(c, &b);
        buf_fini(&b);
    }
    buf_fini(&scratch);
    check_free(in);
    return 0;
}
