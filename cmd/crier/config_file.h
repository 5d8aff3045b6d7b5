/*
 * config_file.h - options out of a file (--config): "name = value" lines, as --dump-config prints them.
 */
#ifndef CMD_CRIER_CONFIG_FILE_H
#define CMD_CRIER_CONFIG_FILE_H

#include "core/config.h"

/* Sets what the file says. A list option may stand on several lines. False with one sentence in err (file, line,
 * fault). Main thread, before there are others. */
bool config_from_file(struct config *c, const char *path, char *err, size_t errlen) MUST_CHECK;

#endif
