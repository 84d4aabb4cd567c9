/* Looks at CPU, caches, memory, compilers, GPU driver and gnuplot, by way of /proc and /sys. Links nothing for it. */
#define _POSIX_C_SOURCE 200809L
#include "machine.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "process.h"
#include "tree_attention_cpu.h"

#ifndef TREEATTN_CUDA_COMPILER
#define TREEATTN_CUDA_COMPILER ""
#endif

/* Value behind the first "key<blanks>:" of a file of such lines; false if there is none. */
static bool read_key(const char *path, const char *key, char *value, size_t value_bytes)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    char line[4096];
    bool found = false;
    while (!found && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (colon == NULL || strncmp(line, key, strlen(key)) != 0)
            continue;
        char *text = colon + 1 + strspn(colon + 1, " \t");
        text[strcspn(text, "\n")] = '\0';
        snprintf(value, value_bytes, "%s", text);
        found = true;
    }
    fclose(file);
    return found;
}

static bool read_line(const char *path, char *line, size_t line_bytes)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    bool read = fgets(line, (int)line_bytes, file) != NULL;
    if (read)
        line[strcspn(line, "\n")] = '\0';
    fclose(file);
    return read;
}

static void look_at_caches(machine_info *machine)
{
    for (int index = 0; index < 8; index++) {
        char path[96], level[16], type[32], size[32];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", index);
        if (!read_line(path, level, sizeof level))
            break;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", index);
        if (!read_line(path, type, sizeof type) || strcmp(type, "Instruction") == 0)
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
        int number = atoi(level);
        if (read_line(path, size, sizeof size) && number >= 1 && number <= 3)
            machine->cache_bytes[number] = strtoull(size, NULL, 10) << (strchr(size, 'M') != NULL ? 20 : 10);
    }
}

static void look_at_quota(machine_info *machine)
{
    char line[64];
    double quota_us, period_us;
    if (read_line("/sys/fs/cgroup/cpu.max", line, sizeof line) && sscanf(line, "%lf %lf", &quota_us, &period_us) == 2 &&
        period_us > 0)
        machine->cpu_quota = quota_us / period_us;
}

static void look_at_isas(machine_info *machine)
{
    size_t used = 0;
    for (int isa = TREE_ISA_PORTABLE; isa < TREE_NUM_ISAS; isa++) {
        if (tree_isa_available((tree_isa)isa))
            used += (size_t)snprintf(machine->isas + used, sizeof machine->isas - used, "%s%s", used > 0 ? " " : "",
                                     tree_isa_name[isa]);
    }
    machine->isa = tree_isa_name[tree_isa_best()];
}

/* "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ...": the first word that begins with a digit
 * and holds a dot. */
static void look_at_driver(machine_info *machine)
{
    char line[256];
    if (!read_line("/proc/driver/nvidia/version", line, sizeof line))
        return;
    snprintf(machine->driver, sizeof machine->driver, "unknown version");
    for (char *word = strtok(line, " \t"); word != NULL; word = strtok(NULL, " \t")) {
        if (word[0] >= '0' && word[0] <= '9' && strchr(word, '.') != NULL) {
            snprintf(machine->driver, sizeof machine->driver, "%s", word);
            break;
        }
    }
    DIR *gpus = opendir("/proc/driver/nvidia/gpus");
    if (gpus == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(gpus)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        char path[400];
        snprintf(path, sizeof path, "/proc/driver/nvidia/gpus/%s/information", entry->d_name);
        if (machine->num_gpus++ == 0)
            read_key(path, "Model", machine->gpu, sizeof machine->gpu);
    }
    closedir(gpus);
}

static void look_at_gnuplot(machine_info *machine)
{
    static const char *const argv[] = {"gnuplot", "--version", NULL};
    child_process gnuplot;
    char how[64];
    if (process_start_limited(&gnuplot, NULL, argv, PROCESS_READS_STDOUT, 10) != 0)
        return;
    process_read_line(&gnuplot, machine->gnuplot, sizeof machine->gnuplot);
    if (process_wait(&gnuplot, how, sizeof how)[0] != '\0')
        machine->gnuplot[0] = '\0';
}

machine_info machine_look(void)
{
    machine_info machine = {.cuda_compiler = TREEATTN_CUDA_COMPILER};
    char memory[64];
    if (!read_key("/proc/cpuinfo", "model name", machine.cpu, sizeof machine.cpu))
        snprintf(machine.cpu, sizeof machine.cpu, "unknown CPU");
    if (read_key("/proc/meminfo", "MemTotal", memory, sizeof memory))
        machine.memory_bytes = strtoull(memory, NULL, 10) << 10;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    machine.num_cpus = online > 0 ? (uint32_t)online : 1;
    machine.num_threads = 1;
#ifdef _OPENMP
    machine.openmp = _OPENMP;
    machine.num_threads = (uint32_t)omp_get_max_threads();
#endif
#ifdef __clang__
    snprintf(machine.compiler, sizeof machine.compiler, "clang %d.%d.%d", __clang_major__, __clang_minor__,
             __clang_patchlevel__);
#else
    snprintf(machine.compiler, sizeof machine.compiler, "gcc %d.%d.%d", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
    look_at_quota(&machine);
    look_at_caches(&machine);
    look_at_isas(&machine);
    look_at_driver(&machine);
    look_at_gnuplot(&machine);
    return machine;
}

bool tool_make_folder(const char *path)
{
    char part[4096];
    if (path[0] == '\0')
        return errno = ENOENT, false;
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return errno = ENAMETOOLONG, false;
    for (char *at = part + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return false;
        *at = '/';
    }
    if (mkdir(part, 0777) != 0 && errno != EEXIST)
        return false;
    struct stat found;
    if (stat(part, &found) != 0)
        return false;
    return S_ISDIR(found.st_mode) ? true : (errno = ENOTDIR, false);
}
