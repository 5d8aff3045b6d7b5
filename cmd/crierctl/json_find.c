/*
 * json_find.c - see json_find.h. Looks through the object anew for each member: messages are small and this is a
 * command line.
 */
#include "cmd/crierctl/json_find.h"

bool json_find(struct span object, const char *name, struct json_value *out)
{
    struct json_reader r;
    struct json_value key;
    json_reader_init(&r, object, JSON_MAX_DEPTH);
    if (json_next(&r, out) != JSON_T_OPEN_OBJECT) {
        return false;
    }
    while (json_member(&r, &key, out)) {
        if (json_string_is(&key, name)) {
            return true;
        }
    }
    return false;
}

bool json_find_text(struct span object, const char *name, char *out, size_t cap)
{
    struct json_value v;
    uint8_t text[4096];
    if (cap == 0 || !json_find(object, name, &v) || v.kind != JSON_STRING) {
        return false;
    }
    ptrdiff_t n = json_decode(&v, true, text, sizeof(text));
    if (n < 0) {
        return false;
    }
    size_t keep = (size_t)n < cap ? (size_t)n : cap - 1;
    for (size_t i = 0; i < keep; i++) {
        /* C1 controls are c2 80 to c2 9f in UTF-8. */
        bool c1 = i + 1 < keep && text[i] == 0xc2 && text[i + 1] < 0xa0;
        if (c1) {
            text[i + 1] = '?';
        }
        out[i] = (char)(text[i] < ' ' || text[i] == 0x7f || c1 ? '?' : text[i]);
    }
    out[keep] = '\0';
    return true;
}

bool json_find_uint(struct span object, const char *name, uint64_t *out)
{
    struct json_value v;
    return json_find(object, name, &v) && v.kind == JSON_NUMBER && json_uint(&v, out);
}

bool json_find_true(struct span object, const char *name)
{
    struct json_value v;
    return json_find(object, name, &v) && v.kind == JSON_TRUE;
}

bool json_append_plain(struct buf *out, struct span text)
{
    /* Inside strings JSON has no bytes below 0x20: there a line break is white space between values. */
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        bool ok;
        if (c < ' ') {
            ok = buf_append_byte(out, ' ');
        } else if (c == 0x7f) {
            ok = buf_append_str(out, "\\u007f");
        } else if (c == 0xc2 && i + 1 < text.n && text.p[i + 1] < 0xa0) {
            ok = buf_printf(out, "\\u%04x", text.p[++i]);
        } else {
            ok = buf_append_byte(out, c);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}
