/*
 * string_list.c - the strings of an array inside a request's body. Escaped ones are decoded into scratch, each once.
 */
#include "net/string_list.h"

#include "proto/utf8.h"

bool string_list_open(struct string_list *s, enum codec format, struct span raw)
{
    struct json_value jv;
    struct mp_value mv;

    s->format = format;
    if (format == CODEC_JSON) {
        json_reader_init(&s->json, raw, JSON_MAX_DEPTH);
        return json_next(&s->json, &jv) == JSON_T_OPEN_ARRAY;
    }
    mp_reader_init(&s->mp, raw);
    if (!mp_read(&s->mp, &mv) || mv.kind != MP_ARRAY)
        return false;
    s->left = mv.count;
    return true;
}

int string_list_next(struct string_list *s, struct buf *scratch, struct span *out)
{
    struct json_value jv;
    struct mp_value mv;

    if (s->format == CODEC_MSGPACK) {
        if (s->left == 0)
            return 0;
        s->left--;
        if (!mp_read(&s->mp, &mv) || mv.kind != MP_STR || !utf8_valid(mv.s))
            return -1;
        *out = mv.s;
        return 1;
    }
    if (!json_element(&s->json, &jv))
        return 0;
    if (jv.kind != JSON_STRING)
        return -1;
    *out = span_of(jv.raw.p + 1, jv.raw.n - 2);
    if (jv.escaped) {
        uint8_t *to = scratch->data + scratch->len;
        ptrdiff_t n = json_decode(&jv, false, to, scratch->cap - scratch->len);
        if (n < 0)
            return -1;
        buf_commit(scratch, (size_t)n);
        *out = span_of(to, (size_t)n);
    }
    return 1;
}
