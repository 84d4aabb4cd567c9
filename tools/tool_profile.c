/* A profile is read by the same table of keys that writes it. */
#include "tool_profile.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_LINE "treeattn-profile 1"
#define LAST_LINE "end"

typedef enum line_kind { LINE_TEXT, LINE_COUNT, LINE_YES_NO, LINE_NUMBER, LINE_PRICE } line_kind;
typedef enum line_need { ALWAYS, IF_MEASURED, IF_NOT } line_need;

typedef struct profile_line {
    const char *key;
    line_kind kind;
    line_need need;
    size_t offset;
    uint32_t least, most; /* counts and prices */
    int decimals;         /* numbers */
    const char *note;     /* written above the line; NULL: none */
} profile_line;

#define AT(field) offsetof(tool_profile, field)
#define PRICE(field, least, most) {#field, LINE_PRICE, ALWAYS, AT(prices.field), least, most, 0, NULL}
static const profile_line lines[] = {
    {"gpu", LINE_TEXT, ALWAYS, AT(gpu), 0, 0, 0, NULL},
    {"measured", LINE_YES_NO, ALWAYS, AT(measured), 0, 1, 0, NULL},
    {"source", LINE_TEXT, IF_NOT, AT(source), 0, 0, 0, NULL},
    {"date", LINE_TEXT, IF_MEASURED, AT(date), 0, 0, 0, NULL},
    {"driver", LINE_TEXT, IF_MEASURED, AT(driver), 0, 0, 0, NULL},
    {"commit", LINE_TEXT, IF_MEASURED, AT(commit), 0, 0, 0, NULL},
    {"rung", LINE_TEXT, IF_MEASURED, AT(rung), 0, 0, 0, NULL},
    {"multiprocessors", LINE_COUNT, ALWAYS, AT(multiprocessors), 1, 65536, 0, NULL},
    {"l2_mib", LINE_NUMBER, ALWAYS, AT(l2_mib), 0, 0, 0, NULL},
    {"dram_gbps", LINE_NUMBER, ALWAYS, AT(dram_gbps), 0, 0, 0, NULL},
    {"l2_gbps", LINE_NUMBER, IF_MEASURED, AT(l2_gbps), 0, 0, 0, NULL},
    {"matrix_tflops", LINE_NUMBER, ALWAYS, AT(matrix_tflops), 0, 0, 0, NULL},
    {"launch_us", LINE_NUMBER, IF_MEASURED, AT(launch_us), 0, 0, 2, NULL},
    PRICE(token_bytes, 1, 1 << 24),
    PRICE(item_bytes, 0, 1 << 30),
    PRICE(partial_bytes, 0, 1 << 24),
    PRICE(row_bytes, 0, 1 << 24),
    PRICE(mask_bytes, 0, 1 << 24),
    PRICE(masked_rows, 0, UINT32_MAX),
    PRICE(tile_rows, 1, 1 << 20),
    PRICE(max_tile, 1, 1 << 20),
    PRICE(share_bytes, 0, 1 << 30),
    PRICE(merge_bytes, 0, 1 << 24),
    PRICE(wait_bytes, 0, 1 << 30),
    PRICE(share_workers, 1, 1 << 20),
    PRICE(cut_tokens, 1, 1 << 20),
    PRICE(rest_tokens, 0, 1 << 20),
    PRICE(rest_part, 1, 1 << 20),
    {"fit_trees", LINE_COUNT, IF_MEASURED, AT(num_fit), 1, TOOL_PROFILE_TREES, 0,
     "trees that the prices were fitted on, cold: heads, us with the default prices, with these, of the fastest other "
     "plan"},
    {"judge_trees", LINE_COUNT, IF_MEASURED, AT(num_judge), 1, TOOL_PROFILE_TREES, 0,
     "the same of trees that the fit never saw: by these the prices are judged"},
};
enum { NUM_LINES = sizeof lines / sizeof lines[0] };

static void *field_of(const tool_profile *profile, const profile_line *line) { return (char *)profile + line->offset; }

/* ---- what it says ---- */

double tool_profile_behind(const tool_profile_tree *tree, bool fitted)
{
    return 100 * ((fitted ? tree->fitted_us : tree->default_us) / tree->other_us - 1);
}

double tool_profile_ratio(const tool_profile_tree *trees, uint32_t num_trees)
{
    double sum = 0;
    for (uint32_t i = 0; i < num_trees; i++)
        sum += log(trees[i].fitted_us / trees[i].default_us);
    return exp(num_trees ? sum / num_trees : 0);
}

void tool_profile_name(char name[TOOL_PROFILE_TEXT], const char *gpu)
{
    size_t length = 0;
    for (; *gpu != '\0' && length + 1 < TOOL_PROFILE_TEXT; gpu++) {
        bool plain = isalnum((unsigned char)*gpu) && (unsigned char)*gpu < 0x80;
        if (plain || (length > 0 && name[length - 1] != '_'))
            name[length++] = plain ? (char)tolower((unsigned char)*gpu) : '_';
    }
    while (length > 0 && name[length - 1] == '_')
        length--;
    name[length] = '\0';
}

/* The name of a GPU may go on behind that of the profile: "NVIDIA H100", "NVIDIA H100 80GB HBM3". */
void tool_profile_warn(const tool_call *call, const tool_profile *profile, const char *gpu, uint32_t multiprocessors)
{
    size_t length = strlen(profile->gpu);
    bool same = strncmp(gpu, profile->gpu, length) == 0 && !isalnum((unsigned char)gpu[length]);
    if (same && multiprocessors == profile->multiprocessors)
        return;
    tool_warn("--profile %s: its prices are those of %s with %u multiprocessors; this is %s with %u",
              tool_text(call, "--profile", ""), profile->gpu, profile->multiprocessors, gpu, multiprocessors);
}

/* ---- writing ---- */

static void write_line(FILE *file, const tool_profile *profile, const profile_line *line)
{
    const void *field = field_of(profile, line);
    if (line->note != NULL)
        fprintf(file, "# %s\n", line->note);
    switch (line->kind) {
    case LINE_TEXT: fprintf(file, "%s %s\n", line->key, (const char *)field); break;
    case LINE_YES_NO: fprintf(file, "%s %s\n", line->key, *(const uint32_t *)field ? "yes" : "no"); break;
    case LINE_NUMBER: fprintf(file, "%s %.*f\n", line->key, line->decimals, *(const double *)field); break;
    default: fprintf(file, "%s %u\n", line->key, *(const uint32_t *)field);
    }
}

static void write_trees(FILE *file, const char *key, const tool_profile_tree *trees, uint32_t num_trees)
{
    for (uint32_t i = 0; i < num_trees; i++) {
        const tool_profile_tree *t = &trees[i];
        fprintf(file, "%s %u/%u %.2f %.2f %.2f %s %s\n", key, t->num_heads, t->num_kv_heads, t->default_us,
                t->fitted_us, t->other_us, tree_strategy_name[t->other], t->tree);
    }
}

static double worst_behind(const tool_profile *profile, bool fitted)
{
    double worst = -100;
    for (uint32_t i = 0; i < profile->num_judge; i++)
        worst = fmax(worst, tool_profile_behind(&profile->judge[i], fitted));
    return worst;
}

void tool_profile_write(FILE *file, const tool_profile *profile)
{
    fputs(FIRST_LINE "\n", file);
    for (int i = 0; i < NUM_LINES; i++) {
        if (lines[i].need == (profile->measured ? IF_NOT : IF_MEASURED))
            continue;
        write_line(file, profile, &lines[i]);
        if (lines[i].offset == AT(num_fit)) {
            write_trees(file, "fit", profile->fit, profile->num_fit);
            fprintf(file, "# geometric mean of the times with these prices / with the default prices: %.3f\n",
                    tool_profile_ratio(profile->fit, profile->num_fit));
        }
    }
    if (profile->measured) {
        write_trees(file, "judge", profile->judge, profile->num_judge);
        fprintf(file, "# geometric mean of these: %.3f; farthest behind the fastest other plan: %.1f %% with the default "
                      "prices, %.1f %% with these\n", tool_profile_ratio(profile->judge, profile->num_judge),
                worst_behind(profile, false), worst_behind(profile, true));
    }
    fputs(LAST_LINE "\n", file);
}

/* ---- reading ---- */

typedef struct reader {
    const char *name; /* of the file */
    uint32_t line;    /* from 1 */
    tool_profile *profile;
    bool is_read[NUM_LINES];
    uint32_t num_fit, num_judge; /* lines so far */
    bool is_ended;
} reader;

#define BAD(r, ...) bad_line((r)->name, (r)->line, __VA_ARGS__)
static void bad_line(const char *name, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));
static void bad_line(const char *name, uint32_t line, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    tool_bad_input("%s:%u: %s", name, line, message);
}

/* Digits alone. */
static bool read_count(const char *text, uint32_t least, uint32_t most, uint32_t *count)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || strlen(text) > 10 || value < least || value > most)
        return false;
    *count = (uint32_t)value;
    return true;
}

/* "12.34", greater than 0. */
static bool read_number(const char *text, double *number)
{
    char *end;
    double value = strtod(text, &end);
    if (strspn(text, "0123456789.") != strlen(text) || *end != '\0' || end == text || strlen(text) > 20 || !(value > 0))
        return false;
    *number = value;
    return true;
}

static void read_value(const reader *r, const profile_line *line, const char *value)
{
    void *field = field_of(r->profile, line);
    switch (line->kind) {
    case LINE_TEXT:
        if (*value == '\0' || strlen(value) >= TOOL_PROFILE_TEXT)
            BAD(r, "%s: expected a text of 1 to %d bytes", line->key, TOOL_PROFILE_TEXT - 1);
        strcpy(field, value);
        return;
    case LINE_YES_NO:
        if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
            BAD(r, "%s: expected yes or no, got '%.80s'", line->key, value);
        *(uint32_t *)field = *value == 'y';
        return;
    case LINE_NUMBER:
        if (!read_number(value, field))
            BAD(r, "%s: expected a number above 0, got '%.80s'", line->key, value);
        return;
    default:
        if (!read_count(value, line->least, line->most, field))
            BAD(r, "%s: expected a whole number from %u to %u, got '%.80s'", line->key, line->least, line->most, value);
    }
    if (line->offset == AT(prices.tile_rows) && (r->profile->prices.tile_rows & (r->profile->prices.tile_rows - 1)))
        BAD(r, "%s: expected a power of two, got '%.80s'", line->key, value);
}

/* The next word, ended by a 0; *text moves behind it. */
static char *take_word(char **text)
{
    char *word = *text;
    *text += strcspn(word, " ");
    if (**text != '\0')
        *(*text)++ = '\0';
    return word;
}

static bool read_heads(char *text, tool_profile_tree *tree)
{
    char *slash = strchr(text, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return read_count(text, 1, 1 << 20, &tree->num_heads) && read_count(slash + 1, 1, 1 << 20, &tree->num_kv_heads);
}

static void read_tree(const reader *r, tool_profile_tree *trees, uint32_t *num_trees, char *value)
{
    if (*num_trees == TOOL_PROFILE_TREES)
        BAD(r, "expected at most %d trees", TOOL_PROFILE_TREES);
    tool_profile_tree *tree = &trees[(*num_trees)++];
    if (!read_heads(take_word(&value), tree) || !read_number(take_word(&value), &tree->default_us)
        || !read_number(take_word(&value), &tree->fitted_us) || !read_number(take_word(&value), &tree->other_us)
        || !tree_strategy_from_name(take_word(&value), &tree->other) || strchr(value, '/') == NULL
        || strlen(value) >= TOOL_PROFILE_TEXT)
        BAD(r, "expected HEADS/KV DEFAULT_US FITTED_US OTHER_US STRATEGY NODES / TOKENS");
    strcpy(tree->tree, value);
}

static void read_line(reader *r, char *text)
{
    char *value = text;
    if (r->is_ended)
        BAD(r, "expected nothing behind the line '" LAST_LINE "'");
    if (r->line == 1) {
        if (strcmp(text, FIRST_LINE) != 0)
            BAD(r, "expected '" FIRST_LINE "', the first line of a profile");
        return;
    }
    if (*text == '#')
        return;
    if (strcmp(text, LAST_LINE) == 0) {
        r->is_ended = true;
        return;
    }
    const char *key = take_word(&value);
    if (strcmp(key, "fit") == 0)
        read_tree(r, r->profile->fit, &r->num_fit, value);
    else if (strcmp(key, "judge") == 0)
        read_tree(r, r->profile->judge, &r->num_judge, value);
    else {
        int i = 0;
        while (i < NUM_LINES && strcmp(key, lines[i].key) != 0)
            i++;
        if (i == NUM_LINES)
            BAD(r, "unknown key '%.80s'", key);
        if (r->is_read[i])
            BAD(r, "%s stands in an earlier line, too", key);
        r->is_read[i] = true;
        read_value(r, &lines[i], value);
    }
}

static void check_whole(const reader *r)
{
    const tool_profile *profile = r->profile;
    if (!r->is_ended)
        tool_bad_input("%s: damaged: its last line is not '" LAST_LINE "'", r->name);
    for (int i = 0; i < NUM_LINES; i++) {
        bool needed = lines[i].need != (profile->measured ? IF_NOT : IF_MEASURED);
        if (needed && !r->is_read[i])
            tool_bad_input("%s: damaged: no line '%s'", r->name, lines[i].key);
        if (!needed && r->is_read[i])
            tool_bad_input("%s: damaged: a line '%s', although it says measured %s", r->name, lines[i].key,
                           profile->measured ? "yes" : "no");
    }
    if (profile->num_fit != r->num_fit || profile->num_judge != r->num_judge)
        tool_bad_input("%s: damaged: fit_trees %u and judge_trees %u, but %u lines 'fit' and %u lines 'judge'", r->name,
                       profile->num_fit, profile->num_judge, r->num_fit, r->num_judge);
}

/* text: [length + 1], is changed. */
static void read_text(tool_profile *profile, const char *name, char *text, size_t length)
{
    reader r = {.name = name, .profile = profile};
    for (char *end; length > 0; length -= (size_t)(end + 1 - text), text = end + 1) {
        r.line++;
        end = memchr(text, '\n', length);
        if (end == NULL)
            BAD(&r, "expected a whole line: the file ends within it");
        *end = '\0';
        for (const char *at = text; at < end; at++)
            if ((unsigned char)*at < 0x20 || *at == 0x7f)
                BAD(&r, "expected a text, got the byte 0x%02x", (unsigned)(unsigned char)*at);
        read_line(&r, text);
    }
    check_whole(&r);
}

static const char *find_known(const char *name)
{
    char wanted[TOOL_PROFILE_TEXT];
    tool_profile_name(wanted, name);
    for (const tool_profile_known *known = tool_profiles_known; known->name != NULL; known++) {
        const char *end = known->name; /* the whole name, or its last words: rtx_4090 */
        while (strcmp(end, wanted) != 0 && strchr(end, '_') != NULL)
            end = strchr(end, '_') + 1;
        if (strcmp(end, wanted) == 0)
            return known->text;
    }
    return NULL;
}

static void refuse_name(const tool_call *call, const char *name)
{
    char names[512] = "";
    for (const tool_profile_known *known = tool_profiles_known; known->name != NULL; known++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", *names ? ", " : "", known->name);
    tool_bad_usage(call->verb, "--profile: expected a file, with a . or / in its name, or one of %s; got '%s'", names,
                   name);
}

tool_profile *tool_profile_given(const tool_call *call)
{
    enum { MOST = 1 << 16 };
    const char *name = tool_text(call, "--profile", NULL);
    if (name == NULL)
        return NULL;
    tool_profile *profile = tool_allocate(1, sizeof *profile);
    char *text = tool_allocate(MOST + 1, 1);
    size_t length;
    if (strpbrk(name, "./") == NULL) {
        const char *known = find_known(name);
        if (known == NULL)
            refuse_name(call, name);
        length = strlen(known);
        memcpy(text, known, length);
    } else {
        FILE *file = fopen(name, "rb");
        length = file != NULL ? fread(text, 1, MOST + 1, file) : 0;
        if (file == NULL || ferror(file))
            tool_bad_input("%s: %s", name, strerror(errno));
        fclose(file);
        if (length > MOST)
            tool_bad_input("%s: expected a profile, which has at most %d bytes", name, MOST);
    }
    read_text(profile, name, text, length);
    free(text);
    return profile;
}
