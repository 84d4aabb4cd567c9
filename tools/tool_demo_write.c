/* Writes what treeattn demo found: a screen of text, or the same as JSON. */
#include <inttypes.h>
#include <stdio.h>

#include "tool_demo.h"

static void write_machine_line(const tool_palette *palette, bool present, const char *name, const char *value)
{
    printf("%s%s%s %-12s %s\n", present ? palette->good : palette->dim, present ? "v" : "-", palette->plain, name,
           value);
}

static void write_machine(const tool_palette *palette, const machine_info *machine)
{
    char text[160];
    snprintf(text, sizeof text, "%.70s, %u online", machine->cpu, machine->num_cpus);
    write_machine_line(palette, true, "CPU", text);
    write_machine_line(palette, true, "instructions", machine->isa);
    snprintf(text, sizeof text, machine->openmp != 0 ? "%u threads" : "not in this build: %u thread",
             machine->num_threads);
    write_machine_line(palette, machine->openmp != 0, "OpenMP", text);
    bool cuda = machine->cuda_compiler[0] != '\0';
    snprintf(text, sizeof text, "%.40s; %s%.60s", cuda ? machine->cuda_compiler : "not in this build, not needed here",
             machine->driver[0] != '\0' ? "driver " : "no GPU driver", machine->driver);
    write_machine_line(palette, cuda, "CUDA", text);
    bool gnuplot = machine->gnuplot[0] != '\0';
    const char *none = "none: tree.txt is the picture; for a better one: apt-get install gnuplot-nox";
    write_machine_line(palette, gnuplot, "gnuplot", gnuplot ? machine->gnuplot : none);
}

static void write_state(const tool_palette *palette, const demo_state *state, const char *when)
{
    char heading[96];
    snprintf(heading, sizeof heading, "%s: %u branches, %u blocks", when, state->num_branches, state->used_blocks);
    printf("%s%-64s%s %6s %6s %5s\n", palette->bold, heading, palette->plain, "tokens", "blocks", "refs");
    for (uint32_t i = 0; i < state->num_lines; i++) {
        const demo_line *line = &state->lines[i];
        int indent = 2 + 2 * (int)line->depth;
        printf("%*s%s%-*.*s%s %6u %6u %5u%s\n", indent, "", line->kept ? palette->good : "", 64 - indent, 64 - indent,
               line->text, line->kept ? palette->plain : "", line->num_tokens, line->num_blocks, line->references,
               line->num_nodes > 1 ? " each" : "");
    }
    if (state->lines_left_out > 0)
        printf("  and %u lines more\n", state->lines_left_out);
}

static void write_ways(const tool_palette *palette, const demo_result *demo)
{
    char heading[96];
    snprintf(heading, sizeof heading, "Iteration %u: %u queries, S = %" PRIu64 ", U = %" PRIu64 " tokens",
             demo->widest_iteration, demo->num_queries, demo->path_tokens, demo->unique_tokens);
    printf("%s%-48s%s %8s %8s %15s %12s\n", palette->bold, heading, palette->plain, "blocks", "MiB", "logical_bytes",
           "plan_bytes");
    for (int i = 0; i < DEMO_NUM_WAYS; i++) {
        const demo_way *way = &demo->ways[i];
        printf("  %-46s %8" PRIu64 " %8.1f %15" PRIu64 " %12" PRIu64 "\n", way->name, way->num_blocks,
               (double)way->kv_bytes / 0x1p20, way->logical_bytes, way->plan_bytes);
    }
    printf("  32/8 heads, head_dim 128, bf16; MiB in %d layers, logical and plan bytes of one layer and step\n",
           DEMO_LAYERS);
}

static void write_verdicts(const demo_result *demo)
{
    printf("%s  %u plans on the fast path, %u queries, 32 heads: %s the rounding bound of the reference\n",
           demo->agreement ? "agree   " : "DISAGREE", demo->num_strategies, demo->num_queries,
           demo->agreement ? "within" : "NOT within");
    printf("search    %s; %u iterations, %u thoughts, %" PRIu64 " block copies, %u blocks leaked\n",
           demo->game->solved ? demo->game->solution : "no solution", demo->totals.iterations,
           demo->game->num_thoughts, demo->totals.copies, demo->totals.leaked_blocks);
}

static const char *const picture_text[] = {
    [TOOL_PICTURE_DRAWN] = ", tree.svg, tree.png",
    [TOOL_PICTURE_NO_GNUPLOT] = " (no gnuplot: tree.txt is the picture)",
    [TOOL_PICTURE_FAILED] = " (gnuplot failed: tree.txt is the picture)",
};

void demo_write_text(const demo_result *demo, const machine_info *machine, const char *folder, tool_picture picture)
{
    const uint32_t *numbers = demo->game->config.numbers;
    tool_palette palette = tool_palette_for(stdout);
    write_machine(&palette, machine);
    printf("\nGame of 24 with %u %u %u %u. Tree of thoughts: a byte a token, %u a block, the best %u of a level kept\n",
           numbers[0], numbers[1], numbers[2], numbers[3], demo->block_tokens, demo->game->config.breadth);
    char when[64];
    snprintf(when, sizeof when, "Level %d before its losers are pruned", DEMO_LEVEL);
    write_state(&palette, &demo->before, when);
    write_state(&palette, &demo->after, "After");
    puts("  refs: branches that list the node's blocks; who writes on copies a part-filled block first");
    putchar('\n');
    write_ways(&palette, demo);
    write_verdicts(demo);
    fputs("\nfiles     ", stdout);
    tool_write_escaped(stdout, folder);
    printf("/tree.csv, tree.gp, tree.txt%s\n", picture_text[picture]);
    printf("next      %s\n", demo_next_step);
}

static void put_state(tool_json *json, const char *key, const demo_state *state)
{
    tool_json_open(json, key, '{');
    tool_json_count(json, "branches", state->num_branches);
    tool_json_count(json, "used_blocks", state->used_blocks);
    tool_json_open(json, "nodes", '[');
    for (uint32_t i = 0; i < state->num_lines; i++) {
        const demo_line *line = &state->lines[i];
        tool_json_open(json, NULL, '{');
        tool_json_count(json, "depth", line->depth);
        tool_json_text(json, "text", line->text);
        tool_json_count(json, "nodes", line->num_nodes);
        tool_json_count(json, "tokens", line->num_tokens);
        tool_json_count(json, "blocks", line->num_blocks);
        tool_json_count(json, "references", line->references);
        tool_json_bool(json, "kept", line->kept);
        tool_json_close(json);
    }
    tool_json_close(json);
    tool_json_close(json);
}

static void put_step(tool_json *json, const demo_result *demo)
{
    tool_json_open(json, "widest_step", '{');
    tool_json_count(json, "iteration", demo->widest_iteration);
    tool_json_count(json, "queries", demo->num_queries);
    tool_json_count(json, "path_tokens", demo->path_tokens);
    tool_json_count(json, "unique_tokens", demo->unique_tokens);
    tool_json_open(json, "ways", '[');
    for (int i = 0; i < DEMO_NUM_WAYS; i++) {
        tool_json_open(json, NULL, '{');
        tool_json_text(json, "name", demo->ways[i].name);
        tool_json_count(json, "blocks", demo->ways[i].num_blocks);
        tool_json_count(json, "kv_bytes", demo->ways[i].kv_bytes);
        tool_json_count(json, "logical_bytes", demo->ways[i].logical_bytes);
        tool_json_count(json, "plan_bytes", demo->ways[i].plan_bytes);
        tool_json_close(json);
    }
    tool_json_close(json);
    tool_json_count(json, "plans_run", demo->num_strategies);
    tool_json_bool(json, "within_rounding_bound", demo->agreement);
    tool_json_close(json);
}

static void put_search(tool_json *json, const demo_result *demo)
{
    tool_json_open(json, "search", '{');
    tool_json_count(json, "iterations", demo->totals.iterations);
    tool_json_count(json, "thoughts", demo->game->num_thoughts);
    tool_json_count(json, "copies", demo->totals.copies);
    tool_json_count(json, "peak_blocks", demo->totals.peak_blocks);
    tool_json_count(json, "leaked_blocks", demo->totals.leaked_blocks);
    tool_json_text(json, "solution", demo->game->solved ? demo->game->solution : NULL);
    tool_json_close(json);
}

static void put_machine(tool_json *json, const machine_info *machine)
{
    tool_json_open(json, "machine", '{');
    tool_json_text(json, "cpu", machine->cpu);
    tool_json_text(json, "instructions", machine->isa);
    tool_json_count(json, "threads", machine->num_threads);
    tool_json_text(json, "cuda_compiler", machine->cuda_compiler[0] != '\0' ? machine->cuda_compiler : NULL);
    tool_json_text(json, "driver", machine->driver[0] != '\0' ? machine->driver : NULL);
    tool_json_text(json, "gnuplot", machine->gnuplot[0] != '\0' ? machine->gnuplot : NULL);
    tool_json_close(json);
}

void demo_write_json(const demo_result *demo, const machine_info *machine, const char *folder, tool_picture picture)
{
    static const char *const files[] = {"tree.csv", "tree.gp", "tree.txt", "tree.svg", "tree.png"};
    tool_json json = {.file = stdout};
    tool_json_open(&json, NULL, '{');
    put_machine(&json, machine);
    tool_json_open(&json, "demo", '{');
    tool_json_open(&json, "numbers", '[');
    for (int i = 0; i < 4; i++)
        tool_json_count(&json, NULL, demo->game->config.numbers[i]);
    tool_json_close(&json);
    tool_json_count(&json, "block_tokens", demo->block_tokens);
    tool_json_count(&json, "level", DEMO_LEVEL);
    put_state(&json, "before", &demo->before);
    put_state(&json, "after", &demo->after);
    put_step(&json, demo);
    put_search(&json, demo);
    tool_json_close(&json);
    tool_json_text(&json, "folder", folder);
    tool_json_open(&json, "files", '[');
    for (int i = 0; i < (picture == TOOL_PICTURE_DRAWN ? 5 : 3); i++)
        tool_json_text(&json, NULL, files[i]);
    tool_json_close(&json);
    tool_json_text(&json, "next", demo_next_step);
    tool_json_close(&json);
}
