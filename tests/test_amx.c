/* Claim: attention by the tiles of AMX is right for every shape of a tile, in every thread, and leaves no tiles behind.
 * On a machine without AMX that has AVX512_BF16, the instructions are emulated (amx_emulator.h); the other agreement
 * tests run on AMX where the machine has it, or with TREEATTN_EMULATE_AMX=1 in the environment. */
#define _DEFAULT_SOURCE /* setenv, setitimer */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "amx_emulator.h"
#include "attention_model.h"
#include "test.h"
#include "tree_isa_internal.h"

static const attention_backend *amx_backend(void)
{
    const attention_backend *backend;
    for (uint32_t i = 0; (backend = attention_backend_at(i)) != NULL; i++)
        if (backend->isa == TREE_ISA_AMX)
            return backend;
    test_skip("this machine cannot run amx, and lacks the AVX512_BF16 that emulation needs");
}

/* Whether this thread holds tiles: XGETBV tells which of its registers are in use. */
static bool holds_tiles(void)
{
    if (amx_emulator_runs())
        return amx_emulator_holders() != 0;
#ifdef __x86_64__
    uint32_t in_use, high;
    __asm__ volatile("xgetbv" : "=a"(in_use), "=d"(high) : "c"(1));
    return (in_use & (3u << 17)) != 0;
#else
    return false;
#endif
}

static void check_used_and_released(unsigned long count)
{
    check(!amx_emulator_runs() || amx_emulator_count() > count, "tiles multiply: %lu instructions were emulated",
          amx_emulator_count());
    check(!holds_tiles(), "no tiles are held after the call");
}

/* Rows below, at and above a tile's 16 and the 48 of a panel; head_dim below, at and above the 32 that one
 * instruction takes, odd and even; blocks shorter and longer than a tile. */
static void run_shape(const void *argument)
{
    uint32_t head_dim = *(const uint32_t *)argument;
    static const attention_size sizes[] = {{1, 1, 0}, {2, 3, 0}, {1, 16, 0}, {1, 17, 0}};
    for (uint32_t i = 0; i < 4; i++) {
        unsigned long count = amx_emulator_count();
        attention_case c;
        attention_size size = {sizes[i].num_kv_heads, sizes[i].group_size, head_dim};
        attention_case_build(&c, amx_backend(), i % 2 ? "1,3/20,9" : "1,2/131,33", i % 2 ? 4 : 32, size);
        attention_check_strategies(&c);
        attention_case_free(&c);
        check_used_and_released(count);
    }
}

/* Hidden tokens, of which some hold NaN: query by query, and rows of a draft. */
static void run_masked(const void *unused)
{
    (void)unused;
    unsigned long count = amx_emulator_count();
    attention_case c;
    attention_case_build_drafts(&c, amx_backend(), "1,3/20,14", 4, (attention_size){2, 4, 48}, 9);
    attention_check_strategies(&c);
    attention_fill_unseen(&c, 0, NAN);
    tree_plan *plan = attention_plan(&c, TREE_FLATTEN, 0, 0);
    attention_result result = attention_run(&c, plan);
    for (uint64_t i = 0; i < (uint64_t)c.shape.num_heads * c.shape.head_dim; i++)
        check(result.out.data[i] == result.out.data[i], "query 0 sees no NaN, element %llu", (unsigned long long)i);
    attention_result_free(&result);
    tree_plan_destroy(plan);
    attention_case_free(&c);
    check_used_and_released(count);
}

/* Each thread shapes tiles of its own. */
static void run_threads(const void *unused)
{
    (void)unused;
    unsigned long count = amx_emulator_count();
    attention_backend backend = *amx_backend();
    attention_case c;
    attention_case_build(&c, &backend, "1,5/200,20", 16, (attention_size){2, 4, 32});
    tree_plan *plan = attention_plan(&c, TREE_COST, 0, 0);
    attention_result alone = attention_run(&c, plan);
    for (backend.num_threads = 2; backend.num_threads <= 5; backend.num_threads++) {
        attention_result result = attention_run(&c, plan);
        check_same_bits(result.out.data, alone.out.data, c.num_out, "out");
        check_same_bits(result.lse.data, alone.lse.data, c.num_lse, "lse");
        attention_result_free(&result);
    }
    attention_result_free(&alone);
    tree_plan_destroy(plan);
    attention_case_free(&c);
    check_used_and_released(count);
}

static volatile sig_atomic_t num_alarms;

static void on_alarm(int number)
{
    (void)number;
    num_alarms = num_alarms + 1;
}

/* A signal may come between any two instructions; its frame holds the tiles. */
static void run_signals(const void *unused)
{
    (void)unused;
    const struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    attention_case c;
    attention_case_build(&c, amx_backend(), "1,4/70,20", 16, (attention_size){1, 4, 32});
    tree_plan *plan = attention_plan(&c, TREE_COST, 0, 0);
    attention_result quiet = attention_run(&c, plan);
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int run = 0; run < 20000 && num_alarms < 40; run++) { /* some timers tick every 10 ms */
        attention_result result = attention_run(&c, plan);
        check_same_bits(result.out.data, quiet.out.data, c.num_out, "out");
        attention_result_free(&result);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    check(num_alarms >= 40, "%d signals came", (int)num_alarms);
    attention_result_free(&quiet);
    tree_plan_destroy(plan);
    attention_case_free(&c);
}

int main(int argc, char **argv)
{
    static const uint32_t head_dims[] = {1, 15, 32, 33, 66, 130};
    setenv("TREEATTN_EMULATE_AMX", "1", 1);
    test_begin(argc, argv, "tiles give the attention of every shape in every thread, and are released");
    for (uint32_t i = 0; i < sizeof head_dims / sizeof head_dims[0]; i++)
        test_add(run_shape, &head_dims[i], "head_dim_%u", head_dims[i]);
    test_add(run_masked, NULL, "hidden_tokens");
    test_add(run_threads, NULL, "threads");
    test_add(run_signals, NULL, "signals");
    return test_end();
}
