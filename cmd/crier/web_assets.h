/*
 * web_assets.h - the console and the browser client as bytes inside the broker. `scripts/embed web` writes the table
 * (BUILD/gen/web_assets.c) from the files of cmd/crier/web/.
 */
#ifndef CMD_CRIER_WEB_ASSETS_H
#define CMD_CRIER_WEB_ASSETS_H

#include <stddef.h>
#include <stdint.h>

struct web_asset {
    const char *name; /* the file's own name: "console.html", "crier.js" */
    const char *content_type;
    const char *etag; /* with its double quotes; changes when a byte of the file does */
    const uint8_t *bytes;
    size_t size;
};

extern const struct web_asset web_assets[];
extern const size_t web_assets_count;

#endif
