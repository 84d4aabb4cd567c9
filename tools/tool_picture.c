/* Draws a tree: a csv, its gnuplot script, and pictures if gnuplot is there. */
#define _POSIX_C_SOURCE 200809L
#include "tool_picture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool_options.h"
#include "process.h"

enum { MAX_PATH = 4096, MAX_COLUMNS = 96 };

#ifndef GNUPLOT_SECONDS /* the test waits less */
#define GNUPLOT_SECONDS 20
#endif

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

/* The data and their script come first: they do not need gnuplot. */
static const char *const file_names[] = {"tree.csv", "tree.gp", "tree.txt", "tree.svg", "tree.png"};
enum { NUM_FILES = sizeof file_names / sizeof file_names[0], FIRST_PICTURE = 3 };

/* Files are written in a new folder inside the wanted one and renamed into place when they are whole. So a reader never
 * sees half a file, nothing is written through a symbolic link, and gnuplot is told no name but those above. */
typedef struct new_files {
    const char *folder;
    char path[MAX_PATH]; /* FOLDER/tree.XXXXXX */
} new_files;

static void join(char path[MAX_PATH], const char *folder, const char *name)
{
    if (snprintf(path, MAX_PATH, "%s/%s", folder, name) >= MAX_PATH)
        tool_fail("%s: the name is too long", folder);
}

static void remove_new(const new_files *files)
{
    char path[MAX_PATH];
    for (int i = 0; i < NUM_FILES; i++) {
        join(path, files->path, file_names[i]);
        unlink(path);
    }
    rmdir(files->path);
}

static void fail(const new_files *files, const char *name)
{
    int error = errno;
    remove_new(files);
    tool_fail("%s/%s: %s", files->folder, name, strerror(error));
}

static new_files create_new(const char *folder)
{
    new_files files = {.folder = folder};
    join(files.path, folder, "tree.XXXXXX");
    if (mkdtemp(files.path) == NULL)
        tool_fail("%s: %s", folder, strerror(errno));
    return files;
}

static FILE *open_new(const new_files *files, const char *name)
{
    char path[MAX_PATH];
    join(path, files->path, name);
    FILE *file = fopen(path, "wx");
    if (file == NULL)
        fail(files, name);
    return file;
}

static void close_new(const new_files *files, const char *name, FILE *file)
{
    int failed = ferror(file);
    if (fclose(file) != 0 || failed)
        fail(files, name);
}

static void rename_new(const new_files *files, int first, int end)
{
    char from[MAX_PATH], to[MAX_PATH];
    for (int i = first; i < end; i++) {
        join(from, files->path, file_names[i]);
        join(to, files->folder, file_names[i]);
        if (rename(from, to) != 0)
            fail(files, file_names[i]);
    }
}

static void write_nodes(const kv_tree *tree, FILE *file)
{
    fputs("first_query,num_queries,first_token,num_tokens,parent\n", file);
    for (uint32_t n = 0; n < tree->num_nodes; n++) {
        const kv_node *node = &tree->nodes[n];
        fprintf(file, "%u,%u,%u,%u,%d\n", node->first_row, node->num_rows, node->first_token, node->num_tokens,
                node->parent == KV_NONE ? -1 : (int)node->parent);
    }
}

static char shade(uint32_t num_sharers)
{
    return num_sharers >= 32 ? '@' : num_sharers >= 8 ? '#' : num_sharers >= 2 ? '+' : '.';
}

/* A column stands for one query or several, a line for one block. */
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
    fprintf(file, "queries per column: %u; a node is shared by . one  + 2..7  # 8..31  @ 32 or more queries\n",
            per_column);
}

/* gnuplot 5.4 may end with status 0 on a full disk. A picture is whole if it has the end of its format. */
static bool is_whole(const new_files *files, const char *name)
{
    const char *end = strcmp(name, "tree.svg") == 0 ? "</svg>" : "IEND\xae\x42\x60\x82";
    char path[MAX_PATH], tail[16];
    join(path, files->path, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return false;
    size_t length = fseek(file, -(long)sizeof tail, SEEK_END) == 0 ? fread(tail, 1, sizeof tail, file) : 0;
    fclose(file);
    while (length > 0 && (tail[length - 1] == '\n' || tail[length - 1] == ' '))
        length--;
    return length >= strlen(end) && memcmp(tail + length - strlen(end), end, strlen(end)) == 0;
}

static tool_picture draw(const new_files *files, const char *name)
{
    child_process gnuplot;
    char assignments[64], how[64];
    snprintf(assignments, sizeof assignments, "data='tree.csv'; image='%s'", name);
    const char *const argv[] = {"gnuplot", "-e", assignments, "tree.gp", NULL};
    int error = process_start_limited(&gnuplot, files->path, argv, PROCESS_READS_NOTHING, GNUPLOT_SECONDS);
    if (error == ENOENT)
        return TOOL_PICTURE_NO_GNUPLOT;
    if (error != 0)
        snprintf(how, sizeof how, "%s", strerror(error));
    else
        process_wait(&gnuplot, how, sizeof how);
    if (how[0] == '\0' && is_whole(files, name))
        return TOOL_PICTURE_DRAWN;
    fflush(stdout);
    fprintf(stderr,
            "treeattn: %s/%s was not drawn: gnuplot %s; to see why, type in that folder: gnuplot -e \"%s\" tree.gp\n",
            files->folder, name, how[0] != '\0' ? how : "wrote only a part of it", assignments);
    return TOOL_PICTURE_FAILED;
}

tool_picture tool_picture_draw(const kv_tree *tree, const char *folder, const char *title)
{
    new_files files = create_new(folder);
    FILE *file = open_new(&files, "tree.csv");
    write_nodes(tree, file);
    close_new(&files, "tree.csv", file);
    file = open_new(&files, "tree.gp");
    fprintf(file, "set title \"%s\" noenhanced\n%s", title, script);
    close_new(&files, "tree.gp", file);
    file = open_new(&files, "tree.txt");
    fprintf(file, "%s\nx queries, depth first; y token positions\n\n", title);
    write_text(tree, file);
    close_new(&files, "tree.txt", file);
    tool_picture drawn = TOOL_PICTURE_DRAWN;
    for (int i = FIRST_PICTURE; i < NUM_FILES && drawn == TOOL_PICTURE_DRAWN; i++)
        drawn = draw(&files, file_names[i]);
    rename_new(&files, 0, drawn == TOOL_PICTURE_DRAWN ? NUM_FILES : FIRST_PICTURE);
    remove_new(&files);
    return drawn;
}
