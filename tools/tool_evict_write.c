/* Draws the kept positions, one strip for each branch. */
#include "tool_evict.h"

enum { NAME_WIDTH = 15, NUM_CELLS = 64, MAX_STRIPS = 24 };

/* A cell of a strip: some consecutive positions. */
typedef struct strip_cell {
    uint32_t num_positions, num_kept, num_shared;
} strip_cell;

static char cell_mark(const strip_cell *cell)
{
    if (cell->num_positions == 0) return ' ';
    if (cell->num_kept == 0) return '.';
    if (cell->num_kept < cell->num_positions) return '+';
    return cell->num_shared == cell->num_positions ? '=' : '#';
}

static void write_strip(const evict_strip *strip, uint32_t cell_tokens, FILE *file)
{
    strip_cell cells[NUM_CELLS] = {{.num_positions = 0}};
    for (uint32_t position = 0; position < strip->length; position++) cells[position / cell_tokens].num_positions++;
    for (uint32_t t = 0; t < strip->num_kept; t++) {
        cells[strip->positions[t] / cell_tokens].num_kept++;
        cells[strip->positions[t] / cell_tokens].num_shared += strip->shared[t];
    }
    char marks[NUM_CELLS + 1];
    int length = 0;
    for (int c = 0; c < NUM_CELLS && cells[c].num_positions > 0; c++) marks[length++] = cell_mark(&cells[c]);
    marks[length] = '\0';
    fprintf(file, "%-*.*s %s\n", NAME_WIDTH, NAME_WIDTH, strip->name, marks);
}

void evict_write_strips(const evict_run *run, FILE *file)
{
    uint32_t longest = 1, num_shown = run->num_strips < MAX_STRIPS ? run->num_strips : MAX_STRIPS;
    for (uint32_t i = 0; i < run->num_strips; i++)
        longest = run->strips[i].length > longest ? run->strips[i].length : longest;
    uint32_t cell_tokens = (longest + NUM_CELLS - 1) / NUM_CELLS;
    fprintf(file, "\nKept positions after step %u, by %s; %u position%s per character\n", run->strip_step,
            run->results[0].policy->name, cell_tokens, cell_tokens == 1 ? "" : "s");
    for (uint32_t i = 0; i < num_shown; i++) write_strip(&run->strips[i], cell_tokens, file);
    if (run->num_strips > num_shown) fprintf(file, "and %u more branches\n", run->num_strips - num_shown);
    fputs("# kept   = kept, in shared blocks   + partly kept   . evicted\n", file);
}
