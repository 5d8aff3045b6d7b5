/*
 * request.c - URLs, bodies and headers.
 *
 * WeCom: POST cgi-bin/message/send, where the same text to the same user within a short while is sent once
 * (enable_duplicate_check). WeChat: POST cgi-bin/message/template/send, where client_msg_id does that. A webhook gets
 * the message itself, and a signature by which it knows who calls: HMAC-SHA256 over "<unix s>.<body>".
 *
 * Names and texts hold any bytes: in JSON the writer makes them valid, in URLs they are percent-encoded.
 */
#include "cmd/crier-relay/request.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "cmd/crier-relay/settings.h"
#include "proto/base64.h"
#include "proto/json.h"

enum { WECOM, WECHAT, WEBHOOK }; /* in relay_channels */
enum { LEAST_REPETITION_S = 60, MESSAGE_ID_BYTES = 16 };

static bool end_text(struct buf *out)
{
    bool good = buf_append_byte(out, '\0');
    out->len -= good;
    return good;
}

bool channel_has_token(unsigned channel)
{
    return channel == WECOM || channel == WECHAT;
}

/* WeCom takes several users with '|' between them, and @all for the whole enterprise. */
bool channel_takes(unsigned channel, struct span address)
{
    if (channel == WEBHOOK)
        return name_webhook_ok(address);
    if (!name_address_ok(address))
        return false;
    return channel != WECOM || (address.p[0] != '@' && !memchr(address.p, '|', address.n));
}

/* ---- URLs ---- */

/* RFC 3986 section 2.3: all but the unreserved characters. */
static bool append_escaped(struct buf *out, struct span s)
{
    bool good = true;
    for (size_t i = 0; i < s.n && good; i++) {
        uint8_t c = s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '.' || c == '_' || c == '~';
        good = plain ? buf_append_byte(out, c) : buf_printf(out, "%%%02X", c);
    }
    return good;
}

bool request_token_url(const struct settings *s, unsigned channel, struct buf *out)
{
    if (channel == WECOM)
        return buf_printf(out, "%s/cgi-bin/gettoken?corpid=", s->wecom_api) &&
               append_escaped(out, span_str(s->corpid)) && buf_append_str(out, "&corpsecret=") &&
               append_escaped(out, span_str(s->corp_secret)) && end_text(out);
    return buf_printf(out, "%s/cgi-bin/token?grant_type=client_credential&appid=", s->wechat_api) &&
           append_escaped(out, span_str(s->appid)) && buf_append_str(out, "&secret=") &&
           append_escaped(out, span_str(s->app_secret)) && end_text(out);
}

bool request_url(const struct settings *s, unsigned channel, const struct errand *e, const char *token, struct buf *out)
{
    if (channel == WEBHOOK)
        return buf_append_span(out, e->address) && end_text(out);
    bool good = channel == WECOM ? buf_printf(out, "%s/cgi-bin/message/send?access_token=", s->wecom_api)
                                 : buf_printf(out, "%s/cgi-bin/message/template/send?access_token=", s->wechat_api);
    return good && append_escaped(out, span_str(token)) && end_text(out);
}

/* ---- bodies ---- */

/* One member: `before` is all that stands before its value, the comma and the name too. */
static bool string(struct buf *out, const char *before, struct span value)
{
    return buf_append_str(out, before) && json_write_string(out, value);
}

/* For so long WeCom takes the same text for a repetition: as long as a worker that died may leave one behind, since a
 * second message may well have the text of the first. */
static unsigned repetition_s(const struct settings *s)
{
    unsigned two_leases = 2 * (s->lease_ms / 1000);
    return two_leases > LEAST_REPETITION_S ? two_leases : LEAST_REPETITION_S;
}

static bool wecom_body(const struct settings *s, const struct errand *e, struct buf *out)
{
    return string(out, "{\"touser\":", e->address) &&
           buf_printf(out, ",\"msgtype\":\"text\",\"agentid\":%s", s->agentid) &&
           string(out, ",\"text\":{\"content\":", e->text) &&
           buf_printf(out, "},\"enable_duplicate_check\":1,\"duplicate_check_interval\":%u}", repetition_s(s));
}

/* The first bytes of SHA-256(name) as hex: the same for each attempt of one message to one user. */
static bool append_message_id(struct buf *out, struct span name)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    bool good = EVP_Digest(name.p, name.n, hash, NULL, EVP_sha256(), NULL) == 1;
    for (unsigned i = 0; i < MESSAGE_ID_BYTES && good; i++)
        good = buf_printf(out, "%02x", hash[i]);
    return good;
}

static bool wechat_body(const struct settings *s, const struct errand *e, struct buf *out)
{
    return string(out, "{\"touser\":", e->address) && string(out, ",\"template_id\":", span_str(s->template_id)) &&
           buf_append_str(out, ",\"client_msg_id\":\"") && append_message_id(out, e->name) &&
           string(out, "\",\"data\":{", span_str(s->field)) && string(out, ":{\"value\":", e->text) &&
           buf_append_str(out, "}}}");
}

/* P as it is where it is JSON. */
static bool append_payload(struct buf *out, struct span p)
{
    struct json_value whole;
    if (!p.p)
        return true;
    if (json_parse(p, JSON_MAX_DATA_DEPTH, &whole) == JSON_OK)
        return buf_append_str(out, ",\"message\":") && buf_append_span(out, whole.raw);
    return buf_append_str(out, ",\"message_base64\":\"") && base64_append(out, p) && buf_append_byte(out, '"');
}

static bool webhook_body(const struct errand *e, struct buf *out)
{
    return string(out, "{\"id\":", e->id) && string(out, ",\"user\":", e->user) && string(out, ",\"text\":", e->text) &&
           buf_printf(out, ",\"attempt\":%u,\"due\":%" PRIu64, e->attempt, e->due_ms) &&
           append_payload(out, e->payload) && buf_append_byte(out, '}');
}

bool request_body(const struct settings *s, unsigned channel, const struct errand *e, struct buf *out)
{
    if (channel == WECOM)
        return wecom_body(s, e, out);
    return channel == WECHAT ? wechat_body(s, e, out) : webhook_body(e, out);
}

/* ---- headers ---- */

bool request_key_header(const struct errand *e, struct buf *out)
{
    return buf_append_str(out, "Idempotency-Key: ") && append_message_id(out, e->name) && end_text(out);
}

bool request_signature_header(struct span secret, uint64_t now_s, struct span body, struct buf *out)
{
    char when[24];
    uint8_t mac[EVP_MAX_MD_SIZE];
    struct buf text;
    unsigned n = 0;
    int len = snprintf(when, sizeof(when), "%" PRIu64, now_s);
    buf_init(&text, body.n + sizeof(when));
    bool good = buf_append(&text, when, (size_t)len) && buf_append_byte(&text, '.') && buf_append_span(&text, body) &&
                HMAC(EVP_sha256(), secret.p, (int)secret.n, text.data, text.len, mac, &n) &&
                buf_printf(out, "Crier-Signature: t=%s,v1=", when);
    for (unsigned i = 0; i < n && good; i++)
        good = buf_printf(out, "%02x", mac[i]);
    buf_fini(&text);
    return good && end_text(out);
}
