/* Claim: an instruction set runs only on a machine that has every subset that its object file was compiled for, and the
 * best such set is chosen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "tree_isa_internal.h"

static const struct {
    const char *name; /* in a flag, -mNAME, and in /proc/cpuinfo but for underscores */
    uint32_t feature;
} names[] = {
    {"avx2", CPU_AVX2},         {"fma", CPU_FMA},           {"f16c", CPU_F16C},         {"avx512f", CPU_AVX512F},
    {"avx512bw", CPU_AVX512BW}, {"avx512vl", CPU_AVX512VL}, {"avx512dq", CPU_AVX512DQ}, {"avx512bf16", CPU_AVX512BF16},
};
enum { NUM_NAMES = sizeof names / sizeof names[0] };

enum {
    OF_AVX2 = CPU_AVX2 | CPU_FMA | CPU_F16C,
    OF_AVX512 = OF_AVX2 | CPU_AVX512F | CPU_AVX512BW | CPU_AVX512VL | CPU_AVX512DQ,
    OF_AVX512_BF16 = OF_AVX512 | CPU_AVX512BF16
};

#ifdef FLAGS_OF_avx2
static const struct {
    tree_isa isa;
    const char *flags; /* of the build */
    const cpu_kernel *kernel;
    uint32_t needs;
} sets[] = {
    {TREE_ISA_AVX2, FLAGS_OF_avx2, &cpu_kernel_avx2, OF_AVX2},
    {TREE_ISA_AVX512, FLAGS_OF_avx512, &cpu_kernel_avx512, OF_AVX512},
    {TREE_ISA_AVX512_BF16, FLAGS_OF_avx512_bf16, &cpu_kernel_avx512_bf16, OF_AVX512_BF16},
};
enum { NUM_SETS = sizeof sets / sizeof sets[0] };

/* A flag that the choice does not know would be a subset that is never checked. */
static void run_flags(const void *unused)
{
    (void)unused;
    for (int i = 0; i < NUM_SETS; i++) {
        uint32_t flagged = 0;
        const char *at = sets[i].flags;
        for (size_t length; *at; at += length + (at[length] == ' ')) {
            length = strcspn(at, " ");
            int n = 0;
            while (n < NUM_NAMES && (strlen(names[n].name) + 2 != length || strncmp(at + 2, names[n].name, length - 2)))
                n++;
            check(n < NUM_NAMES && !strncmp(at, "-m", 2), "a flag that the choice knows of: '%.*s'", (int)length, at);
            flagged |= names[n].feature;
        }
        uint32_t expected = flagged | sets[i].needs;
        check((sets[i].kernel->needs & expected) == expected, "%s: needs %#x, expected %#x", tree_isa_name[sets[i].isa],
              sets[i].kernel->needs, expected);
    }
}
#else
enum { NUM_SETS = 0 };
static const struct {
    tree_isa isa;
    const cpu_kernel *kernel;
} sets[1];

static void run_flags(const void *unused)
{
    (void)unused;
    test_skip("only the portable path is built for this machine");
}
#endif

/* Every possible machine. */
static void run_feature_sets(const void *unused)
{
    (void)unused;
    for (uint32_t features = 0; features <= CPU_ALL_FEATURES; features++) {
        tree_isa best = TREE_ISA_PORTABLE;
        check(cpu_features_suffice(features, TREE_ISA_AUTO) && cpu_features_suffice(features, TREE_ISA_PORTABLE),
              "features %#x: portable", features);
        for (int i = 0; i < NUM_SETS; i++) {
            uint32_t needs = sets[i].kernel->needs; /* more than sets[i].needs where all is built with -march=native */
            bool expected = (features & needs) == needs;
            check(cpu_features_suffice(features, sets[i].isa) == expected, "features %#x: %s", features,
                  tree_isa_name[sets[i].isa]);
            best = expected ? sets[i].isa : best;
        }
        check(cpu_best_isa(features) == best, "features %#x: %s, expected %s", features,
              tree_isa_name[cpu_best_isa(features)], tree_isa_name[best]);
    }
    check(!cpu_features_suffice(CPU_ALL_FEATURES, TREE_NUM_ISAS), "no set of that number");
}

static bool has_word(const char *line, const char *word)
{
    char with_blanks[32];
    snprintf(with_blanks, sizeof with_blanks, " %s ", word);
    return strstr(line, with_blanks);
}

/* Nothing is claimed that the kernel does not list. (An emulated processor may have less than it lists.) */
static void run_machine(const void *unused)
{
    (void)unused;
    static char line[1 << 14];
    FILE *file = fopen("/proc/cpuinfo", "r");
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file))
        found = !strncmp(line, "flags", 5);
    if (file)
        fclose(file);
    if (!found)
        test_skip("no flags in /proc/cpuinfo");
    line[strcspn(line, "\n")] = ' ';
    for (int n = 0; n < NUM_NAMES; n++) {
        const char *name = names[n].feature == CPU_AVX512BF16 ? "avx512_bf16" : names[n].name;
        check(has_word(line, name) || !(cpu_machine_features() & names[n].feature), "%s is not in /proc/cpuinfo", name);
    }
    check(tree_isa_best() == cpu_best_isa(cpu_machine_features()), "%s", tree_isa_name[tree_isa_best()]);
    for (tree_isa isa = 0; isa <= TREE_NUM_ISAS; isa++)
        check(tree_isa_available(isa) == cpu_features_suffice(cpu_machine_features(), isa), "set %d", (int)isa);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "an instruction set is chosen only if the machine has each subset that it was compiled for");
    test_add(run_flags, NULL, "flags_are_known_and_needed");
    test_add(run_feature_sets, NULL, "every_set_of_features");
    test_add(run_machine, NULL, "this_machine");
    return test_end();
}
