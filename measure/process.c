/* Starts programs by posix_spawn. */
#define _GNU_SOURCE /* posix_spawn_file_actions_addchdir_np, pipe2 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int add_actions(posix_spawn_file_actions_t *actions, const char *folder, int output, process_reads reads)
{
    int error = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (error == 0 && reads == PROCESS_READS_NOTHING)
        error = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    else if (error == 0)
        error = posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
    if (error == 0 && reads == PROCESS_READS_ALL)
        error = posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO);
    else if (error == 0)
        error = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (error == 0 && folder != NULL) error = posix_spawn_file_actions_addchdir_np(actions, folder);
    return error;
}

static double clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int spawn(child_process *process, const char *folder, const char *const *argv, int output, process_reads reads)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) return error;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        error = add_actions(&actions, folder, output, reads);
        if (error == 0 && process->seconds > 0) /* a group of its own: its number is the program's */
            error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
        if (error == 0)
            error = posix_spawnp(&process->id, argv[0], &actions, &attributes, (char *const *)argv, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

int process_start(child_process *process, const char *folder, const char *const *argv, process_reads reads)
{
    return process_start_limited(process, folder, argv, reads, 0);
}

int process_start_limited(child_process *process, const char *folder, const char *const *argv, process_reads reads,
                          unsigned seconds)
{
    int ends[2] = {-1, -1};
    *process = (child_process){.id = -1, .seconds = seconds, .deadline_s = clock_s() + seconds};
    if (reads != PROCESS_READS_NOTHING) {
        if (pipe2(ends, O_CLOEXEC) != 0) return errno;
        process->output = fdopen(ends[0], "r");
        if (process->output == NULL) {
            int error = errno;
            close(ends[0]);
            close(ends[1]);
            return error;
        }
    }
    int error = spawn(process, folder, argv, ends[1], reads);
    if (ends[1] >= 0) close(ends[1]);
    if (error != 0 && process->output != NULL) fclose(process->output);
    return error;
}

bool process_read_line(child_process *process, char *line, size_t line_bytes)
{
    size_t length = 0;
    for (;;) {
        struct pollfd output = {.fd = fileno(process->output), .events = POLLIN};
        double left_s = process->deadline_s - clock_s();
        int wait_ms = process->seconds == 0 ? -1 : left_s > 0 ? (int)(1e3 * left_s) + 1 : 0;
        char byte;
        if (poll(&output, 1, wait_ms) != 1 || read(output.fd, &byte, 1) != 1)
            break;
        if (byte == '\n') {
            line[length] = '\0';
            return true;
        }
        if (length + 1 < line_bytes)
            line[length++] = byte;
    }
    line[length] = '\0';
    return length > 0;
}

/* As waitpid; kills the program's group once its time is over, and says so. */
static pid_t wait_limited(const child_process *process, int *status, bool *killed)
{
    if (process->seconds == 0 || *killed)
        return waitpid(process->id, status, 0);
    const struct timespec pause = {.tv_nsec = 2000000};
    pid_t ended;
    while ((ended = waitpid(process->id, status, WNOHANG)) == 0) {
        if (clock_s() > process->deadline_s) {
            *killed = true;
            kill(-process->id, SIGKILL);
            return waitpid(process->id, status, 0);
        }
        nanosleep(&pause, NULL);
    }
    return ended;
}

const char *process_wait(child_process *process, char *how, size_t how_bytes)
{
    int status = 0;
    bool killed = false;
    how[0] = '\0';
    if (process->output != NULL) fclose(process->output);
    while (wait_limited(process, &status, &killed) < 0) {
        if (errno != EINTR) {
            snprintf(how, how_bytes, "was lost");
            return how;
        }
    }
    if (killed) {
        snprintf(how, how_bytes, "did not end within %u s", process->seconds);
        return how;
    }
    if (WIFSIGNALED(status))
        snprintf(how, how_bytes, "was killed by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        snprintf(how, how_bytes, "ended with status %d", WEXITSTATUS(status));
    return how;
}

bool process_beside(char *path, size_t path_bytes, const char *rest)
{
    ssize_t length = readlink("/proc/self/exe", path, path_bytes);
    while (length > 0 && path[length - 1] != '/')
        length--;
    size_t room = path_bytes - (size_t)(length > 0 ? length : 0);
    return length > 0 && (size_t)snprintf(path + length, room, "%s", rest) < room;
}
