/* treeattn doctor: lists the parts that this machine and this build have, with advice where one is missing. A missing
 * part is not a failure. */
#include "tool_options.h"

#include <stdio.h>
#include <string.h>

#include "machine.h"

#ifndef TREEATTN_COMMIT
#define TREEATTN_COMMIT "unknown"
#endif

/* mark: "v" there, "-" not there and not needed, " " neither good nor bad. */
typedef struct fact {
    const char *name, *mark;
    char value[240];
    const char *advice; /* NULL: none */
} fact;

enum { MAX_FACTS = 20 };

typedef struct fact_list {
    fact facts[MAX_FACTS];
    int num_facts;
} fact_list;

static char *add_fact(fact_list *list, const char *name, const char *mark, const char *advice)
{
    fact *f = &list->facts[list->num_facts++];
    *f = (fact){.name = name, .mark = mark, .advice = advice};
    return f->value;
}

enum { VALUE_BYTES = sizeof((fact *)0)->value };

static void format_bytes(char *text, size_t text_bytes, uint64_t bytes)
{
    if (bytes >= (uint64_t)1 << 30)
        snprintf(text, text_bytes, "%.1f GiB", (double)bytes / 0x1p30);
    else if (bytes >= (uint64_t)1 << 20)
        snprintf(text, text_bytes, "%.4g MiB", (double)bytes / 0x1p20);
    else
        snprintf(text, text_bytes, "%.4g KiB", (double)bytes / 0x1p10);
}

static void add_cpu(fact_list *list, const machine_info *machine)
{
    snprintf(add_fact(list, "cpu", "v", NULL), VALUE_BYTES, "%s, %u online", machine->cpu, machine->num_cpus);
    bool crowded = machine->cpu_quota > 0 && (double)machine->num_threads > machine->cpu_quota + 0.5;
    if (machine->cpu_quota > 0)
        snprintf(add_fact(list, "cpu_quota", " ", crowded ? "set OMP_NUM_THREADS to the quota" : NULL), VALUE_BYTES,
                 "%.3g CPUs by control group", machine->cpu_quota);
    for (int level = 1; level <= 3; level++) {
        static const char *const names[] = {"", "cache_1", "cache_2", "cache_3"};
        if (machine->cache_bytes[level] > 0)
            format_bytes(add_fact(list, names[level], " ", NULL), VALUE_BYTES, machine->cache_bytes[level]);
    }
    format_bytes(add_fact(list, "memory", " ", NULL), VALUE_BYTES, machine->memory_bytes);
    snprintf(add_fact(list, "instruction_sets", "v", NULL), VALUE_BYTES, "%s (runs: %s)", machine->isas, machine->isa);
    if (machine->openmp != 0)
        snprintf(add_fact(list, "openmp", "v", NULL), VALUE_BYTES, "%d, %u threads", machine->openmp,
                 machine->num_threads);
    else
        snprintf(add_fact(list, "openmp", "-", "install libomp-dev, or build with gcc"), VALUE_BYTES,
                 "single-threaded build");
}

static void add_gpu(fact_list *list, const machine_info *machine)
{
    if (machine->cuda_compiler[0] != '\0')
        snprintf(add_fact(list, "cuda_compiler", "v", NULL), VALUE_BYTES, "%s", machine->cuda_compiler);
    else
        snprintf(add_fact(list, "cuda_compiler", "-",
                          "the CPU part is complete; for CUDA put nvcc on PATH and build again"),
                 VALUE_BYTES, "none when this was built");
    if (machine->driver[0] == '\0')
        snprintf(add_fact(list, "nvidia_driver", "-",
                          "GPU tests are skipped; in a container with a GPU, start it with --gpus all"),
                 VALUE_BYTES, "no driver");
    else
        snprintf(add_fact(list, "nvidia_driver", "v", NULL), VALUE_BYTES, "%s, %u GPUs%s%s", machine->driver,
                 machine->num_gpus, machine->num_gpus > 0 ? ", the first: " : "", machine->gpu);
}

static fact_list collect(const machine_info *machine)
{
    fact_list list = {.num_facts = 0};
    snprintf(add_fact(&list, "version", "v", NULL), VALUE_BYTES, "%s", TREEATTN_VERSION);
    snprintf(add_fact(&list, "commit", " ", NULL), VALUE_BYTES, "%s", TREEATTN_COMMIT);
    snprintf(add_fact(&list, "compiler", "v", NULL), VALUE_BYTES, "%s", machine->compiler);
    add_cpu(&list, machine);
    add_gpu(&list, machine);
    if (machine->gnuplot[0] != '\0')
        snprintf(add_fact(&list, "gnuplot", "v", NULL), VALUE_BYTES, "%s", machine->gnuplot);
    else
        snprintf(add_fact(&list, "gnuplot", "-", "csv files are written, no pictures; apt-get install gnuplot-nox"),
                 VALUE_BYTES, "none");
    snprintf(add_fact(&list, "colour", " ", NULL), VALUE_BYTES, "%s: %s", tool_colour(stdout) ? "on" : "off",
             tool_colour_reason(stdout));
    return list;
}

static void write_text(const fact_list *list)
{
    tool_palette palette = tool_palette_for(stdout);
    for (int i = 0; i < list->num_facts; i++) {
        const fact *f = &list->facts[i];
        bool good = strcmp(f->mark, "v") == 0;
        printf("%s%s%s %-17s %s%s%s\n", good ? palette.good : palette.dim, f->mark, palette.plain, f->name, f->value,
               f->advice != NULL ? "; " : "", f->advice != NULL ? f->advice : "");
    }
}

static void write_json(const fact_list *list)
{
    tool_json json = {.file = stdout};
    tool_json_open(&json, NULL, '{');
    for (int i = 0; i < list->num_facts; i++) {
        const fact *f = &list->facts[i];
        tool_json_open(&json, f->name, '{');
        tool_json_bool(&json, "present", strcmp(f->mark, "-") != 0);
        tool_json_text(&json, "value", f->value);
        tool_json_text(&json, "advice", f->advice);
        tool_json_close(&json);
    }
    tool_json_close(&json);
}

static void write_csv(const fact_list *list)
{
    tool_table *table = tool_table_create();
    for (int i = 0; i < list->num_facts; i++) {
        tool_row(table);
        tool_put_text(table, "name", list->facts[i].name);
        tool_put_text(table, "present", strcmp(list->facts[i].mark, "-") != 0 ? "1" : "0");
        tool_put_text(table, "value", list->facts[i].value);
        tool_put_text(table, "advice", list->facts[i].advice);
    }
    tool_table_write(table, stdout, TOOL_CSV, false);
}

static int run(const tool_call *call)
{
    machine_info machine = machine_look();
    fact_list list = collect(&machine);
    if (call->format == TOOL_JSON)
        write_json(&list);
    else if (call->format == TOOL_CSV)
        write_csv(&list);
    else
        write_text(&list);
    return TOOL_OK;
}

static const tool_option options[] = {{NULL, NULL, NULL}};

const tool_verb tool_doctor = {
    .name = "doctor",
    .summary = "lists what this machine and this build have, with advice where a part is missing",
    .formats = "text csv json",
    .options = options,
    .example = "  treeattn doctor --format json\n",
    .run = run,
};
