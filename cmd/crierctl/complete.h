/*
 * complete.h - what shells are told of a command's options.
 */
#ifndef CMD_CRIERCTL_COMPLETE_H
#define CMD_CRIERCTL_COMPLETE_H

#include "cmd/crierctl/opts.h"

/* Prints options as the words, cases and specifications that the script of cmd_completion.c is made of. */
void complete_options(bool zsh, const struct opt *o, size_t n);
/* Prints a text that stands inside '...' of a zsh specification. */
void complete_zsh_text(const char *s);

#endif
