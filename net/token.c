/*
 * token.c - JWT signatures with OpenSSL's EVP interface: HS256, RS256, ES256.
 *
 * Keys are read, parsed and checked once, at start, by the main thread; from then on the set is immutable and any shard
 * verifies with it (an EVP_PKEY that nobody changes may be used by several threads; what a verification writes to is
 * its own). libjwt is not used for this: its 1.10 compares HMACs with strcmp and parses the PEM file anew for each
 * token. It makes the tokens of the unit test instead, so that two implementations have to agree.
 *
 * The token never picks its algorithm: it names a key, and the key knows what it is for. So `none`, and an RSA public
 * key used as an HMAC secret, are refused by the same comparison as any other mismatch.
 */
#include "net/token.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/config.h"
#include "net/secret.h"
#include "proto/json.h"

enum token_alg { ALG_HS256, ALG_RS256, ALG_ES256, ALG_COUNT };
static const char *const alg_names[ALG_COUNT] = {"HS256", "RS256", "ES256"};

#define SECRET_MIN_BYTES 32 /* RFC 7518 section 3.2: as long as the hash */
#define RSA_MIN_BITS     2048
#define KID_MAX_BYTES    128

struct token_key {
    char *kid; /* NULL: for tokens that name none */
    enum token_alg alg;
    EVP_PKEY *pkey;
    char *secret;
    size_t secret_len;
};

struct token_keys {
    unsigned n;
    struct token_key v[CONFIG_MAX_LIST];
};

/* ---- keys ---- */

struct token_keys *token_keys_new(void)
{
    return calloc(1, sizeof(struct token_keys));
}

static void key_fini(struct token_key *key)
{
    free(key->kid);
    EVP_PKEY_free(key->pkey);
    secret_free(key->secret, key->secret_len);
}

void token_keys_free(struct token_keys *k)
{
    if (!k)
        return;
    for (unsigned i = 0; i < k->n; i++)
        key_fini(&k->v[i]);
    free(k);
}

unsigned token_keys_count(const struct token_keys *k)
{
    return k->n;
}

/* A public key, or the one inside a certificate. */
static EVP_PKEY *parse_pem(const char *pem, size_t n)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)n);
    EVP_PKEY *pkey = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    if (!pkey && (bio = BIO_new_mem_buf(pem, (int)n))) {
        X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (cert)
            pkey = X509_get_pubkey(cert);
        X509_free(cert);
        BIO_free(bio);
    }
    ERR_clear_error();
    return pkey;
}

static bool is_p256(const EVP_PKEY *pkey)
{
    char group[64];
    size_t n = 0;

    return EVP_PKEY_is_a(pkey, "EC") && EVP_PKEY_get_group_name(pkey, group, sizeof(group), &n) &&
           strcmp(group, "prime256v1") == 0;
}

static bool load_public_key(struct token_key *key, const char *path, char *err, size_t errlen)
{
    size_t n = 0;
    char *pem = secret_read_file(path, &n, err, errlen);
    bool private_key = pem && strstr(pem, "PRIVATE KEY-----");

    if (!pem)
        return false;
    key->pkey = parse_pem(pem, n);
    secret_free(pem, n);
    if (!key->pkey) {
        snprintf(err, errlen, "%s holds %s", path,
                 private_key ? "a private key; the broker verifies with the public one" : "no public key in PEM form");
        return false;
    }
    if (key->alg == ALG_ES256 && !is_p256(key->pkey)) {
        snprintf(err, errlen, "%s is not an EC key on P-256, which ES256 needs", path);
        return false;
    }
    if (key->alg == ALG_RS256 && !EVP_PKEY_is_a(key->pkey, "RSA")) {
        snprintf(err, errlen, "%s is not an RSA key, which RS256 needs", path);
        return false;
    }
    if (key->alg == ALG_RS256 && EVP_PKEY_get_bits(key->pkey) < RSA_MIN_BITS) {
        snprintf(err, errlen, "%s is an RSA key of %d bits; at least %d are needed", path, EVP_PKEY_get_bits(key->pkey),
                 RSA_MIN_BITS);
        return false;
    }
    return true;
}

static bool load_secret(struct token_key *key, const char *value, char *err, size_t errlen)
{
    key->secret = secret_load(value, &key->secret_len, err, errlen);
    if (!key->secret)
        return false;
    if (key->secret_len < SECRET_MIN_BYTES) {
        snprintf(err, errlen, "an HS256 secret has %zu bytes; at least %d are needed", key->secret_len,
                 SECRET_MIN_BYTES);
        return false;
    }
    return true;
}

/* Splits "[KID=]ALG:REST" and checks KID and ALG. Returns REST, or NULL with err filled. */
static const char *parse_spec(struct token_key *key, const char *spec, char *err, size_t errlen)
{
    const char *colon = strchr(spec, ':');
    const char *alg = spec;
    unsigned a = 0;

    for (const char *p = spec; colon && p < colon; p++) {
        if (*p == '=')
            alg = p + 1;
    }
    while (a < ALG_COUNT && !(colon && span_eq(span_str(alg_names[a]), span_of(alg, (size_t)(colon - alg)))))
        a++;
    if (a == ALG_COUNT) {
        snprintf(err, errlen,
                 "a JWT key is [KID=]HS256:SECRET, [KID=]HS256:@FILE, [KID=]RS256:PEMFILE or [KID=]ES256:PEMFILE");
        return NULL;
    }
    key->alg = (enum token_alg)a;
    if (alg == spec)
        return colon + 1;
    if (alg - 1 == spec || alg - 1 - spec > KID_MAX_BYTES) {
        snprintf(err, errlen, "the key id of a JWT key is empty or longer than %d bytes", KID_MAX_BYTES);
        return NULL;
    }
    key->kid = span_dup(span_of(spec, (size_t)(alg - 1 - spec)));
    if (!key->kid)
        snprintf(err, errlen, "out of memory");
    return key->kid ? colon + 1 : NULL;
}

static bool kid_taken(const struct token_keys *k, const char *kid)
{
    for (unsigned i = 0; kid && i < k->n; i++) {
        if (k->v[i].kid && strcmp(k->v[i].kid, kid) == 0)
            return true;
    }
    return false;
}

bool token_keys_add(struct token_keys *k, const char *spec, char *err, size_t errlen)
{
    struct token_key key = {.alg = ALG_COUNT};
    const char *rest = NULL;
    bool ok = false;

    if (k->n == CONFIG_MAX_LIST)
        snprintf(err, errlen, "more than %d JWT keys", CONFIG_MAX_LIST);
    else
        rest = parse_spec(&key, spec, err, errlen);
    if (rest && kid_taken(k, key.kid))
        snprintf(err, errlen, "two JWT keys have the id \"%s\"", key.kid);
    else if (rest)
        ok = key.alg == ALG_HS256 ? load_secret(&key, rest, err, errlen) : load_public_key(&key, rest, err, errlen);
    if (ok)
        k->v[k->n++] = key;
    else
        key_fini(&key);
    return ok;
}

/* ---- a token's parts ---- */

static int b64url_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Base64url without padding (RFC 7515 section 2) into out, which holds at least s.n bytes: how many it became, or -1.
 * One text for each value: left-over bits must be zero. */
static ptrdiff_t b64url_decode(struct span s, uint8_t *out)
{
    uint32_t acc = 0;
    unsigned bits = 0;
    size_t n = 0;

    if (s.n % 4 == 1)
        return -1;
    for (size_t i = 0; i < s.n; i++) {
        int d = b64url_digit(s.p[i]);
        if (d < 0)
            return -1;
        acc = (acc << 6 | (uint32_t)d) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[n++] = (uint8_t)(acc >> bits);
        }
    }
    return (acc & ((1u << bits) - 1)) ? -1 : (ptrdiff_t)n;
}

struct token_parts {
    struct span head, body, signature; /* as sent */
    struct span signed_bytes;          /* head "." body */
};

static bool split(struct span t, struct token_parts *out)
{
    const uint8_t *dot1 = t.n ? memchr(t.p, '.', t.n) : NULL;
    const uint8_t *end = t.p + t.n;
    const uint8_t *dot2 = dot1 ? memchr(dot1 + 1, '.', (size_t)(end - dot1 - 1)) : NULL;

    if (!dot2 || memchr(dot2 + 1, '.', (size_t)(end - dot2 - 1)))
        return false;
    out->head = span_of(t.p, (size_t)(dot1 - t.p));
    out->body = span_of(dot1 + 1, (size_t)(dot2 - dot1 - 1));
    out->signature = span_of(dot2 + 1, (size_t)(end - dot2 - 1));
    out->signed_bytes = span_of(t.p, (size_t)(dot2 - t.p));
    return out->head.n && out->body.n;
}

struct token_head {
    bool has_alg, has_kid;
    char alg[16];
    char kid[KID_MAX_BYTES + 1];
};

/* A JSON string into a NUL-terminated array; false: another kind, too long, or it holds a NUL. */
static bool string_member(const struct json_value *v, bool *seen, char *out, size_t cap)
{
    ptrdiff_t n = -1;

    if (*seen || v->kind != JSON_STRING || (n = json_decode(v, false, (uint8_t *)out, cap - 1)) < 0)
        return false;
    out[n] = '\0';
    *seen = true;
    return strlen(out) == (size_t)n;
}

static bool parse_head(struct span json, struct token_head *h, char *why, size_t whylen)
{
    struct json_reader r;
    struct json_value key, v;
    bool ok = true;

    memset(h, 0, sizeof(*h));
    json_reader_init(&r, json, 8);
    if (json_next(&r, &v) != JSON_T_OPEN_OBJECT)
        ok = false;
    while (ok && json_member(&r, &key, &v)) {
        if (json_string_is(&key, "alg"))
            ok = string_member(&v, &h->has_alg, h->alg, sizeof(h->alg));
        else if (json_string_is(&key, "kid"))
            ok = string_member(&v, &h->has_kid, h->kid, sizeof(h->kid));
        else if (json_string_is(&key, "crit"))
            ok = false; /* RFC 7515 section 4.1.11: an extension that must be understood, and none is */
    }
    if (!ok || json_next(&r, &v) != JSON_T_END || !h->has_alg) {
        snprintf(why, whylen, "the token's header is malformed or asks for an extension");
        return false;
    }
    return true;
}

/* ---- signatures ---- */

static bool verify_hmac(const struct token_key *key, struct span signed_bytes, struct span sig)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    return HMAC(EVP_sha256(), key->secret, (int)key->secret_len, signed_bytes.p, signed_bytes.n, mac, &n) &&
           sig.n == n && CRYPTO_memcmp(mac, sig.p, n) == 0;
}

static bool verify_evp(EVP_PKEY *pkey, struct span signed_bytes, struct span sig)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, pkey) == 1 &&
              EVP_DigestVerify(ctx, sig.p, sig.n, signed_bytes.p, signed_bytes.n) == 1;

    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

/* RFC 7518 section 3.4: R and S, 32 bytes each; OpenSSL wants them in DER. */
static bool verify_ecdsa(EVP_PKEY *pkey, struct span signed_bytes, struct span sig)
{
    ECDSA_SIG *es = NULL;
    BIGNUM *r, *s;
    uint8_t *der = NULL;
    int n;
    bool ok;

    if (sig.n != 64 || !(es = ECDSA_SIG_new()))
        return false;
    r = BN_bin2bn(sig.p, 32, NULL);
    s = BN_bin2bn(sig.p + 32, 32, NULL);
    if (!r || !s || !ECDSA_SIG_set0(es, r, s)) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(es);
        return false;
    }
    n = i2d_ECDSA_SIG(es, &der);
    ok = n > 0 && verify_evp(pkey, signed_bytes, span_of(der, (size_t)n));
    OPENSSL_free(der);
    ECDSA_SIG_free(es);
    return ok;
}

static bool verify_with(const struct token_key *key, struct span signed_bytes, struct span sig)
{
    switch (key->alg) {
    case ALG_HS256:
        return verify_hmac(key, signed_bytes, sig);
    case ALG_RS256:
        return verify_evp(key->pkey, signed_bytes, sig);
    case ALG_ES256:
        return verify_ecdsa(key->pkey, signed_bytes, sig);
    case ALG_COUNT:
        break;
    }
    return false;
}

/* Is it signed by a key that its header may name? */
static bool verify_any(const struct token_keys *k, const struct token_head *h, struct span signed_bytes,
                       struct span sig, char *why, size_t whylen)
{
    bool named = false, right_alg = false;

    for (unsigned i = 0; i < k->n; i++) {
        const struct token_key *key = &k->v[i];
        if (h->has_kid ? !key->kid || strcmp(key->kid, h->kid) != 0 : key->kid != NULL)
            continue;
        named = true;
        if (strcmp(alg_names[key->alg], h->alg) != 0)
            continue;
        right_alg = true;
        if (verify_with(key, signed_bytes, sig))
            return true;
    }
    if (!named)
        snprintf(why, whylen,
                 h->has_kid ? "the token names a key that is not known here"
                            : "the token names no key, and every key here has an id");
    else
        snprintf(why, whylen,
                 right_alg ? "the token's signature is wrong" : "the token's algorithm is not the one of its key");
    return false;
}

enum token_result token_verify(const struct token_keys *k, struct span token, uint8_t **claims, size_t *nclaims,
                               char *why, size_t whylen)
{
    struct token_parts t;
    struct token_head h;
    enum token_result res = TOKEN_BAD;
    uint8_t *head, *sig, *body;
    ptrdiff_t nhead, nsig, nbody;

    *claims = NULL;
    if (token.n > TOKEN_MAX_BYTES || !split(token, &t)) {
        snprintf(why, whylen, "the token is not a JWT of three parts");
        return TOKEN_BAD;
    }
    body = malloc(token.n + 1); /* each part becomes shorter: one block for all three */
    if (!body)
        return TOKEN_NO_MEMORY;
    head = body + t.body.n;
    sig = head + t.head.n;
    nbody = b64url_decode(t.body, body);
    nhead = b64url_decode(t.head, head);
    nsig = b64url_decode(t.signature, sig);
    if (nhead < 0 || nbody < 0 || nsig < 0)
        snprintf(why, whylen, "the token is not base64url");
    else if (parse_head(span_of(head, (size_t)nhead), &h, why, whylen) &&
             verify_any(k, &h, t.signed_bytes, span_of(sig, (size_t)nsig), why, whylen))
        res = TOKEN_OK;
    if (res == TOKEN_OK) {
        *claims = body;
        *nclaims = (size_t)nbody;
    } else {
        free(body);
    }
    return res;
}
