/*
 * cmd_completion.c - crierctl completion: a script for bash or zsh, made from the table of commands and the option
 * table of each, so that it never knows an option less or more than the command does.
 */
#include <stdio.h>

#include "cmd/crierctl/complete.h"

/* Each command prints its own options (opts_parse sees to that). */
static void print_options(const struct subcommand *c, bool zsh)
{
    char bash_word[] = OPTS_COMPLETE "bash", zsh_word[] = OPTS_COMPLETE "zsh";
    char *argv[] = {zsh ? zsh_word : bash_word, NULL};
    (void)c->run(c, 1, argv);
}

static void print_bash(void)
{
    const struct subcommand *c;
    printf("# bash completion of crierctl; made by `crierctl completion bash`\n"
           "_crierctl() {\n"
           "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words= files= value=\n"
           "  COMPREPLY=()\n"
           "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "    words=\"");
    for (size_t i = 0; (c = command_at(i)) != NULL; i++) {
        printf("%s ", c->name);
    }
    printf("--help --version\"\n"
           "  else case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; (c = command_at(i)) != NULL; i++) {
        printf("  %s)\n", c->name);
        print_options(c, false);
        printf("    [ -z \"$value\" ] && words=\"$words --help\" ;;\n");
    }
    printf("  esac; fi\n"
           "  if [ -n \"$files\" ]; then\n"
           "    compopt -o filenames 2>/dev/null\n"
           "    COMPREPLY=($(compgen -f -- \"$cur\"))\n"
           "  fi\n"
           "  COMPREPLY+=($(compgen -W \"$words\" -- \"$cur\"))\n"
           "}\n"
           "complete -F _crierctl crierctl\n");
}

static void print_zsh(void)
{
    const struct subcommand *c;
    printf("#compdef crierctl\n"
           "# zsh completion of crierctl; made by `crierctl completion zsh`\n"
           "_crierctl() {\n"
           "  local -a commands\n"
           "  commands=(\n");
    for (size_t i = 0; (c = command_at(i)) != NULL; i++) {
        printf("    '%s:", c->name);
        complete_zsh_text(c->summary);
        printf("'\n");
    }
    printf("  )\n"
           "  if (( CURRENT == 2 )); then\n"
           "    _describe command commands\n"
           "    return\n"
           "  fi\n"
           "  local command=$words[2]\n"
           "  shift words\n"
           "  (( CURRENT-- ))\n"
           "  case $command in\n");
    for (size_t i = 0; (c = command_at(i)) != NULL; i++) {
        printf("  %s) _arguments \\\n", c->name);
        print_options(c, true);
        printf("    '--help[what it does, and its options]' ;;\n");
    }
    printf("  esac\n"
           "}\n"
           "if [ \"$funcstack[1]\" = _crierctl ]; then _crierctl \"$@\"; else compdef _crierctl crierctl; fi\n");
}

static enum ctl_exit run(const struct subcommand *self, int argc, char **argv)
{
    const char *shell = NULL;
    const struct opt opts[] = {
        {"shell", OPT_ARG, "bash|zsh", "whose completion", &shell},
    };
    enum ctl_exit code;
    if (!opts_read(self, opts, ARRAY_LEN(opts), NULL, argc, argv, &code))
        return code;
    if (!strcmp(shell, "bash")) {
        print_bash();
    } else if (!strcmp(shell, "zsh")) {
        print_zsh();
    } else {
        return complain(CTL_USAGE, "there is completion for bash and zsh, not for '%s'", shell);
    }
    return CTL_OK;
}

const struct subcommand cmd_completion = {
    .name = "completion",
    .summary = "print a script that completes commands and options in bash or zsh",
    .about = "usage: crierctl completion bash|zsh",
    .examples = "source <(crierctl completion bash)\ncrierctl completion zsh > ~/.zfunc/_crierctl",
    .run = run,
};
