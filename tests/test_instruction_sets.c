/* Claim: an instruction set runs only on a machine that has every subset that its object file was compiled for, and
 * whose operating system grants it; and the best such set is chosen. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "attention_model.h"
#include "test.h"
#include "tree_isa_internal.h"

static const struct {
    const char *name;     /* in a flag, -mNAME */
    const char *reported; /* in /proc/cpuinfo */
    uint32_t feature;
} names[] = {
    {"avx2", "avx2", CPU_AVX2},
    {"fma", "fma", CPU_FMA},
    {"f16c", "f16c", CPU_F16C},
    {"avx512f", "avx512f", CPU_AVX512F},
    {"avx512bw", "avx512bw", CPU_AVX512BW},
    {"avx512vl", "avx512vl", CPU_AVX512VL},
    {"avx512dq", "avx512dq", CPU_AVX512DQ},
    {"avx512bf16", "avx512_bf16", CPU_AVX512BF16},
    {"amx-tile", "amx_tile", CPU_AMX_TILE},
    {"amx-bf16", "amx_bf16", CPU_AMX_BF16},
};
enum { NUM_NAMES = sizeof names / sizeof names[0] };

enum {
    OF_AVX2 = CPU_AVX2 | CPU_FMA | CPU_F16C,
    OF_AVX512 = OF_AVX2 | CPU_AVX512F | CPU_AVX512BW | CPU_AVX512VL | CPU_AVX512DQ,
    OF_AVX512_BF16 = OF_AVX512 | CPU_AVX512BF16,
    OF_AMX = OF_AVX512_BF16 | CPU_AMX_TILE | CPU_AMX_BF16
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
    {TREE_ISA_AMX, FLAGS_OF_amx, &cpu_kernel_amx, OF_AMX},
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
            if (expected && !(sets[i].isa == TREE_ISA_AVX512_BF16 && features & CPU_SLOW_PAIRS))
                best = sets[i].isa;
        }
        check(cpu_best_isa(features) == best, "features %#x: %s, expected %s", features,
              tree_isa_name[cpu_best_isa(features)], tree_isa_name[best]);
    }
    check(!cpu_features_suffice(CPU_ALL_FEATURES, TREE_NUM_ISAS), "no set of that number");
    for (int i = 0; i < NUM_SETS; i++) {
        check(cpu_kernel_of(sets[i].isa, TREE_BF16) == sets[i].kernel, "bf16: %s", tree_isa_name[sets[i].isa]);
        for (tree_storage storage = TREE_FP32; storage <= TREE_FP16; storage++)
            check(cpu_kernel_of(sets[i].isa, storage) == sets[sets[i].isa == TREE_ISA_AVX2 ? 0 : 1].kernel,
                  "storage %d: %s", (int)storage, tree_isa_name[sets[i].isa]);
    }
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
    for (int n = 0; n < NUM_NAMES; n++)
        check(has_word(line, names[n].reported) || !(cpu_machine_features() & names[n].feature),
              "%s is not in /proc/cpuinfo", names[n].reported);
    check(tree_isa_best() == cpu_best_isa(cpu_machine_features()), "%s", tree_isa_name[tree_isa_best()]);
    for (tree_isa isa = 0; isa <= TREE_NUM_ISAS; isa++)
        check(tree_isa_available(isa) == cpu_features_suffice(cpu_machine_features(), isa), "set %d", (int)isa);
    check(tree_isa_for(TREE_ISA_AUTO, TREE_BF16) == tree_isa_best(), "auto, bf16");
    check(tree_isa_for(TREE_ISA_AUTO, TREE_FP16) <= TREE_ISA_AVX512, "auto, fp16");
}

static void run_traits(const void *unused)
{
    (void)unused;
    for (uint32_t model = 0; model < 256; model++) {
        uint32_t expected = model == 143 || model == 207 ? CPU_SLOW_PAIRS : 0;
        check(cpu_traits_of(true, 6, model) == expected, "Intel, family 6, model %u", model);
        check(!cpu_traits_of(false, 6, model), "not Intel, model %u", model);
        check(!cpu_traits_of(true, 25, model), "family 25, model %u", model);
    }
}

#if defined(__linux__) && defined(__x86_64__) && defined(FLAGS_OF_avx2)
/* From now on the kernel refuses tiles to this process, as it does in a sandbox or before Linux 5.16. */
static void forbid_tiles(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x1023, 0, 1), /* ARCH_REQ_XCOMP_PERM */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof rules[0], rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        _exit(77);
}

/* Exit status 0: the library says that it has no tiles, and attends without them. */
static void attend_without_tiles(void)
{
    forbid_tiles();
    if (tree_isa_available(TREE_ISA_AMX) || tree_isa_best() == TREE_ISA_AMX)
        _exit(1);
    attention_case c;
    attention_backend backend = *attention_backend_at(0);
    for (uint32_t i = 0; attention_backend_at(i); i++)
        backend = *attention_backend_at(i); /* the last one that is available */
    backend.isa = TREE_ISA_AUTO;
    attention_case_build(&c, &backend, "1,3/200,20", 16, (attention_size){2, 2, 64});
    attention_check_strategies(&c);
    attention_case_free(&c);
    _exit(0);
}

/* The first case: afterwards this process has asked. */
static void run_refused(const void *unused)
{
    (void)unused;
    if (getenv("TREEATTN_EMULATE_AMX"))
        test_skip("tests/amx_emulator.c has asked");
    pid_t child = fork();
    check(child >= 0, "fork");
    if (child == 0)
        attend_without_tiles();
    int status;
    check(waitpid(child, &status, 0) == child && WIFEXITED(status), "the child ends by itself, not with %#x", status);
    if (WEXITSTATUS(status) == 77)
        test_skip("no seccomp");
    check(WEXITSTATUS(status) == 0, "status %d", WEXITSTATUS(status));
    if (!tree_isa_available(TREE_ISA_AMX))
        test_skip("this machine cannot run amx, so nothing was refused");
}
#else
static void run_refused(const void *unused)
{
    (void)unused;
    test_skip("only Linux on x86-64 grants tiles");
}
#endif

int main(int argc, char **argv)
{
    test_begin(argc, argv, "an instruction set is chosen only if the machine has each subset that it was compiled for");
    test_add(run_refused, NULL, "tiles_are_refused");
    test_add(run_flags, NULL, "flags_are_known_and_needed");
    test_add(run_feature_sets, NULL, "every_set_of_features");
    test_add(run_traits, NULL, "family_and_model");
    test_add(run_machine, NULL, "this_machine");
    return test_end();
}
