/* gpu_trees: the last rung with our own plan on 22 trees, at 32/8, 32/32 and 16/1 heads, beside the best that others
 * reach on them (docs/peers_h200.csv).
 *
 * measure_gpu_trees [CSV] */
#include "measure_gpu.h"

static const struct {
    const char *name, *nodes, *tokens;
} trees[] = {
    {"flash-reasoning b=1", "1,1", "2048,64"},
    {"flash-reasoning b=16", "1,16", "2048,64"},
    {"flash-reasoning b=64", "1,64", "2048,64"},
    {"flash-reasoning b=128", "1,128", "2048,64"},
    {"flash-reasoning b=256", "1,256", "2048,64"},
    {"deft few-shot b=20 +200", "1,20", "4000,200"},
    {"deft few-shot b=30 +200", "1,30", "4000,200"},
    {"deft few-shot b=50 +200", "1,50", "4000,200"},
    {"1,2,64 8,256,32", "1,2,64", "8,256,32"},
    {"1,4,256 8,256,32", "1,4,256", "8,256,32"},
    {"1,4,8,256 8,256,256,32", "1,4,8,256", "8,256,256,32"},
    {"1,256 256,32", "1,256", "256,32"},
    {"1,1024 2048,32", "1,1024", "2048,32"},
    {"1,16,64 1024,256,32", "1,16,64", "1024,256,32"},
    {"1,4,16,512 1024,256,128,32", "1,4,16,512", "1024,256,128,32"},
    {"1,4,16,64,256,1024 256,8,256,64,32,256", "1,4,16,64,256,1024", "256,8,256,64,32,256"},
    {"1,10 4000,400", "1,10", "4000,400"},
    {"1,2,4,8,16,32,64,128,1024 16,16,16,16,16,16,16,16,16", "1,2,4,8,16,32,64,128,1024", "16,16,16,16,16,16,16,16,16"},
    {"1,2,4,8,16,32,64,128,1024 256,128,64,16,16,16,16,16,16", "1,2,4,8,16,32,64,128,1024",
     "256,128,64,16,16,16,16,16,16"},
    {"1,16,32,64,256,1024 256,128,64,16,16,16", "1,16,32,64,256,1024", "256,128,64,16,16,16"},
    {"long prefix 1,8 100000,500", "1,8", "100000,500"},
    {"tot 1,10,50 1100,1000,300", "1,10,50", "1100,1000,300"},
};
static const uint32_t heads[][2] = {{32, 8}, {32, 32}, {16, 1}};

int main(int argc, char **argv)
{
    if (!bench_has_gpu())
        return 0;
    bench_count_all(&argc, argv);
    FILE *csv = bench_open(argc > 1 ? argv[1] : "figures/gpu_trees.csv", "make measure (measure_gpu_trees)");
    fprintf(csv, "# fp16, head_dim 128, block_tokens 8, one query a leaf\n" BENCH_COLUMNS "\n");
    for (const auto &h : heads) {
        for (const auto &t : trees) {
            bench_case c = bench_create(t.nodes, t.tokens, h[0], h[1], 128, TREE_FP16);
            bench_line(csv, t.name, &c, bench_floor(&c), TREE_COST, bench_step(NULL));
            bench_destroy(&c);
        }
    }
    bench_close(csv);
}
