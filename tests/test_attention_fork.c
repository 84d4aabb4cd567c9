/* Claim: after fork(), the child of a process that has used threads attends with one thread, or with many from a thread
 * that it started itself, and gets the same bits as the parent. (From the thread that called fork, libgomp waits for
 * threads that the child does not have.) */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attention_model.h"
#include "test.h"

enum { SECONDS = 20 }; /* a child that hangs is ended, and fails */

typedef struct one_call {
    const attention_case *c;
    const tree_plan *plan;
    float *out;
    uint32_t num_threads;
    tree_status status;
} one_call;

static void *attend(void *argument)
{
    one_call *call = argument;
    attention_backend backend = *call->c->backend;
    backend.num_threads = call->num_threads;
    call->status = backend.run(&backend, call->out, NULL, call->c->query, call->c->key, call->c->value, call->plan,
                               &call->c->shape, call->c->scale);
    return NULL;
}

static bool attend_in_new_thread(one_call *call)
{
    pthread_t thread;
    return !pthread_create(&thread, NULL, attend, call) && !pthread_join(thread, NULL);
}

/* Exit status of the child: 0 the parent's bits. */
static void run_child(one_call *call, const float *expected, bool new_thread)
{
    alarm(SECONDS);
    if (new_thread ? !attend_in_new_thread(call) : attend(call) != NULL)
        _exit(2);
    bool same = call->status == TREE_OK && !memcmp(call->out, expected, call->c->num_out * sizeof *expected);
    _exit(same ? 0 : 1);
}

static void run_fork(const attention_backend *backend, const void *argument)
{
    bool new_thread = *(const bool *)argument;
    attention_case c;
    attention_case_build(&c, backend, "comb:6", 16, (attention_size){2, 2, 16});
    tree_plan *plan = attention_plan(&c, TREE_COST, 0, 0);
    guarded parent = guarded_create(c.num_out), child = guarded_create(c.num_out);
    one_call call = {&c, plan, parent.data, 3, TREE_OK};
    attend(&call);
    check(call.status == TREE_OK, "%s", tree_status_string(call.status));
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0)
        run_child(&(one_call){&c, plan, child.data, new_thread ? 3 : 1, TREE_OK}, parent.data, new_thread);
    int status;
    check(waitpid(pid, &status, 0) == pid, "waitpid");
    check(!WIFSIGNALED(status), "the child ends by itself, signal %d", WTERMSIG(status));
    check(WEXITSTATUS(status) == 0, "the parent's bits, status %d", WEXITSTATUS(status));
    attend(&call); /* the parent goes on with its threads */
    check(call.status == TREE_OK, "%s", tree_status_string(call.status));
    guarded_destroy(&parent);
    guarded_destroy(&child);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const bool same_thread = false, new_thread = true;
    test_begin(argc, argv, "the child of a process that has used threads attends, and gets the parent's bits");
    attention_add(run_fork, &same_thread, "one_thread");
    attention_add(run_fork, &new_thread, "many_threads_from_a_new_thread");
    return test_end();
}
