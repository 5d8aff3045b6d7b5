/*
 * settings.h - the options of the relay: one table gives the parser, --help and the check that each is documented
 * (docs/relay.conf.example). After start they do not change. Pure; the file is read by settings_file.c.
 */
#ifndef CMD_CRIER_RELAY_SETTINGS_H
#define CMD_CRIER_RELAY_SETTINGS_H

#include <stdio.h>

#include "core/base.h"
#include "proto/names.h"

struct settings {
    /* redis */
    char *redis, *prefix;
    /* relay; times in milliseconds */
    char *text; /* where an escalation brings none */
    unsigned attempts, backoff_ms, backoff_max_ms, lease_ms, timeout_ms, poll_ms, parallel;
    char *metrics_listen; /* NULL: off */
    unsigned log;         /* enum log_format */
    /* the channels; has: by relay_channels, whether there is a section for it */
    bool has[RELAY_CHANNELS];
    char *corpid, *corp_secret, *agentid, *wecom_api;
    char *appid, *app_secret, *template_id, *field, *wechat_api;
    char *hook_secret; /* NULL: webhooks are not signed */
    bool allow_private;
};

bool settings_init(struct settings *s) MUST_CHECK; /* defaults; false: memory is out */
void settings_fini(struct settings *s);            /* secrets are wiped */

/* A section begins. False with a sentence in err: there is none of that name. */
bool settings_section(struct settings *s, struct span name, char *err, size_t errlen) MUST_CHECK;
/* One line. False with a sentence in err. */
bool settings_set(struct settings *s, const char *section, const char *name, const char *value, char *err,
                  size_t errlen) MUST_CHECK;
/* What cannot be seen line by line. Secrets have been read. */
bool settings_check(const struct settings *s, char *err, size_t errlen) MUST_CHECK;

/* The fields that may say @FILE, in turn; NULL after the last. */
char **settings_secret(struct settings *s, size_t i);
/* Frees what a secret field holds, and overwrites it first. */
void settings_wipe(char **field);

void settings_help(FILE *to);

#endif
