/* Writes the results of treeattn demo: a screen of text, all of it as text, or all of it as JSON. */
#include <inttypes.h>
#include <stdio.h>

#include "tool_demo.h"

/* ---- the machine ---- */

static void write_machine_line(const tool_palette *palette, bool present, const char *name, const char *value)
{
    printf("%s%s%s %-12s %s\n", present ? palette->good : palette->dim, present ? "v" : "-", palette->plain, name,
           value);
}

static void write_machine(const tool_palette *palette, const machine_info *machine)
{
    char text[160];
    snprintf(text, sizeof text, "%.55s, %u online", machine->cpu, machine->num_cpus);
    write_machine_line(palette, true, "CPU", text);
    write_machine_line(palette, true, "instructions", machine->isa);
    snprintf(text, sizeof text, machine->openmp != 0 ? "%u threads" : "not in this build: %u thread",
             machine->num_threads);
    write_machine_line(palette, machine->openmp != 0, "OpenMP", text);
    bool cuda = machine->cuda_compiler[0] != '\0';
    snprintf(text, sizeof text, "%.34s; %s%.20s", cuda ? machine->cuda_compiler : "not in this build, not needed here",
             machine->driver[0] != '\0' ? "driver " : "no GPU driver", machine->driver);
    write_machine_line(palette, cuda, "CUDA", text);
    bool gnuplot = machine->gnuplot[0] != '\0';
    const char *none = "none: tree.txt is the picture; apt-get install gnuplot-nox";
    write_machine_line(palette, gnuplot, "gnuplot", gnuplot ? machine->gnuplot : none);
}

void demo_write_machine(const machine_info *machine)
{
    char cpu[40];
    snprintf(cpu, sizeof cpu, "%.32s", machine->cpu);
    printf("%s, %u thread%s, %s; %s; %s\n", cpu, machine->num_threads, machine->num_threads == 1 ? "" : "s",
           machine->isa, machine->cuda_compiler[0] != '\0' ? "CUDA" : "no CUDA",
           machine->gnuplot[0] != '\0' ? "gnuplot" : "no gnuplot");
}

/* ---- the tree ---- */

enum { NAME_WIDTH = 42 };

static void write_tree_heading(const tool_palette *palette, const char *heading)
{
    printf("%s%-*s%s %10s %8s %6s %9s\n", palette->bold, NAME_WIDTH, heading, palette->plain, "own tokens", "in node",
           "blocks", "branches");
}

static void write_line(const tool_palette *palette, const demo_line *line, const char *branches)
{
    int indent = 2 + 2 * (int)line->depth, width = NAME_WIDTH - indent;
    const char *mark = line->kept ? palette->good : "", *plain = line->kept ? palette->plain : "";
    printf("%*s%s%-*.*s%s %10u %8u %6u %9s\n", indent, "", mark, width, width, line->text, plain, line->own_tokens,
           line->num_tokens, line->num_blocks, branches);
}

static void write_state(const tool_palette *palette, const demo_state *state, const char *when)
{
    char heading[96], branches[24];
    snprintf(heading, sizeof heading, "%s: %u branches, %u blocks", when, state->num_branches, state->used_blocks);
    write_tree_heading(palette, heading);
    for (uint32_t i = 0; i < state->num_lines; i++) {
        const demo_line *line = &state->lines[i];
        snprintf(branches, sizeof branches, "%u%s", line->references, line->num_thoughts > 1 ? " each" : "");
        write_line(palette, line, branches);
    }
    if (state->lines_left_out > 0)
        printf("  and %u lines more\n", state->lines_left_out);
}

/* One tree for both moments: thoughts that some branch still has after the prune, and one line for all others. */
static void write_prune(const tool_palette *palette, const demo_result *demo)
{
    const demo_state *before = &demo->before;
    demo_line others = {.depth = 1};
    char branches[24];
    char heading[64];
    snprintf(heading, sizeof heading, "Tree of thoughts, level %d, before > after", DEMO_LEVEL);
    write_tree_heading(palette, heading);
    for (uint32_t i = 0; i < before->num_lines; i++) {
        const demo_line *line = &before->lines[i];
        if (line->references_after > 0) {
            snprintf(branches, sizeof branches, "%u > %u", line->references, line->references_after);
            write_line(palette, line, branches);
            continue;
        }
        others.num_thoughts += line->num_thoughts;
        others.own_tokens += line->own_tokens;
        others.num_tokens += line->num_tokens;
        others.num_blocks += line->num_blocks;
    }
    snprintf(others.text, sizeof others.text, "%u thoughts that lose", others.num_thoughts);
    write_line(palette, &others, "> 0");
}

/* ---- memory and bytes ---- */

static void write_ways(const tool_palette *palette, const demo_result *demo)
{
    char heading[64], layers[24];
    snprintf(heading, sizeof heading, "One step of the %u branches", demo->before.num_branches);
    snprintf(layers, sizeof layers, "MiB, %d layers", DEMO_LAYERS);
    printf("%s%-30s%s %6s %14s %13s %12s\n", palette->bold, heading, palette->plain, "blocks", layers, "logical_bytes",
           "plan_bytes");
    for (int i = 0; i < DEMO_NUM_WAYS; i++) {
        const demo_way *way = &demo->ways[i];
        printf("  %-28s %6" PRIu64 " %14.1f %13" PRIu64 " %12" PRIu64 "\n", way->name, way->num_blocks,
               (double)way->kv_bytes / 0x1p20, way->logical_bytes, way->plan_bytes);
    }
    printf("  %" PRIu64 " bytes per token and layer; S: %" PRIu64 " tokens on the paths, U: %" PRIu64 " in nodes\n",
           demo->token_bytes, demo->path_tokens, demo->unique_tokens);
}

static void write_eviction(const demo_eviction *eviction)
{
    printf("Budget %u tokens per branch, LongFlow: %u blocks; output error %.0f %% (random %.0f %%)\n", eviction->budget,
           eviction->peak_blocks, 100 * eviction->mean_error, 100 * eviction->random_error);
}

/* ---- text ---- */

static void write_title(const demo_result *demo)
{
    const uint32_t *numbers = demo->game->config.numbers;
    printf("\nGame of 24, %u %u %u %u: %s. A byte is a token, %u a block\n", numbers[0], numbers[1], numbers[2],
           numbers[3], demo->game->solved ? demo->game->solution : "no solution", demo->block_tokens);
}

static void write_agreement(const demo_result *demo)
{
    const tool_agreement *agreement = &demo->agreement;
    bool agree = agreement->worst.text[0] == '\0';
    printf("%u plans %s the reference%s%s", agreement->num_plans, agree ? "agree with" : "DISAGREE with",
           agree ? "" : ": ", agreement->worst.text);
}

void demo_write_screen(const demo_result *demo, const machine_info *machine, const demo_files *files, const char *more)
{
    static const char *const pictures[] = {
        [TOOL_PICTURE_DRAWN] = "tree.svg",
        [TOOL_PICTURE_NO_GNUPLOT] = "tree.txt, no gnuplot",
        [TOOL_PICTURE_FAILED] = "tree.txt, gnuplot failed",
    };
    tool_palette palette = tool_palette_for(stdout);
    demo_write_machine(machine);
    write_title(demo);
    write_prune(&palette, demo);
    puts("  own: the thought's text; in node: its branches' blocks, copied tails included");
    write_ways(&palette, demo);
    write_eviction(&demo->eviction);
    write_agreement(demo);
    printf("; %u blocks leaked; picture ", demo->totals.leaked_blocks);
    tool_write_escaped(stdout, files->folder);
    printf("/%s\nnext    %s   # more: %s\n", pictures[files->picture], files->next, more);
}

void demo_write_all(const demo_result *demo, const machine_info *machine, const demo_files *files)
{
    static const char *const pictures[] = {
        [TOOL_PICTURE_DRAWN] = ", tree.svg, tree.png",
        [TOOL_PICTURE_NO_GNUPLOT] = " (no gnuplot: tree.txt is the picture)",
        [TOOL_PICTURE_FAILED] = " (gnuplot failed: tree.txt is the picture)",
    };
    char when[64];
    tool_palette palette = tool_palette_for(stdout);
    write_machine(&palette, machine);
    write_title(demo);
    printf("A thought is forked from the one that it continues; the best %u of a level stay.\n\n",
           demo->game->config.breadth);
    snprintf(when, sizeof when, "Level %d complete", DEMO_LEVEL);
    write_state(&palette, &demo->before, when);
    putchar('\n');
    write_state(&palette, &demo->after, "Pruned");
    puts("  own tokens: bytes of the thought's own text\n"
         "  in node: tokens in the blocks that exactly these branches list. A fork shares\n"
         "      every block; the first branch that writes into a shared, part-filled block\n"
         "      copies its tokens, so a node may begin with the end of its parent's text,\n"
         "      and that end then stands in each child's node instead of the parent's\n"
         "  branches: the branches that list the node's blocks (their reference count)\n");
    write_ways(&palette, demo);
    puts("  K and V of a token: 32/8 heads, head_dim 128, bf16\n"
         "  logical_bytes: S tokens, which the branches would read if nothing were shared\n"
         "  plan_bytes: S tokens are loaded, or U where reading is grouped: each node once\n");
    write_eviction(&demo->eviction);
    printf("  the whole search under a budget, shared tokens by vote. blocks: most in use;\n"
           "      error: against the full cache, on synthetic K and V; a query sees %.1f\n"
           "      tokens in the mean. More: treeattn evict --game\n\n",
           demo->eviction.kept_tokens);
    write_agreement(demo);
    printf(":\n  on %s, %u queries, 32 heads; largest error / limit %.2g\n", machine->isa, demo->before.num_branches,
           demo->agreement.worst.worst);
    printf("search: %u iterations, %u thoughts, %" PRIu64 " block copies, %u blocks leaked\n",
           demo->totals.iterations, demo->game->num_thoughts, demo->totals.copies, demo->totals.leaked_blocks);
    fputs("files   ", stdout);
    tool_write_escaped(stdout, files->folder);
    printf("/tree.csv, tree.gp, tree.txt%s\n", pictures[files->picture]);
    printf("next    %s   # the softmax of one query, token by token\n", files->next);
}

/* ---- JSON ---- */

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
        tool_json_count(json, "thoughts", line->num_thoughts);
        tool_json_count(json, "own_tokens", line->own_tokens);
        tool_json_count(json, "node_tokens", line->num_tokens);
        tool_json_count(json, "blocks", line->num_blocks);
        tool_json_count(json, "references", line->references);
        tool_json_count(json, "references_after", line->references_after);
        tool_json_bool(json, "kept", line->kept);
        tool_json_close(json);
    }
    tool_json_close(json);
    tool_json_close(json);
}

static void put_step(tool_json *json, const demo_result *demo)
{
    tool_json_open(json, "step", '{');
    tool_json_count(json, "queries", demo->before.num_branches);
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
    tool_json_count(json, "plans_run", demo->agreement.num_plans);
    tool_json_bool(json, "within_rounding_bound", demo->agreement.worst.text[0] == '\0');
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

static void put_eviction(tool_json *json, const demo_eviction *eviction)
{
    tool_json_open(json, "eviction", '{');
    tool_json_text(json, "policy", "longflow");
    tool_json_text(json, "scope", "vote");
    tool_json_count(json, "budget", eviction->budget);
    tool_json_count(json, "peak_blocks", eviction->peak_blocks);
    tool_json_real(json, "kept_tokens", eviction->kept_tokens, 4);
    tool_json_real(json, "mean_error", eviction->mean_error, 3);
    tool_json_real(json, "random_mean_error", eviction->random_error, 3);
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

void demo_write_json(const demo_result *demo, const machine_info *machine, const demo_files *files)
{
    static const char *const names[] = {"tree.csv", "tree.gp", "tree.txt", "tree.svg", "tree.png"};
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
    put_eviction(&json, &demo->eviction);
    tool_json_close(&json);
    tool_json_text(&json, "folder", files->folder);
    tool_json_open(&json, "files", '[');
    for (int i = 0; i < (files->picture == TOOL_PICTURE_DRAWN ? 5 : 3); i++)
        tool_json_text(&json, NULL, names[i]);
    tool_json_close(&json);
    tool_json_text(&json, "next", files->next);
    tool_json_close(&json);
}
