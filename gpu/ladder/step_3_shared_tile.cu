/* Step 3: a tile in shared memory. A thread block has an item instead of a query, and loads K and V once for all
 * queries of the item.
 *   idea    16 tokens of K and V are loaded for all queries of the item and all heads of the group; then each warp
 *           absorbs the tile into one of its rows after the other. From here on the plan's grouping saves loads
 *   wins    nothing yet: 710 to 946 us on 64 branches with 64 tokens each behind 2048 (figures/ladder.csv)
 *   price   a warp keeps the states of its rows in registers, so a thread block has at most 32 rows (queries x heads)
 *           and a larger item is loaded again for every 32 of its rows; two barriers per tile
 *   leaves  the arithmetic: 2 x head_dim multiply-adds for each row and token, one per lane at a time: step 4
 *   threads loads           thread t has every 256th element of the tile
 *           scores, values  warp w has the rows w, w + 8, w + 16, w + 24 of the task; lanes as in step 1 */
#include "merge.cuh"
#include "row.cuh"

enum { WARPS = 8, THREADS = WARPS * WARP, TOKENS = 16, MINE = 4, TASK_ROWS = WARPS * MINE };

template <int HEAD_DIM, typename T> struct shared_tile {
    T key[TOKENS][HEAD_DIM], value[TOKENS][HEAD_DIM];
};

/* find this item's blocks: loads tokens first .. first + 15 of the range; past its end the tile is not written. */
template <int HEAD_DIM, typename T>
static __device__ void load_tile(shared_tile<HEAD_DIM, T> &tile, const attention_arguments &a, const tree_range &range,
                                 uint32_t kv_head, uint32_t first)
{
    for (uint32_t i = threadIdx.x; i < TOKENS * HEAD_DIM; i += THREADS) {
        uint32_t token = i / HEAD_DIM, element = i % HEAD_DIM;
        if (first + token >= range.num_tokens)
            break;
        uint64_t from = row_token_offset(a, range, kv_head, first + token) + element;
        tile.key[token][element] = ((const T *)a.key)[from];
        tile.value[token][element] = ((const T *)a.value)[from];
    }
}

/* The rows of an item and KV head are cut into tasks of 32. Thread block (x, y, z) has KV head y and the z-th of the
 * tasks that begin in the query of partial state x; if there is none, it returns. This keeps the grid linear in the
 * number of partial states; a grid of items x queries would be quadratic. */
template <int HEAD_DIM, typename T> static __global__ void attend(attention_arguments a)
{
    SHARED_VARIABLE(tile, shared_tile<HEAD_DIM, T>);
    const tree_item item = a.plan.items[a.partial_item[blockIdx.x]];
    const uint32_t kv_head = blockIdx.y, group_size = a.shape.num_heads / a.shape.num_kv_heads;
    const uint32_t num_rows = item.num_rows * group_size, lane = threadIdx.x % WARP; /* below 2^31: check_arguments */
    const uint32_t begin = (blockIdx.x - item.first_partial) * group_size; /* first row of this partial state */
    const uint32_t task = (begin + TASK_ROWS - 1) / TASK_ROWS + blockIdx.z;
    const uint32_t mine = task * TASK_ROWS + threadIdx.x / WARP;
    if (task * TASK_ROWS >= begin + group_size)
        return;

    float q[MINE][HEAD_DIM / WARP];
    softmax_state<HEAD_DIM, T> state[MINE];
#pragma unroll
    for (uint32_t i = 0; i < MINE; i++) {
        uint32_t row = mine + i * WARPS, head = kv_head * group_size + row % group_size;
        softmax_state_empty(state[i]);
        for (int j = 0; j < HEAD_DIM / WARP && row < num_rows; j++) {
            uint64_t query = a.plan.rows[item.first_row + row / group_size];
            q[i][j] = a.query[(query * a.shape.num_heads + head) * HEAD_DIM + lane + j * WARP];
        }
    }
    for (uint32_t r = 0; r < item.num_ranges; r++) {
        const tree_range range = a.plan.ranges[item.first_range + r];
        for (uint32_t first = 0; first < range.num_tokens; first += TOKENS) {
            __syncthreads(); /* no warp still reads the previous tile */
            load_tile<HEAD_DIM, T>(tile, a, range, kv_head, first);
            __syncthreads();
            for (uint32_t t = first; t < first + TOKENS && t < range.num_tokens; t++) {
#pragma unroll
                for (uint32_t i = 0; i < MINE; i++) {
                    const uint32_t query = (mine + i * WARPS) / group_size;
                    if (query >= item.num_rows || !row_sees(a.plan, range, item.num_rows, query, t))
                        continue;
                    /* score the keys */
                    float score = row_score<HEAD_DIM, T>(q[i], tile.key[t - first], a.scale);

                    /* absorb into the running maximum and sum */
                    softmax_state_absorb(state[i], score, tile.value[t - first]);
                }
            }
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < MINE; i++) {
        uint32_t row = mine + i * WARPS, head = kv_head * group_size + row % group_size;
        const uint64_t partial = item.first_partial + row / group_size;
        if (row < num_rows)
            store_partial(a, partial * a.shape.num_heads + head, state[i]);
    }
}

template <int HEAD_DIM, typename T> static cudaError_t launch(const attention_arguments &a, cudaStream_t stream)
{
    const uint32_t group_size = a.shape.num_heads / a.shape.num_kv_heads;
    const dim3 grid(a.plan.num_partials, a.shape.num_kv_heads, (group_size + TASK_ROWS - 1) / TASK_ROWS);
    cudaError_t error = launch_kernel(grid, THREADS, 0, stream, attend<HEAD_DIM, T>, a);
    return error == cudaSuccess ? launch_merge<HEAD_DIM, T>(a, stream) : error; /* merge partial states, normalize */
}

cudaError_t step_3_shared_tile(const attention_arguments *a, cudaStream_t stream)
{
    return DISPATCH_ANY(launch, *a, stream);
}
