/* Claim: the folder of demo's picture may have any name, and its files are whole and its own: none is cut, none is
 * written through a symbolic link, and a gnuplot that fails is told apart from one that is not there. */
/* The program's own code; it is in no library. */
#include "../measure/process.c"
#include "../tools/tool_output.c"
#include "../tools/tool_options.c"
#define GNUPLOT_SECONDS 2
#include "../tools/tool_picture.c"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "test.h"

static const char whole_stub[] = "case $2 in *svg*) printf '<svg><g></g></svg>\\n\\n' >tree.svg ;;\n"
                                 "*) printf 'PNG pixels IEND\\256B`\\202' >tree.png ;; esac";

/* What is done in a new folder, which is the child's present one. */
typedef struct setting {
    const char *name;
    const char *folder;  /* NULL: "out" */
    const char *gnuplot; /* body of a shell script in the place of gnuplot; "": none is there; NULL: the machine's */
    const char *link;    /* out/LINK is a symbolic link to `target` */
    const char *target;
    long file_limit;  /* bytes of a file, as of a disk that is full then; 0: no limit */
    int status;       /* exit status of the child, OK for TOOL_PICTURE_DRAWN and so on */
    const char *said; /* on stderr; NULL: nothing */
    int num_files;    /* in the folder then, of any name */
} setting;

enum { OK = 10, NONE = OK + TOOL_PICTURE_NO_GNUPLOT, BAD = OK + TOOL_PICTURE_FAILED, FAILED = 1 };

static const setting odd_names[] = {
    {.name = "pipe", .folder = "|touch x;#"},
    {.name = "redirection", .folder = "<touch x;#"},
    {.name = "end_of_string", .folder = "'.system('touch x').'"},
    {.name = "double_quote", .folder = "a\"b"},
    {.name = "backslash", .folder = "a\\"},
    {.name = "backquotes", .folder = "`touch x`"},
    {.name = "dollar", .folder = "$(touch x)"},
    {.name = "format", .folder = "%s%n"},
    {.name = "option", .folder = "-e"},
    {.name = "newline", .folder = "a\ntouch x"},
    {.name = "other_suffix", .folder = "my.svg"},
    {.name = "no_utf8", .folder = "\xff\xfe"},
};

static const setting links[] = {
    {.name = "csv_to_file", .link = "tree.csv", .target = "../precious"},
    {.name = "gp_to_file", .link = "tree.gp", .target = "../precious"},
    {.name = "txt_to_file", .link = "tree.txt", .target = "../precious"},
    {.name = "svg_to_file", .link = "tree.svg", .target = "../precious"},
    {.name = "png_to_file", .link = "tree.png", .target = "../precious"},
    {.name = "csv_to_nothing", .link = "tree.csv", .target = "../x"},
    {.name = "png_to_nothing", .link = "tree.png", .target = "../x"},
    {.name = "csv_to_folder", .link = "tree.csv", .target = ".."},
};

static const setting failures[] = {
    {.name = "no_gnuplot", .gnuplot = "", .status = NONE, .num_files = 3},
    {.name = "gnuplot_draws", .gnuplot = whole_stub, .status = OK, .num_files = 5},
    {.name = "gnuplot_ends_with_1",
     .gnuplot = "exit 1",
     .status = BAD,
     .said = "gnuplot ended with status 1",
     .num_files = 3},
    {.name = "gnuplot_lacks_a_library",
     .gnuplot = "exit 127",
     .status = BAD,
     .said = "gnuplot ended with status 127",
     .num_files = 3},
    {.name = "gnuplot_is_killed",
     .gnuplot = "kill -KILL $$",
     .status = BAD,
     .said = "gnuplot was killed by signal 9",
     .num_files = 3},
    {.name = "gnuplot_writes_nothing",
     .gnuplot = "exit 0",
     .status = BAD,
     .said = "tree.svg was not drawn",
     .num_files = 3},
    {.name = "gnuplot_cuts_the_svg",
     .gnuplot = "case $2 in *svg*) printf '<svg><g></g></sv' >tree.svg ;; *) printf 'PNG pixels IEND\\256B`\\202' "
                ">tree.png ;; esac",
     .status = BAD,
     .said = "tree.svg was not drawn: gnuplot wrote a part of it",
     .num_files = 3},
    {.name = "gnuplot_cuts_the_png",
     .gnuplot = "case $2 in *svg*) printf '<svg><g></g></svg>\\n' >tree.svg ;; *) printf 'PNG pixels pixels IEND' "
                ">tree.png ;; esac",
     .status = BAD,
     .said = "tree.png was not drawn: gnuplot wrote a part of it",
     .num_files = 3},
    {.name = "no_byte_fits",
     .gnuplot = whole_stub,
     .file_limit = 1,
     .status = FAILED,
     .said = "tree.csv: File too large"},
    {.name = "half_a_script_fits",
     .gnuplot = whole_stub,
     .file_limit = 300,
     .status = FAILED,
     .said = "tree.gp: File too large"},
    {.name = "gnuplot_hangs",
     .gnuplot = "kill -STOP $$",
     .status = BAD,
     .said = "tree.svg was not drawn: gnuplot did not end within 2 s",
     .num_files = 3},
    {.name = "half_a_picture_fits",
     .file_limit = 2500,
     .status = BAD,
     .said = "tree.svg was not drawn",
     .num_files = 3},
};

static char place[256]; /* the new folder */
static char said[2048]; /* by the last child on stderr */

static bool gnuplot_is_there(void)
{
    child_process gnuplot;
    char how[64];
    static const char *const argv[] = {"gnuplot", "--version", NULL};
    return process_start(&gnuplot, NULL, argv, PROCESS_READS_NOTHING) == 0 &&
           process_wait(&gnuplot, how, sizeof how)[0] == '\0';
}

static const char *read_file(const char *name)
{
    static char text[4096];
    FILE *file = fopen(name, "r");
    check(file != NULL, "%s can be read", name);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    check(file != NULL, "%s can be written", name);
    fputs(text, file);
    check(fclose(file) == 0, "%s is written", name);
}

static int count_files(const char *folder)
{
    int count = 0;
    DIR *open = opendir(folder);
    check(open != NULL, "%s is a folder", folder);
    for (struct dirent *entry; (entry = readdir(open)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(open);
    return count;
}

/* 16 tokens that 3 queries share; each has 9 of its own. */
static kv_tree *build_tree(void)
{
    static const uint32_t blocks[3][2] = {{0, 1}, {0, 2}, {0, 3}};
    kv_table tables[3];
    kv_tree *tree;
    for (int i = 0; i < 3; i++) tables[i] = (kv_table){.blocks = blocks[i], .num_blocks = 2, .length = 25};
    check(kv_tree_build(&tree, tables, 3, 16, 4) == KV_OK, "the tree");
    return tree;
}

/* A failed check would go on with the next case, in the child too: so there is none. */
static void draw_in_child(const setting *s, const kv_tree *tree, const char *folder)
{
    if (s->file_limit > 0) {
        struct rlimit limit = {(rlim_t)s->file_limit, (rlim_t)s->file_limit};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    char path[512];
    snprintf(path, sizeof path, "%s/bin", place);
    if (s->gnuplot != NULL) setenv("PATH", path, 1);
    tool_picture drawn = tool_picture_draw(tree, folder, "three queries");
    _exit(OK + (int)drawn);
}

/* Its exit status; what it says goes through a pipe, which has no limit as files may have. */
static int draw_here(const setting *s, const char *folder)
{
    int ends[2], status;
    kv_tree *tree = build_tree();
    fflush(stdout);
    check(pipe(ends) == 0, "a pipe");
    pid_t child = fork();
    check(child >= 0, "a child");
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        draw_in_child(s, tree, folder);
    }
    kv_tree_destroy(tree);
    close(ends[1]);
    FILE *err = fdopen(ends[0], "r");
    check(err != NULL, "the other end");
    said[fread(said, 1, sizeof said - 1, err)] = '\0';
    fclose(err);
    check(waitpid(child, &status, 0) == child && WIFEXITED(status), "the child ended by itself");
    test_note("status %d: %s", WEXITSTATUS(status), said);
    return WEXITSTATUS(status);
}

/* Draws in a new folder, where there are: bin/gnuplot if the setting has one, precious, out or the other folder. */
static int draw_in_new_place(const setting *s, const char *folder)
{
    char path[512];
    snprintf(place, sizeof place, "%s/treeattn.XXXXXX", P_tmpdir);
    check(mkdtemp(place) != NULL && chdir(place) == 0, "a folder in %s", P_tmpdir);
    check(mkdir("bin", 0777) == 0 && mkdir(folder, 0777) == 0, "folders in it");
    write_file("precious", "precious\n");
    if (s->link != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder, s->link);
        check(symlink(s->target, path) == 0, "a link to %s", s->target);
    }
    if (s->gnuplot != NULL && s->gnuplot[0] != '\0') {
        snprintf(path, sizeof path, "#!/bin/sh\n%s\n", s->gnuplot);
        write_file("bin/gnuplot", path);
        check(chmod("bin/gnuplot", 0755) == 0, "a program");
    }
    return draw_here(s, folder);
}

static void remove_place(void)
{
    child_process rm;
    char how[64];
    const char *const argv[] = {"rm", "-r", "--", place, NULL};
    check(chdir("/") == 0 && process_start(&rm, NULL, argv, PROCESS_READS_NOTHING) == 0, "rm");
    check(process_wait(&rm, how, sizeof how)[0] == '\0', "rm %s", how);
}

/* bin, precious and the folder: whatever else lies there was made by a part of a name, or through a link. */
static void check_neighbours(void)
{
    check(count_files(".") == 3, "nothing was made beside the folder");
    check(strcmp(read_file("precious"), "precious\n") == 0, "the file beside the folder is as it was");
}

static void run_name(const void *argument)
{
    const setting *s = argument;
    bool drawn = gnuplot_is_there();
    int status = draw_in_new_place(s, s->folder);
    check(status == (drawn ? OK : NONE), "drawn, status %d", status);
    check(count_files(s->folder) == (drawn ? 5 : 3), "%d files", count_files(s->folder));
    check_neighbours();
    remove_place();
}

static void run_link(const void *argument)
{
    const setting *s = argument;
    setting with_stub = *s;
    with_stub.gnuplot = whole_stub;
    char path[512];
    struct stat found;
    int status = draw_in_new_place(&with_stub, "out");
    check(status == OK, "drawn, status %d", status);
    snprintf(path, sizeof path, "out/%s", s->link);
    check(lstat(path, &found) == 0 && S_ISREG(found.st_mode), "a file is in the place of the link");
    check(count_files("out") == 5, "%d files", count_files("out"));
    check_neighbours();
    remove_place();
}

static void run_failure(const void *argument)
{
    const setting *s = argument;
    if (s->gnuplot == NULL && !gnuplot_is_there()) test_skip("no gnuplot");
    int status = draw_in_new_place(s, "out");
    check(status == s->status, "status %d, expected %d", status, s->status);
    check(s->said != NULL ? strstr(said, s->said) != NULL : said[0] == '\0', "said '%s'", said);
    check(count_files("out") == s->num_files, "%d files, expected %d", count_files("out"), s->num_files);
    check_neighbours();
    remove_place();
}

/* A whole picture of an earlier run stays until another whole one is there. */
static void run_earlier_picture(const void *argument)
{
    (void)argument;
    const setting s = {.gnuplot = "printf '<sv' >tree.svg", .link = "tree.svg", .target = "../precious"};
    check(draw_in_new_place(&s, "out") == BAD, "not drawn");
    check(strcmp(read_file("out/tree.svg"), "precious\n") == 0, "the earlier picture is as it was");
    check_neighbours();
    remove_place();
}

static void run_folder_in_the_way(const void *argument)
{
    (void)argument;
    const setting s = {.gnuplot = whole_stub};
    check(draw_in_new_place(&s, "out") == OK, "drawn");
    check(unlink("out/tree.txt") == 0 && mkdir("out/tree.txt", 0777) == 0, "a folder by the name of a file");
    check(draw_here(&s, "out") == FAILED, "refused");
    check(strstr(said, "out/tree.txt: Is a directory") != NULL, "said '%s'", said);
    check(count_files("out") == 5, "nothing half-written stays: %d files", count_files("out"));
    remove_place();
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "demo's files are whole and its own, whatever the folder's name");
    for (size_t i = 0; i < sizeof odd_names / sizeof odd_names[0]; i++)
        test_add(run_name, &odd_names[i], "folder_named_by_%s", odd_names[i].name);
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        test_add(run_link, &links[i], "link_%s_is_replaced", links[i].name);
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++)
        test_add(run_failure, &failures[i], "%s", failures[i].name);
    test_add(run_earlier_picture, NULL, "an_earlier_picture_stays_if_the_new_one_is_cut");
    test_add(run_folder_in_the_way, NULL, "a_folder_in_the_place_of_a_file");
    return test_end();
}
