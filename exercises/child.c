/* child: runs a program that a student wrote, within limits.
 *
 *   usage   child SECONDS PROGRAM
 *   limits  SECONDS of processor time, three times as many by the clock; its heap: ASAN_OPTIONS in scripts/exercise.sh;
 *           64 KiB of output; no file is written, no name created, removed or renamed (seccomp, also for programs that
 *           it starts; without seccomp: no byte is written to a file)
 *   result  the status of the program; if a limit ended it, 3 and a line "stopped REASON" */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_OUTPUT = 64 * 1024 };

#if defined __x86_64__
#define THIS_MACHINE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define THIS_MACHINE AUDIT_ARCH_AARCH64
#endif

/* System calls that change a file whatever their arguments are. */
static const int refused[] = {
#ifdef __NR_open /* the machine has the older calls as well */
    __NR_creat,    __NR_unlink,    __NR_rename,   __NR_mkdir,  __NR_rmdir,
    __NR_link,     __NR_symlink,   __NR_chmod,    __NR_mknod,
#endif
#ifdef __NR_renameat
    __NR_renameat,
#endif
    __NR_unlinkat, __NR_renameat2, __NR_mkdirat,  __NR_linkat, __NR_symlinkat,
    __NR_fchmodat, __NR_mknodat,   __NR_truncate,
};

/* A call of open is refused if flags, its argument number `which`, let it write. The low half of an argument comes
 * first: both machines are little-endian. */
static size_t refuse_open(struct sock_filter *code, int call, int which)
{
    const struct sock_filter lines[] = {
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (size_t)which)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    memcpy(code, lines, sizeof lines);
    return sizeof lines / sizeof lines[0];
}

static void refuse_writing(void)
{
#ifdef THIS_MACHINE
    struct sock_filter code[8 + 2 * sizeof refused / sizeof refused[0] + 16];
    size_t n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_MACHINE, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)refused[i], 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    }
#ifdef __NR_open
    n += refuse_open(code + n, __NR_open, 1);
#endif
    n += refuse_open(code + n, __NR_openat, 2);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_fprog filter = {(unsigned short)n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
#endif
}

static void limit(int resource, rlim_t value)
{
    const struct rlimit both = {value, value};
    setrlimit(resource, &both);
}

static void become(char **program, unsigned seconds, int output)
{
    int nothing = open("/dev/null", O_RDONLY);
    setpgid(0, 0);
    dup2(nothing, 0);
    dup2(output, 1);
    dup2(output, 2);
    limit(RLIMIT_CPU, seconds);
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_CORE, 0);
    refuse_writing();
    execv(program[0], program);
    _exit(127);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Passes the program's output on until it ends. Returns the reason to stop it, or NULL. */
static const char *pass_on(int output, double deadline)
{
    static char text[4096];
    for (size_t total = 0;;) {
        struct pollfd ready = {output, POLLIN, 0};
        double left = deadline - now();
        if (left <= 0) return "it does not end: does a loop go on for ever?";
        if (poll(&ready, 1, (int)(1000 * left) + 1) <= 0) continue;
        ssize_t count = read(output, text, sizeof text);
        if (count <= 0) return NULL;
        if ((total += (size_t)count) > MAX_OUTPUT) return "it prints without an end";
        fwrite(text, 1, (size_t)count, stdout);
    }
}

static const char *reason_of(int signal)
{
    switch (signal) {
    case SIGXCPU:
    case SIGKILL:
        return "it does not end: does a loop go on for ever?";
    case SIGSYS:
        return "it tried to write, create or remove a file: an exercise writes into its arguments alone";
    case SIGXFSZ:
        return "it tried to write to a file: an exercise writes into its arguments alone";
    case SIGFPE:
        return "an integer was divided by 0";
    case SIGABRT:
        return "a rule was broken: see the line above";
    default:
        return "it crashed";
    }
}

int main(int argc, char **argv)
{
    int ends[2], status = 0, seconds = argc > 2 ? atoi(argv[1]) : 0;
    if (seconds <= 0 || pipe(ends) != 0) {
        fprintf(stderr, "usage: child SECONDS PROGRAM\n");
        return 2;
    }
    pid_t child = fork();
    if (child < 0) return 2;
    if (child == 0) {
        close(ends[0]);
        become(argv + 2, (unsigned)seconds, ends[1]);
    }
    close(ends[1]);
    const char *reason = pass_on(ends[0], now() + 3.0 * seconds);
    if (reason) kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    kill(-child, SIGKILL); /* programs that it started */
    if (!reason && WIFSIGNALED(status)) reason = reason_of(WTERMSIG(status));
    if (!reason) return WEXITSTATUS(status);
    printf("\nstopped %s\n", reason);
    return 3;
}
