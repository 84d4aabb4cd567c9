/* gpu_trees: the last rung with our own plan on 22 trees, at 32/8, 32/32 and 16/1 heads, beside the best that others
 * reach on them (docs/peers_h200.csv).
 *
 * measure_gpu_trees [CSV] */
#include "measure_gpu.h"

static const struct {
    const char *name, *nodes, *tokens;
} trees[] = {
    {"prefix 1", "1,1", "2048,64"},
    {"prefix 16", "1,16", "2048,64"},
    {"prefix 64", "1,64", "2048,64"},
    {"prefix 128", "1,128", "2048,64"},
    {"prefix 256", "1,256", "2048,64"},
    {"few-shot 20", "1,20", "4000,200"},
    {"few-shot 30", "1,30", "4000,200"},
    {"few-shot 50", "1,50", "4000,200"},
    {"3 levels, 64", "1,2,64", "8,256,32"},
    {"3 levels, 256", "1,4,256", "8,256,32"},
    {"4 levels, 256", "1,4,8,256", "8,256,256,32"},
    {"short, 256", "1,256", "256,32"},
    {"wide, 1024", "1,1024", "2048,32"},
    {"3 levels, long", "1,16,64", "1024,256,32"},
    {"4 levels, 512", "1,4,16,512", "1024,256,128,32"},
    {"6 levels, 1024", "1,4,16,64,256,1024", "256,8,256,64,32,256"},
    {"10 branches", "1,10", "4000,400"},
    {"9 levels, even", "1,2,4,8,16,32,64,128,1024", "16,16,16,16,16,16,16,16,16"},
    {"9 levels, tapered", "1,2,4,8,16,32,64,128,1024", "256,128,64,16,16,16,16,16,16"},
    {"6 levels, tapered", "1,16,32,64,256,1024", "256,128,64,16,16,16"},
    {"long prefix", "1,8", "100000,500"},
    {"thoughts", "1,10,50", "1100,1000,300"},
};
static const uint32_t heads[][2] = {{32, 8}, {32, 32}, {16, 1}};

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    bench_count_all(&argc, argv);
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/gpu_trees.csv", "make measure (measure_gpu_trees)");
    fprintf(csv, "# fp16, head_dim 128, block_tokens 8, one query per leaf\n"
                 "# sm_mhz: clock of the multiprocessors, cycles / time of 7 more cold replays, after the timed ones; "
                 "-1: not measured\n" BENCH_COLUMNS ",sm_mhz\n");
    for (const auto &h : heads) {
        for (const auto &t : trees) {
            bench_case c = bench_create(t.nodes, t.tokens, h[0], h[1], 128, TREE_FP16);
            bench_line(csv, t.name, &c, bench_floor(&c), TREE_COST, bench_step(NULL), true);
            bench_destroy(&c);
        }
    }
    bench_close(csv);
}
