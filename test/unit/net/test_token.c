/*
 * test_token.c - tokens made by libjwt, an implementation that is not ours, with keys made here by OpenSSL, have to be
 * accepted; tokens put together by hand, as an attacker would, refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jwt.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/token.h"
#include "proto/base64.h"

#define SECRET       "0123456789abcdef0123456789abcdef"
#define OTHER_SECRET "fedcba9876543210fedcba9876543210"

struct pair {
    char pub[64]; /* paths */
    char *private_pem, *public_pem;
    char priv[64];
};

static struct {
    struct pair rsa, rsa_small, ec, ec384;
    char dir[32];
} keys;

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static char *pem_of(EVP_PKEY *k, bool private)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *p, *copy;
    long n;

    assert_int_equal(private ? PEM_write_bio_PrivateKey(b, k, NULL, NULL, 0, NULL, NULL) : PEM_write_bio_PUBKEY(b, k),
                     1);
    n = BIO_get_mem_data(b, &p);
    copy = span_dup(span_of(p, (size_t)n));
    BIO_free(b);
    return copy;
}

static void make_pair(struct pair *p, const char *name, EVP_PKEY *k)
{
    assert_non_null(k);
    p->private_pem = pem_of(k, true);
    p->public_pem = pem_of(k, false);
    snprintf(p->pub, sizeof(p->pub), "%s/%s.pub", keys.dir, name);
    snprintf(p->priv, sizeof(p->priv), "%s/%s.key", keys.dir, name);
    write_file(p->pub, p->public_pem);
    write_file(p->priv, p->private_pem);
    EVP_PKEY_free(k);
}

static void drop_pair(struct pair *p)
{
    unlink(p->pub);
    unlink(p->priv);
    free(p->private_pem);
    free(p->public_pem);
}

static int setup(void **state)
{
    (void)state;
    snprintf(keys.dir, sizeof(keys.dir), "/tmp/crier-token-XXXXXX");
    assert_non_null(mkdtemp(keys.dir));
    make_pair(&keys.rsa, "rsa", EVP_RSA_gen(2048));
    make_pair(&keys.rsa_small, "small", EVP_RSA_gen(1024));
    make_pair(&keys.ec, "ec", EVP_EC_gen("P-256"));
    make_pair(&keys.ec384, "ec384", EVP_EC_gen("P-384"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    drop_pair(&keys.rsa);
    drop_pair(&keys.rsa_small);
    drop_pair(&keys.ec);
    drop_pair(&keys.ec384);
    rmdir(keys.dir);
    return 0;
}

/* ---- tokens ---- */

static char *mint(jwt_alg_t alg, const char *kid, const char *key)
{
    jwt_t *j;
    char *text, *copy;

    assert_int_equal(jwt_new(&j), 0);
    assert_int_equal(jwt_add_grant(j, "sub", "alice"), 0);
    if (kid)
        assert_int_equal(jwt_add_header(j, "kid", kid), 0);
    assert_int_equal(jwt_set_alg(j, alg, (const unsigned char *)key, key ? (int)strlen(key) : 0), 0);
    text = jwt_encode_str(j);
    assert_non_null(text);
    copy = span_dup(span_str(text));
    free(text);
    jwt_free(j);
    return copy;
}

static void b64url(const void *p, size_t n, char *out)
{
    base64_encode(span_of(p, n), out);
    n = base64_length(n);
    while (n && out[n - 1] == '=')
        n--;
    out[n] = '\0';
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
}

/* Signed by HMAC with any bytes, whatever the header says. */
static char *forge(const char *head, const char *body, const void *key, size_t keylen)
{
    char *out = malloc(8192);
    uint8_t mac[32];
    unsigned n = 0;

    b64url(head, strlen(head), out);
    strncat(out, ".", 2);
    b64url(body, strlen(body), out + strlen(out));
    HMAC(EVP_sha256(), key, (int)keylen, (const uint8_t *)out, strlen(out), mac, &n);
    strncat(out, ".", 2);
    b64url(mac, n, out + strlen(out));
    return out;
}

static struct token_keys *with_keys(const char *const *specs)
{
    struct token_keys *k = token_keys_new();
    char err[256] = "";

    assert_non_null(k);
    for (; *specs; specs++) {
        if (!token_keys_add(k, *specs, err, sizeof(err)))
            fail_msg("%s", err);
    }
    return k;
}

#define KEYS(...) with_keys((const char *const[]){__VA_ARGS__, NULL})

/* NULL: accepted; else the sentence. */
static const char *verify(const struct token_keys *k, const char *token)
{
    static char why[200];
    uint8_t *claims = NULL;
    size_t n = 0;
    enum token_result r;

    why[0] = '\0';
    r = token_verify(k, span_str(token), &claims, &n, why, sizeof(why));
    if (r == TOKEN_OK) {
        assert_non_null(claims);
        assert_true(n >= 2 && claims[0] == '{' && claims[n - 1] == '}');
        free(claims);
        return NULL;
    }
    assert_null(claims);
    assert_int_equal(r, TOKEN_BAD);
    assert_true(why[0] != '\0');
    return why;
}

static void assert_refused(const struct token_keys *k, char *token, const char *part)
{
    const char *why = verify(k, token);

    if (!why)
        fail_msg("accepted: %s", token);
    if (!strstr(why, part))
        fail_msg("\"%s\" does not say \"%s\"", why, part);
    free(token);
}

static void assert_accepted(const struct token_keys *k, char *token)
{
    const char *why = verify(k, token);

    if (why)
        fail_msg("refused: %s", why);
    free(token);
}

/* ---- tests ---- */

static void spec(char out[160], const char *prefix, const char *rest)
{
    snprintf(out, 160, "%s%s", prefix, rest);
}

static void accepts_what_libjwt_signs(void **state)
{
    char rs[160], es[160], file[64], hs_file[160];
    (void)state;

    spec(rs, "r=RS256:", keys.rsa.pub);
    spec(es, "e=ES256:", keys.ec.pub);
    snprintf(file, sizeof(file), "%s/secret", keys.dir);
    write_file(file, OTHER_SECRET "\n");
    spec(hs_file, "f=HS256:@", file);
    struct token_keys *k = KEYS("HS256:" SECRET, "h=HS256:" OTHER_SECRET, rs, es, hs_file);
    unlink(file);

    assert_int_equal(token_keys_count(k), 5);
    assert_accepted(k, mint(JWT_ALG_HS256, NULL, SECRET));
    assert_accepted(k, mint(JWT_ALG_HS256, "h", OTHER_SECRET));
    assert_accepted(k, mint(JWT_ALG_HS256, "f", OTHER_SECRET));
    for (int i = 0; i < 20; i++) { /* R and S of every length */
        assert_accepted(k, mint(JWT_ALG_RS256, "r", keys.rsa.private_pem));
        assert_accepted(k, mint(JWT_ALG_ES256, "e", keys.ec.private_pem));
    }
    token_keys_free(k);
}

static void keys_without_id_rotate(void **state)
{
    (void)state;
    struct token_keys *k = KEYS("HS256:" SECRET, "HS256:" OTHER_SECRET);

    assert_accepted(k, mint(JWT_ALG_HS256, NULL, SECRET));
    assert_accepted(k, mint(JWT_ALG_HS256, NULL, OTHER_SECRET));
    assert_refused(k, mint(JWT_ALG_HS256, NULL, "another secret of thirty-two bytes"), "signature");
    token_keys_free(k);
}

static void refuses_wrong_keys(void **state)
{
    char rs[160], es[160];
    (void)state;

    spec(rs, "r=RS256:", keys.rsa.pub);
    spec(es, "e=ES256:", keys.ec.pub);
    struct token_keys *k = KEYS("h=HS256:" SECRET, rs, es);

    assert_refused(k, mint(JWT_ALG_HS256, "h", OTHER_SECRET), "signature");
    assert_refused(k, mint(JWT_ALG_HS256, "x", SECRET), "not known");
    assert_refused(k, mint(JWT_ALG_HS256, NULL, SECRET), "names no key");
    assert_refused(k, mint(JWT_ALG_RS256, "h", keys.rsa.private_pem), "algorithm");
    assert_refused(k, mint(JWT_ALG_HS256, "r", SECRET), "algorithm");
    assert_refused(k, mint(JWT_ALG_HS512, "h", SECRET), "algorithm");
    assert_refused(k, mint(JWT_ALG_RS512, "r", keys.rsa.private_pem), "algorithm");
    assert_refused(k, mint(JWT_ALG_NONE, "h", NULL), "algorithm");
    token_keys_free(k);
}

static void refuses_algorithm_confusion(void **state)
{
    char rs[160];
    (void)state;

    spec(rs, "r=RS256:", keys.rsa.pub);
    struct token_keys *k = KEYS(rs);
    const char *body = "{\"sub\":\"root\",\"exp\":9999999999}";
    const char *pem = keys.rsa.public_pem; /* everybody knows it */

    assert_refused(k, forge("{\"alg\":\"HS256\",\"kid\":\"r\"}", body, pem, strlen(pem)), "algorithm");
    assert_refused(k, forge("{\"alg\":\"RS256\",\"kid\":\"r\"}", body, pem, strlen(pem)), "signature");
    assert_refused(k, forge("{\"alg\":\"none\",\"kid\":\"r\"}", body, pem, strlen(pem)), "algorithm");
    token_keys_free(k);
}

static void refuses_malformed(void **state)
{
    static const struct {
        const char *head, *part;
    } heads[] = {
        {"{\"alg\":\"HS256\",\"alg\":\"HS256\"}", "malformed"},
        {"{\"alg\":\"HS256\",\"kid\":1}", "malformed"},
        {"{\"alg\":\"HS256\",\"crit\":[\"b64\"]}", "extension"},
        {"{\"alg\":[\"HS256\"]}", "malformed"},
        {"{\"alg\":\"HS256HS256HS256HS256\"}", "malformed"},
        {"{\"alg\":\"hs256\"}", "algorithm"},
        {"{}", "malformed"},
        {"[]", "malformed"},
        {"{\"alg\":\"HS256\"", "malformed"},
        {"{\"alg\":\"HS256\"} {}", "malformed"},
    };
    static const char *const texts[] = {
        "", ".", "..", "...", "a.b", "a.b.c.d", "e30.e30.", "e30.e30.=", "!!!!.e30.AAAA", ".e30.AAAA", "e30..AAAA"};
    (void)state;
    struct token_keys *k = KEYS("HS256:" SECRET);

    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        assert_refused(k, forge(heads[i].head, "{}", SECRET, strlen(SECRET)), heads[i].part);
    assert_accepted(k, forge("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", "{}", SECRET, strlen(SECRET)));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!verify(k, texts[i]))
            fail_msg("accepted \"%s\"", texts[i]);
    }
    token_keys_free(k);
}

/* Any changed character breaks it, also one that only differs in bits base64 would throw away. */
static void every_character_counts(void **state)
{
    (void)state;
    struct token_keys *k = KEYS("HS256:" SECRET);
    char *t = mint(JWT_ALG_HS256, NULL, SECRET);

    for (size_t i = 0; i < strlen(t); i++) {
        char was = t[i];
        for (int d = 1; d < 4; d++) {
            t[i] = (char)(was ^ d);
            if (!verify(k, t))
                fail_msg("accepted with character %zu changed", i);
        }
        t[i] = was;
    }
    assert_accepted(k, t);
    token_keys_free(k);
}

static void refuses_keys_at_start(void **state)
{
    char err[256], text[200];
    struct token_keys *k = token_keys_new();
    const struct {
        const char *prefix, *rest, *part;
    } bad[] = {
        {"HS256:", "short", "at least 32"},
        {"HS256:@", "/nonexistent/secret", "cannot read"},
        {"RS256:", "/nonexistent/key", "cannot read"},
        {"RS256:", keys.ec.pub, "not an RSA key"},
        {"ES256:", keys.rsa.pub, "not an EC key"},
        {"ES256:", keys.ec384.pub, "P-256"},
        {"RS256:", keys.rsa_small.pub, "1024 bits"},
        {"RS256:", keys.rsa.priv, "private key"},
        {"RS512:", keys.rsa.pub, "[KID=]HS256"},
        {"none:", "", "[KID=]HS256"},
        {"", "HS256", "[KID=]HS256"},
        {"=HS256:", SECRET, "empty"},
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(text, sizeof(text), "%s%s", bad[i].prefix, bad[i].rest);
        err[0] = '\0';
        if (token_keys_add(k, text, err, sizeof(err)))
            fail_msg("accepted %s", text);
        if (!strstr(err, bad[i].part))
            fail_msg("%s: \"%s\" does not say \"%s\"", text, err, bad[i].part);
    }
    assert_true(token_keys_add(k, "k=HS256:" SECRET, err, sizeof(err)));
    assert_false(token_keys_add(k, "k=HS256:" OTHER_SECRET, err, sizeof(err)));
    assert_non_null(strstr(err, "\"k\""));
    assert_null(strstr(err, OTHER_SECRET));
    assert_int_equal(token_keys_count(k), 1);
    token_keys_free(k);
}

struct work {
    const struct token_keys *k;
    char *tokens[3];
    unsigned bad;
};

static void *verify_many(void *arg)
{
    struct work *w = arg;

    for (int i = 0; i < 60; i++) {
        uint8_t *claims;
        size_t n;
        char why[128];
        w->bad += token_verify(w->k, span_str(w->tokens[i % 3]), &claims, &n, why, sizeof(why)) != TOKEN_OK;
        free(claims);
    }
    return NULL;
}

static void threads_share_the_keys(void **state)
{
    char rs[160], es[160];
    pthread_t t[4];
    struct work w[4];
    (void)state;

    spec(rs, "r=RS256:", keys.rsa.pub);
    spec(es, "e=ES256:", keys.ec.pub);
    struct token_keys *k = KEYS("HS256:" SECRET, rs, es);
    char *tokens[3] = {mint(JWT_ALG_HS256, NULL, SECRET), mint(JWT_ALG_RS256, "r", keys.rsa.private_pem),
                       mint(JWT_ALG_ES256, "e", keys.ec.private_pem)};

    for (int i = 0; i < 4; i++) {
        w[i] = (struct work){.k = k, .tokens = {tokens[0], tokens[1], tokens[2]}};
        assert_int_equal(pthread_create(&t[i], NULL, verify_many, &w[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(w[i].bad, 0);
    }
    for (int i = 0; i < 3; i++)
        free(tokens[i]);
    token_keys_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_libjwt_signs), cmocka_unit_test(keys_without_id_rotate),
        cmocka_unit_test(refuses_wrong_keys),        cmocka_unit_test(refuses_algorithm_confusion),
        cmocka_unit_test(refuses_malformed),         cmocka_unit_test(every_character_counts),
        cmocka_unit_test(refuses_keys_at_start),     cmocka_unit_test(threads_share_the_keys),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
