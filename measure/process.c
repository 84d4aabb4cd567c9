/* Starts programs by posix_spawn. */
#define _GNU_SOURCE /* posix_spawn_file_actions_addchdir_np, pipe2 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
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

static int spawn(pid_t *id, const char *folder, const char *const *argv, int output, process_reads reads)
{
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) return error;
    error = add_actions(&actions, folder, output, reads);
    if (error == 0) error = posix_spawnp(id, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

int process_start(child_process *process, const char *folder, const char *const *argv, process_reads reads)
{
    int ends[2] = {-1, -1};
    *process = (child_process){.id = -1};
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
    int error = spawn(&process->id, folder, argv, ends[1], reads);
    if (ends[1] >= 0) close(ends[1]);
    if (error != 0 && process->output != NULL) fclose(process->output);
    return error;
}

const char *process_wait(child_process *process, char *how, size_t how_bytes)
{
    int status = 0;
    how[0] = '\0';
    if (process->output != NULL) fclose(process->output);
    while (waitpid(process->id, &status, 0) < 0) {
        if (errno != EINTR) {
            snprintf(how, how_bytes, "was lost");
            return how;
        }
    }
    if (WIFSIGNALED(status))
        snprintf(how, how_bytes, "was killed by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        snprintf(how, how_bytes, "ended with status %d", WEXITSTATUS(status));
    return how;
}
