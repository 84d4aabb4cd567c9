/* Draws a tree: csv, a gnuplot script beside it, and gnuplot if there is one. */
#define _POSIX_C_SOURCE 200809L
#include "tool_picture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool_options.h"

enum { MAX_PATH = 4096, MAX_COLUMNS = 96 };

static const char script[] =
    "# gnuplot -e \"data='tree.csv'; image='tree.svg'\" tree.gp\n"
    "set datafile separator ','\n"
    "if (strstrt(image, '.svg') > 0) {\n"
    "    set terminal svg size 960,540 dynamic font 'DejaVu Sans,14' background 'white'\n"
    "} else {\n"
    "    set terminal pngcairo size 1440,810 font 'DejaVu Sans,15' background 'white'\n"
    "}\n"
    "set output image\n"
    "set xlabel 'queries, depth first'\n"
    "set ylabel 'token position'\n"
    "set cblabel 'queries that share the node'\n"
    "set yrange [*:*] reverse\n"
    "set xtics out nomirror\n"
    "set ytics out nomirror\n"
    "set border 3\n"
    "set logscale cb 2\n"
    "set palette defined (0 '#fde725', 1 '#5ec962', 2 '#21918c', 3 '#3b528b', 4 '#440154')\n"
    "set style fill solid 1.0 border rgb 'white'\n"
    "plot data skip 1 using ($1+$2/2.0):($3+$4/2.0):($2/2.0):($4/2.0):2 with boxxyerror lw 0.7 lc palette notitle\n";

static FILE *open_in(const char *folder, const char *name, char path[MAX_PATH])
{
    if (snprintf(path, MAX_PATH, "%s/%s", folder, name) >= MAX_PATH)
        tool_fail("%s: the name is too long", folder);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        tool_fail("%s: %s", path, strerror(errno));
    return file;
}

static void close_written(FILE *file, const char *path)
{
    int failed = ferror(file);
    if (fclose(file) != 0 || failed)
        tool_fail("%s: %s", path, strerror(errno));
}

static void write_csv(const kv_tree *tree, const char *folder)
{
    char path[MAX_PATH];
    FILE *file = open_in(folder, "tree.csv", path);
    fputs("first_query,num_queries,first_token,num_tokens,parent\n", file);
    for (uint32_t n = 0; n < tree->num_nodes; n++) {
        const kv_node *node = &tree->nodes[n];
        fprintf(file, "%u,%u,%u,%u,%d\n", node->first_row, node->num_rows, node->first_token, node->num_tokens,
                node->parent == KV_NONE ? -1 : (int)node->parent);
    }
    close_written(file, path);
}

/* Without a shell, so that no character of a path means anything. */
static bool run_gnuplot(const char *folder, const char *image)
{
    char assignments[3 * MAX_PATH], gp[MAX_PATH];
    if (strchr(folder, '\'') != NULL) /* would end gnuplot's string */
        return false;
    snprintf(gp, sizeof gp, "%s/tree.gp", folder);
    snprintf(assignments, sizeof assignments, "data='%s/tree.csv'; image='%s/%s'", folder, folder, image);
    pid_t child = fork();
    if (child == 0) {
        int nothing = open("/dev/null", O_WRONLY);
        if (nothing >= 0)
            dup2(nothing, STDERR_FILENO);
        execlp("gnuplot", "gnuplot", "-e", assignments, gp, (char *)NULL);
        _exit(127);
    }
    int status;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static char shade(uint32_t num_sharers)
{
    return num_sharers >= 32 ? '@' : num_sharers >= 8 ? '#' : num_sharers >= 2 ? '+' : '.';
}

/* A column a query, or several; a line a block. */
static void write_text(const kv_tree *tree, FILE *file)
{
    uint32_t last_token = 0, line_tokens = tree->block_tokens;
    uint32_t per_column = (tree->num_queries + MAX_COLUMNS - 1) / MAX_COLUMNS;
    if (tree->num_queries == 0)
        return;
    for (uint32_t n = 0; n < tree->num_nodes; n++) {
        uint32_t end = tree->nodes[n].first_token + tree->nodes[n].num_tokens;
        last_token = end > last_token ? end : last_token;
    }
    for (uint32_t token = 0; token < last_token; token += line_tokens) {
        char line[MAX_COLUMNS + 1];
        uint32_t width = (tree->num_queries + per_column - 1) / per_column;
        memset(line, ' ', width);
        line[width] = '\0';
        for (uint32_t n = 0; n < tree->num_nodes; n++) {
            const kv_node *node = &tree->nodes[n];
            if (token < node->first_token || token >= node->first_token + node->num_tokens)
                continue;
            for (uint32_t row = node->first_row; row < node->first_row + node->num_rows; row++)
                line[row / per_column] = shade(node->num_rows);
        }
        fprintf(file, "%5u %s\n", token, line);
    }
    fprintf(file, "%u a column; shared by: . one  + 2..7  # 8..31  @ 32 and more queries\n", per_column);
}

bool tool_picture_draw(const kv_tree *tree, const char *folder, const char *title)
{
    char path[MAX_PATH];
    write_csv(tree, folder);
    FILE *file = open_in(folder, "tree.gp", path);
    fprintf(file, "set title \"%s\" noenhanced\n%s", title, script);
    close_written(file, path);
    file = open_in(folder, "tree.txt", path);
    fprintf(file, "%s\nx queries, depth first; y token positions\n\n", title);
    write_text(tree, file);
    close_written(file, path);
    return run_gnuplot(folder, "tree.svg") && run_gnuplot(folder, "tree.png");
}
