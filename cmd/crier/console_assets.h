/*
 * console_assets.h - the embedded web files (web_assets.h) at the paths they are served from.
 */
#ifndef CMD_CRIER_CONSOLE_ASSETS_H
#define CMD_CRIER_CONSOLE_ASSETS_H

#include "net/net_env.h"

/* New table; *n entries: crier.js at /crier.js, all files below /console/, index.html at /console/ itself. NULL when
 * memory is out. Freed with console_assets_free. */
struct net_asset *console_assets_new(size_t *n) MUST_CHECK;
void console_assets_free(struct net_asset *a, size_t n);

#endif
