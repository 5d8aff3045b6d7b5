/*
 * secret.c - reads keys at start, on the main thread, and wipes them when they go.
 */
#include "net/secret.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

void secret_free(char *s, size_t len)
{
    if (s)
        OPENSSL_cleanse(s, len);
    free(s);
}

char *secret_read_file(const char *path, size_t *len, char *err, size_t errlen)
{
    FILE *f = fopen(path, "rbe");
    char *s;

    if (!f) {
        snprintf(err, errlen, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    s = malloc(SECRET_MAX_BYTES + 1);
    if (!s) {
        snprintf(err, errlen, "out of memory reading %s", path);
        fclose(f);
        return NULL;
    }
    errno = 0;
    *len = fread(s, 1, SECRET_MAX_BYTES + 1, f);
    if (ferror(f) || *len > SECRET_MAX_BYTES) {
        snprintf(err, errlen, "cannot read %s: %s", path, ferror(f) ? strerror(errno) : "it is longer than 64 KiB");
        secret_free(s, SECRET_MAX_BYTES + 1);
        s = NULL;
    } else {
        s[*len] = '\0';
    }
    fclose(f);
    return s;
}

char *secret_load(const char *value, size_t *len, char *err, size_t errlen)
{
    char *s;

    if (value[0] == '@') {
        s = secret_read_file(value + 1, len, err, errlen);
        if (s && *len && s[*len - 1] == '\n')
            s[--*len] = '\0';
        if (s && *len && s[*len - 1] == '\r')
            s[--*len] = '\0';
        return s;
    }
    s = span_dup(span_str(value));
    if (!s)
        snprintf(err, errlen, "out of memory");
    *len = strlen(value);
    return s;
}
