/*
 * console_assets.c - where embedded files are served. Made once, at start, by the main thread; immutable while shards
 * run.
 */
#include "cmd/crier/console_assets.h"

#include <stdlib.h>

#include "cmd/crier/web_assets.h"

static bool add(struct net_asset *to, const struct web_asset *w, const char *dir, const char *name)
{
    size_t a = strlen(dir), b = strlen(name);
    char *path = malloc(a + b + 1);

    if (!path)
        return false;
    memcpy(path, dir, a);
    memcpy(path + a, name, b + 1);
    *to = (struct net_asset){.path = path, .type = w->content_type, .etag = w->etag, .bytes = w->bytes, .len = w->size};
    return true;
}

struct net_asset *console_assets_new(size_t *n)
{
    struct net_asset *v = calloc(web_assets_count * 2 + 1, sizeof(*v));
    bool ok = v != NULL;

    *n = 0;
    for (size_t i = 0; ok && i < web_assets_count; i++) {
        const struct web_asset *w = &web_assets[i];
        bool index = strcmp(w->name, "index.html") == 0;
        ok = add(&v[*n], w, "/console/", index ? "" : w->name);
        *n += ok;
        if (ok && strcmp(w->name, "crier.js") == 0) {
            ok = add(&v[*n], w, "/", w->name);
            *n += ok;
        }
    }
    if (ok)
        return v;
    console_assets_free(v, *n);
    return NULL;
}

void console_assets_free(struct net_asset *a, size_t n)
{
    for (size_t i = 0; a && i < n; i++)
        free((void *)(uintptr_t)a[i].path);
    free(a);
}
