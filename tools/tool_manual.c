/* Prints a bash completion and a manual page. */
#include "tool_manual.h"

#include <stdio.h>
#include <string.h>

/* ---- completion ---- */

/* "a|b" or "a b" as "a b". */
static void print_words(const char *words)
{
    for (; *words != '\0'; words++) putchar(*words == '|' ? ' ' : *words);
}

static void print_choices(const tool_verb *verb, const char *option, const char *choices)
{
    printf("    %s:%s) words='", verb->name, option);
    print_words(choices);
    puts("' ;;");
}

/* Words after an option that takes a value: its choices, or none, then bash completes file names. */
static void print_values(const tool_verb *verb)
{
    const char *divider = "";
    print_choices(verb, "--format", verb->formats);
    for (const tool_option *option = verb->options; option->name != NULL; option++)
        if (option->value != NULL && strchr(option->value, '|') != NULL)
            print_choices(verb, option->name, option->value);
    for (const tool_option *option = verb->options; option->name != NULL; option++) {
        if (option->value == NULL || strchr(option->value, '|') != NULL) continue;
        printf("%s%s:%s", divider[0] == '\0' ? "    " : divider, verb->name, option->name);
        divider = " | ";
    }
    if (divider[0] != '\0') puts(") return ;;");
}

static void print_options(const tool_verb *verb)
{
    printf("    %s:*) words='", verb->name);
    for (const tool_option *option = verb->options; option->name != NULL; option++) printf("%s ", option->name);
    puts("--format --help' ;;");
}

void tool_print_completion(const tool_verb *const *verbs)
{
    puts("# bash completion for treeattn, made by: treeattn --completion bash\n"
         "_treeattn()\n"
         "{\n"
         "    local word=${COMP_WORDS[COMP_CWORD]} words=''\n"
         "    COMPREPLY=()\n"
         "    case ${COMP_WORDS[1]}:${COMP_WORDS[COMP_CWORD - 1]} in");
    for (const tool_verb *const *verb = verbs; *verb != NULL; verb++) print_values(*verb);
    for (const tool_verb *const *verb = verbs; *verb != NULL; verb++) print_options(*verb);
    fputs("    *:--completion) words='bash' ;;\n    *) words='", stdout);
    for (const tool_verb *const *verb = verbs; *verb != NULL; verb++) printf("%s ", (*verb)->name);
    puts("--help --version --completion --man' ;;\n"
         "    esac\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
         "}\n"
         "complete -o bashdefault -o default -F _treeattn treeattn");
}

/* ---- manual page ---- */

/* Text as it stands: no character of it is a request or a hyphen to roff. */
static void print_roff(const char *text)
{
    if (*text == '.') /* at the start of a line: a request */
        fputs("\\&", stdout);
    for (; *text != '\0'; text++) {
        if (*text == '-' || *text == '\\')
            fputs(*text == '-' ? "\\-" : "\\e", stdout);
        else if (*text == '\'')
            fputs("\\(aq", stdout);
        else
            putchar(*text);
    }
}

static void print_man_option(const char *name, const char *value, const char *help)
{
    fputs(".TP\n\\fB", stdout);
    print_roff(name);
    fputs("\\fR", stdout);
    if (value != NULL) {
        fputs(" \\fI", stdout);
        print_roff(value);
        fputs("\\fR", stdout);
    }
    putchar('\n');
    print_roff(help);
    putchar('\n');
}

static void print_man_verb(const tool_verb *verb)
{
    printf(".SS treeattn %s", verb->name);
    if (verb->operand != NULL) printf(" %s", verb->operand);
    fputs(" [options]\n", stdout);
    print_roff(verb->summary);
    putchar('\n');
    for (const tool_option *option = verb->options; option->name != NULL; option++)
        print_man_option(option->name, option->value, option->help);
    char formats[TOOL_MAX_FORMATS];
    tool_format_choices(verb, formats);
    print_man_option("--format", formats, TOOL_FORMAT_HELP);
}

/* Each line of the examples, in a font of equal widths. */
static void print_man_examples(const tool_verb *verb)
{
    char line[160];
    for (const char *at = verb->example; *at != '\0';) {
        size_t length = strcspn(at, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, at);
        print_roff(line + strspn(line, " "));
        putchar('\n');
        at += length + (at[length] == '\n');
    }
}

void tool_print_man(const tool_verb *const *verbs, const char *version)
{
    printf(".\\\" made by: treeattn --man\n"
           ".TH TREEATTN 1 \"\" \"treeattn %s\" \"User Commands\"\n"
           ".SH NAME\ntreeattn \\- " TOOL_SUMMARY "\n"
           ".SH SYNOPSIS\n\\fBtreeattn\\fR \\fIVERB\\fR [options]\n.br\n"
           "\\fBtreeattn\\fR \\fIVERB\\fR \\fB\\-\\-help\\fR\n.br\n"
           "\\fBtreeattn\\fR \\fB\\-\\-version\\fR | \\fB\\-\\-man\\fR | \\fB\\-\\-completion bash\\fR\n"
           ".SH VERBS\n",
           version);
    for (const tool_verb *const *verb = verbs; *verb != NULL; verb++) print_man_verb(*verb);
    puts(".SH EXIT STATUS\n" TOOL_STATUS_HELP "\n.SH EXAMPLES\n.nf");
    for (const tool_verb *const *verb = verbs; *verb != NULL; verb++) print_man_examples(*verb);
    puts(".fi");
}
