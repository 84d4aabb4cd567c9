/* Claim: a recorded csv is replaced by a complete one or stays as it is, as one with counters does
 * after a run that counted nothing; a pipe or a device is written directly. */
#define _XOPEN_SOURCE 700
#include "../measure/provenance.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "test.h"

static char place[256];

static void enter_new_place(void)
{
    snprintf(place, sizeof place, "%s/treeattn.XXXXXX", P_tmpdir);
    check(mkdtemp(place) != NULL && chdir(place) == 0, "a folder in %s", P_tmpdir);
}

static void leave_place(void)
{
    check(chdir("/") == 0 && rmdir(place) == 0, "nothing is left in %s", place);
}

static void write_recorded(const char *path)
{
    FILE *file = fopen(path, "w");
    check(file != NULL && fputs("recorded\n", file) > 0 && fclose(file) == 0, "%s", path);
}

/* The last line of a csv. */
static const char *last_line(const char *path)
{
    static char line[256];
    line[0] = '\0';
    FILE *file = fopen(path, "r");
    check(file != NULL, "%s is there", path);
    while (fgets(line, sizeof line, file) != NULL) continue;
    fclose(file);
    return line;
}

static FILE *measure(const char *path, int num_lines)
{
    FILE *csv = figure_open(path, "a test", "none");
    for (int i = 0; i < num_lines; i++) fprintf(csv, "measured,%d\n", i);
    return csv;
}

static void run_complete(const void *argument)
{
    const char *path = argument;
    enter_new_place();
    for (int recorded = 0; recorded < 2; recorded++) {
        if (recorded) write_recorded(path);
        FILE *csv = measure(path, 1000);
        fflush(csv);
        if (recorded) check(strcmp(last_line(path), "recorded\n") == 0, "the recorded csv is there until the end");
        figure_close(csv);
        check(strcmp(last_line(path), "measured,999\n") == 0, "the new one ends in '%s'", last_line(path));
        unlink(path);
    }
    leave_place();
}

static int status_of(pid_t child)
{
    int status = 0;
    check(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status), "the child ended by itself");
    return WEXITSTATUS(status);
}

/* Writes the last message of a child to /dev/null: it would look like one of this test. */
static void be_quiet(void)
{
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(99);
}

static void run_cut(const void *argument)
{
    const long *limit = argument; /* bytes that fit into a file; 0: no limit, but the program ends early */
    enter_new_place();
    write_recorded("a.csv");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        be_quiet();
        struct rlimit few = {(rlim_t)*limit, (rlim_t)*limit};
        if (*limit > 0 && setrlimit(RLIMIT_FSIZE, &few) != 0) _exit(99);
        FILE *csv = measure("a.csv", 1000);
        fflush(csv);
        if (*limit == 0) figure_check(0, "something else is wrong");
        figure_close(csv);
        _exit(0);
    }
    char part[64];
    check(status_of(child) == 1, "status 1");
    check(strcmp(last_line("a.csv"), "recorded\n") == 0, "the recorded csv is as it was: '%s'", last_line("a.csv"));
    snprintf(part, sizeof part, "a.csv.part-%ld", (long)child);
    if (*limit == 0) check(strcmp(last_line(part), "measured,999\n") == 0, "the lines so far are kept beside it");
    check((unlink(part) == 0) == (*limit == 0), "no file that was cut is left");
    unlink("a.csv");
    leave_place();
}

static void run_link_to_nothing_in_the_way(const void *argument)
{
    (void)argument;
    char part[64];
    enter_new_place();
    snprintf(part, sizeof part, "a.csv.part-%ld", (long)getpid());
    check(symlink("elsewhere", part) == 0, "a link");
    figure_close(measure("a.csv", 1));
    check(access("elsewhere", F_OK) != 0, "nothing was written through the link");
    unlink("a.csv");
    leave_place();
}

static void run_pipe(const void *argument)
{
    (void)argument;
    char read_back[4096];
    struct stat found;
    enter_new_place();
    check(mkfifo("a.csv", 0666) == 0, "a pipe");
    int end = open("a.csv", O_RDONLY | O_NONBLOCK);
    check(end >= 0, "its other end");
    figure_close(measure("a.csv", 2));
    ssize_t length = read(end, read_back, sizeof read_back - 1);
    close(end);
    check(length > 0, "the csv went through the pipe");
    read_back[length] = '\0';
    check(strstr(read_back, "measured,1\n") != NULL, "it ends in '%s'", read_back);
    check(stat("a.csv", &found) == 0 && S_ISFIFO(found.st_mode), "the pipe is still one");
    unlink("a.csv");
    leave_place();
}

/* By a link in the new folder: whatever is wrong with the code under test, the device itself cannot be replaced. */
static void run_full(const void *argument)
{
    (void)argument;
    struct stat found;
    enter_new_place();
    check(symlink("/dev/full", "full.csv") == 0, "a link to the device");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        be_quiet();
        figure_close(measure("full.csv", 1));
        _exit(0);
    }
    check(status_of(child) == 1, "status 1");
    check(lstat("full.csv", &found) == 0 && S_ISLNK(found.st_mode), "the link is still one");
    unlink("full.csv");
    leave_place();
}

struct counts {
    const char *name, *csv; /* csv NULL: there is none */
    size_t num_counted;
    bool stays;
};

#define WITH_COUNTS "# dram_bytes: ncu\ntree,us,dram_bytes,l2_hit_percent\n\"3 levels, 64\",1.5,"

static const struct counts counts[] = {
    {"nothing_counted", WITH_COUNTS "8748032,15.4\n", 0, true},
    {"nothing_counted_and_one_recorded_line_of_two", WITH_COUNTS "-1,-1.0\nb,2,0,-1.0\n", 0, true},
    {"last_column_has_counts", "tree,dram_bytes\na,12\n", 0, true},
    {"new_counts", WITH_COUNTS "8748032,15.4\n", 2, false},
    {"nothing_counted_then_or_now", WITH_COUNTS "-1,-1.0\n", 0, false},
    {"column_is_not_the_heading's_comma", "\"a,dram_bytes\",us\n1,5\n", 0, false},
    {"column_of_a_longer_name", "tree,dram_bytes_2\na,5\n", 0, false},
    {"no_such_column", "# dram_bytes: none\nbranches,us\n1,5\n", 0, false},
    {"short_line", "tree,us,dram_bytes\na,5\n", 0, false},
    {"empty_csv", "", 0, false},
    {"no_csv", NULL, 0, false},
};

static void run_counts(const void *argument)
{
    const struct counts *c = argument;
    static const char said[] = "tree_times: figures/tree_times.csv keeps its recorded data, because ncu counted nothing";
    enter_new_place();
    check(mkdir("figures", 0777) == 0, "a folder");
    if (c->csv != NULL) {
        FILE *file = fopen("figures/tree_times.csv", "w");
        check(file != NULL && fputs(c->csv, file) >= 0 && fclose(file) == 0, "the recorded csv");
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (freopen("said", "w", stderr) == NULL) _exit(99);
        int stays = figure_keeps_counts("figures/tree_times.csv", c->num_counted);
        fflush(stderr);
        _exit(stays);
    }
    check(status_of(child) == c->stays, "%s", c->stays ? "the recorded csv stays" : "the csv is written");
    check(strncmp(last_line("said"), said, sizeof said - 1) == 0 || !c->stays, "it says '%s'", last_line("said"));
    check(strstr(last_line("said"), "argument of measure_tree_times writes the new times there") != NULL || !c->stays,
          "and what to do: '%s'", last_line("said"));
    check(c->stays || last_line("said")[0] == '\0', "nothing to say: '%s'", last_line("said"));
    check(figure_keeps_counts("figures/other.csv", 0) == 0, "a path without a csv is written");
    unlink("said");
    unlink("figures/tree_times.csv");
    check(rmdir("figures") == 0, "nothing is left in figures");
    leave_place();
}

int main(int argc, char **argv)
{
    static const long limits[] = {0, 1, 600, 5000};
    test_begin(argc, argv, "a recorded csv is replaced by a complete one or stays as it is");
    test_add(run_complete, "a.csv", "complete_csv_replaces_the_recorded_one");
    test_add(run_complete, "|touch x;'\"\n$(id).csv", "csv_by_a_name_with_syntax");
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        test_add(run_cut, &limits[i], limits[i] ? "disk_full_after_%ld_bytes" : "program_ends_early", limits[i]);
    test_add(run_link_to_nothing_in_the_way, NULL, "no_line_goes_through_a_link");
    test_add(run_pipe, NULL, "a_pipe_is_written_directly");
    test_add(run_full, NULL, "a_full_device_is_told");
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        test_add(run_counts, &counts[i], "counts: %s", counts[i].name);
    return test_end();
}
