/* tool_picture: a tree of KV nodes as an icicle plot. x: queries in depth-first order; y: token position; a rectangle
 * for each node, coloured by the number of queries that share it. */
#ifndef TOOL_PICTURE_H
#define TOOL_PICTURE_H

#include "kv_tree.h"

typedef enum tool_picture { TOOL_PICTURE_DRAWN, TOOL_PICTURE_NO_GNUPLOT, TOOL_PICTURE_FAILED } tool_picture;

/* Writes FOLDER/tree.csv, tree.gp and tree.txt (the picture in characters, one line per block), and if gnuplot is
 * installed tree.svg and tree.png, both or none. Any name may be that of FOLDER: no shell and no gnuplot script
 * contains it. FOLDER may be a symbolic link; files and links of these names inside it are replaced, never written
 * through. Every file appears whole or not at all: a text that cannot be written ends the program with status 1. If
 * gnuplot fails, or its picture is cut, stderr says why, and the caller must report it in the exit status. */
tool_picture tool_picture_draw(const kv_tree *tree, const char *folder, const char *title);

#endif
