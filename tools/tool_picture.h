/* tool_picture: a tree of KV nodes as an icicle. x: queries in depth-first order, y: token position, a rectangle for
 * each node, its colour the number of queries that share it. The area is U; without sharing it would be S. */
#ifndef TOOL_PICTURE_H
#define TOOL_PICTURE_H

#include "kv_tree.h"

/* Writes FOLDER/tree.csv, tree.gp and tree.txt (the picture with characters, a line a block), and where there is
 * gnuplot tree.svg and tree.png: true if they were drawn. Ends the program with status 1 if a file cannot be
 * written. */
bool tool_picture_draw(const kv_tree *tree, const char *folder, const char *title);

#endif
