/*
 * settings_file.h - the relay's options out of a file, and the secrets out of theirs.
 */
#ifndef CMD_CRIER_RELAY_SETTINGS_FILE_H
#define CMD_CRIER_RELAY_SETTINGS_FILE_H

#include "cmd/crier-relay/settings.h"

/* Sets what the file says, reads secrets that are @FILE, and checks the whole. False with one sentence in err that
 * names the file and, where there is one, the line. Once, at start: inih's settings are process-wide. */
bool settings_load(struct settings *s, const char *path, char *err, size_t errlen) MUST_CHECK;

#endif
