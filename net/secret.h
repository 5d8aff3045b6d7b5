/*
 * secret.h - secrets out of the configuration: given in place, or "@FILE". Start-up only.
 */
#ifndef NET_SECRET_H
#define NET_SECRET_H

#include "core/base.h"

#define SECRET_MAX_BYTES (64 * 1024)

/* The whole of a file of at most SECRET_MAX_BYTES, NUL-terminated behind *len bytes. New, freed with secret_free; NULL
 * with one sentence in err. */
char *secret_read_file(const char *path, size_t *len, char *err, size_t errlen) MUST_CHECK;
/* A copy of the value, or, for "@FILE", that file without its last line end. The same returns. */
char *secret_load(const char *value, size_t *len, char *err, size_t errlen) MUST_CHECK;
/* Wipes and frees. NULL is fine. */
void secret_free(char *s, size_t len);

#endif
