/* tool_profile: the prices of plan cost on one GPU, as a text of lines "key value": treeattn tune writes it, plan and
 * bench read it where --profile names it. docs/profiles.md explains each line. */
#ifndef TOOL_PROFILE_H
#define TOOL_PROFILE_H

#include "tool_options.h"
#include "tree_plan.h"

enum {
    TOOL_PROFILE_TEXT = 256,
    TOOL_PROFILE_TREES = 64 /* at most, of each kind */
};

#define TOOL_PROFILE_OPTION(what) \
    {"--profile", "FILE|NAME", what ": a file that treeattn tune wrote, or nvidia_h200, nvidia_h100, ..."}

/* Cold times of one tree: plan cost with the default and with the fitted prices, and the fastest of the other plans. */
typedef struct tool_profile_tree {
    char tree[TOOL_PROFILE_TEXT]; /* "1,1 / 512,16" */
    uint32_t num_heads, num_kv_heads;
    double default_us, fitted_us, other_us;
    tree_strategy other;
} tool_profile_tree;

/* How many percent slower than the fastest of the other plans; less than 0: faster. */
double tool_profile_behind(const tool_profile_tree *tree, bool fitted);

/* Geometric mean of fitted / default. 1 without trees. */
double tool_profile_ratio(const tool_profile_tree *trees, uint32_t num_trees);

typedef struct tool_profile {
    char gpu[TOOL_PROFILE_TEXT]; /* as the driver names it, or the beginning of that */
    uint32_t measured;           /* 1: fitted on such a GPU; 0: computed from the data sheet that `source` names */
    char source[TOOL_PROFILE_TEXT], date[TOOL_PROFILE_TEXT], driver[TOOL_PROFILE_TEXT], commit[TOOL_PROFILE_TEXT];
    char rung[TOOL_PROFILE_TEXT];
    uint32_t multiprocessors;
    double l2_mib, dram_gbps, l2_gbps, matrix_tflops, launch_us;
    tree_prices prices;
    uint32_t num_fit, num_judge;
    tool_profile_tree fit[TOOL_PROFILE_TREES], judge[TOOL_PROFILE_TREES];
} tool_profile;

/* The profile of the option --profile; NULL if it was not given. A profile that cannot be read, or is damaged, ends the
 * program with status 2 and FILE:LINE: the expected text. The caller frees it. */
tool_profile *tool_profile_given(const tool_call *call);

void tool_profile_write(FILE *file, const tool_profile *profile);

/* "NVIDIA H200" as part of a file's name: nvidia_h200. */
void tool_profile_name(char name[TOOL_PROFILE_TEXT], const char *gpu);

/* One line on stderr if the profile is that of another GPU. */
void tool_profile_warn(const tool_call *call, const tool_profile *profile, const char *gpu, uint32_t multiprocessors);

/* The profiles of tools/profiles, which are part of the program. */
typedef struct tool_profile_known {
    const char *name, *text;
} tool_profile_known;
extern const tool_profile_known tool_profiles_known[]; /* ends with a NULL name; made by CMakeLists.txt */

#endif
