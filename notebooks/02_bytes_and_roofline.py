# %% [markdown]
# # 2 The bytes of a step, and the roofline
#
# A decoding step computes little and loads much. How many bytes, and what sets its time: memory or arithmetic? This
# notebook counts the bytes of every strategy with the C counters, then places them under the roof of a real machine.
#
# - **Chapter:** [1 Waiting for memory](../docs/book/01_waiting_for_memory.md)
# - **Exercise:** [7 The GQA head map](../exercises/07_head_map/README.md)
# - **Explorer:** [panel 3](../docs/explorer.html#panel-bytes)
#
# Where the text says **Predict**, decide first, then run the cell.

# %%
from start import np, picture, ta
import drawings

# %% [markdown]
# ## One token
#
# The model has 32 query heads, 8 KV heads, and vectors of 128 elements with 2 bytes each. For one token and one layer,
# **predict** the bytes of its key and value, and the number of operations: in each query head, a product and a sum for
# each element of the key, and again for the value.

# %%
heads, kv_heads, head_dim, element = 32, 8, 128, 2
token_bytes = 2 * kv_heads * head_dim * element
token_flop = heads * 4 * head_dim
print(token_bytes, "bytes,", token_flop, "FLOP,", token_flop / token_bytes, "FLOP per byte")

# %% [markdown]
# This ratio, the arithmetic intensity, does not depend on the length of the text: bytes and operations both grow with it.
#
# ## A tree of branches
#
# Branches share a prefix of 2048 tokens and have 64 tokens of their own. Two numbers describe the tree: S counts the
# tokens along all paths, U counts each token in memory once. A step does S x 16384 FLOP, whichever way it is computed.

# %%
def tree_of(branches, prefix=2048, own=64):
    pool = ta.Pool(num_blocks=20000, block_tokens=16)
    root = pool.branch()
    root.append(prefix)
    leaves = [root] + [root.fork() for _ in range(branches - 1)]
    for leaf in leaves:
        leaf.append(own)
    return pool.tree(leaves)

numbers = [1, 4, 16, 64]
trees = {n: tree_of(n) for n in numbers}
picture.table(["branches", "S", "U", "S / U"], [(n, t.path_tokens, t.unique_tokens, t.path_tokens / t.unique_tokens)
                                                for n, t in trees.items()], ["%d", "%d", "%d", "%.2f"])

# %% [markdown]
# ## The bytes of each strategy
#
# A strategy decides which queries and tokens are computed together; its list of work items is a plan
# ([notebook 3](03_plans.ipynb) draws them). A plan knows the bytes that it moves before it runs. `plan_bytes` are the keys and values that its items load. Beside
# them it reads queries and masks, and writes and reads partial states. **Predict** for 64 branches: how many times more
# do the strategies that read per branch load than those that group the branches?

# %%
shape = ta.Shape(heads, kv_heads, head_dim, storage="fp16")

def traffic(tree, strategy, **config):
    return ta.tree_traffic_count(ta.Plan(tree, strategy, **config), shape)

rows = [traffic(trees[64], strategy) for strategy in ta.STRATEGIES]
kinds = ["plan_bytes", "query_bytes", "mask_bytes", "partial_bytes"]
picture.table(["strategy"] + kinds, [[name] + [row[kind] for kind in kinds] for name, row in zip(ta.STRATEGIES, rows)])

# %% [markdown]
# Look at the lengths of the bars, and at their ends: what a strategy saves in keys and values it may pay in partial states.

# %%
drawings.bars(ta.STRATEGIES, [[row[kind] / 1e6 for kind in kinds] for row in rows],
              "One step and layer of 64 branches, on a GPU", "MB")

# %% [markdown]
# None of them loads less than U tokens, and none of the first three less than S: sharing the *storage* of the prefix does
# not yet save a single load.

# %%
print("U x %d = %.1f MB, S x %d = %.1f MB" % (token_bytes, trees[64].unique_tokens * token_bytes / 1e6,
                                              token_bytes, trees[64].path_tokens * token_bytes / 1e6))

# %% [markdown]
# ## The roof
#
# A processor does no more operations per second than its peak, and no more than its memory feeds: bandwidth x FLOP per
# byte. Both numbers were measured, on two threads of a CPU, and recorded in
# [figures/roofline.csv](../figures/roofline.csv). The roof has its corner where the two limits are equal.

# %%
recorded, head = picture.read_csv("figures/roofline.csv")
memory = head["memory_gbps"]
peak = max(head["simd_fp32_gflops"], head["simd_bf16_gflops"])
print("memory %.1f GB/s, peak %.0f GFLOP/s, corner at %.1f FLOP per byte" % (memory, peak, peak / memory))

# %% [markdown]
# Left of the corner a step waits for memory, right of it for arithmetic. **Predict** where a step with one branch lies, and
# in which direction it moves when branches are added: first if each branch reads for itself, then if all share one pass.

# %%
def intensity(branches, strategy):
    """FLOP per loaded byte of keys and values."""
    loaded = traffic(trees[branches], strategy, target="cpu").plan_bytes
    return trees[branches].path_tokens * token_flop / loaded

for strategy in "flash", "cost":
    print("%-5s" % strategy, *("%6.2f" % intensity(n, strategy) for n in numbers))

# %% [markdown]
# The csv has the measured time of each of these steps. Are they the same steps? The program that measured them recorded
# the bytes that it loaded; the C counters must arrive at the same number.

# %%
measured = {(row["plan"], row["branches"]): row for row in recorded if row["machine"] == "cpu"}
same = [row["loaded_bytes"] == traffic(trees[n], strategy, target="cpu").plan_bytes
        for (strategy, n), row in measured.items()]
print(sum(same), "of", len(same), "recorded steps loaded the bytes of the plan")

# %% [markdown]
# Now the points: to the right by FLOP per byte, upwards by operations in the measured time. Look at the black line first,
# then at the four points of each strategy. The numbers are those of the branches.

# %%
p = picture.Picture("Per-branch reading stays where it is; one pass for all branches moves to the right",
                    "FLOP per loaded byte", "GFLOP/s", logx=2, logy=10, xrange=(1, 256), yrange=(10, 1000),
                    key="bottom right")
xs = [2 ** (i / 16) for i in range(129)]
p.line(xs, [min(peak, memory * x) for x in xs], "the roof", style="floor_line dt 1 lw 3", kind="lines")
for strategy, name in ("flash", "per-branch reading"), ("cost", "one pass for all branches"):
    points = [(intensity(n, strategy), measured[strategy, n]["gflops"]) for n in numbers]
    p.line(*zip(*points), name, style=strategy)
for n, (x, y) in zip(numbers[1:], points[1:]):
    p.text(x, 0.8 * y, "%d" % n, side="center")
p.text(3.8, 60, "1 to 64", side="right")
p.show()

# %% [markdown]
# ## Two times that a step cannot beat
#
# The loaded bytes need a time, and so do the operations. The larger one is a limit for any program that runs this plan.

# %%
lines = []
for strategy in "flash", "cost":
    for n in numbers:
        loaded = traffic(trees[n], strategy, target="cpu").plan_bytes
        memory_us, compute_us = loaded / memory / 1e3, trees[n].path_tokens * token_flop / peak / 1e3
        limit = "memory" if memory_us > compute_us else "arithmetic"
        lines.append((strategy, n, memory_us, compute_us, limit, measured[strategy, n]["us"]))
picture.table(["plan", "branches", "memory, us", "arithmetic, us", "limit", "measured, us"], lines,
              [None, "%d", "%.0f", "%.0f", None, "%.0f"])

# %% [markdown]
# Per-branch reading is limited by memory in every line, with as many FLOP per byte as a single branch. In one pass, the
# limit is arithmetic from 4 branches on: the processor has something to do while it waits.
#
# ## Change and try
#
# 1. Your own machine: `build/treeattn bench` prints a line "ceiling: memory read" and a line "ceiling: multiply-add". Put
#    its two numbers into `memory` and `peak`, and run the cells from there. The roof moves, the points do not: they are
#    another machine's. Your corner is at GFLOP/s divided by GB/s. If it is below 4, even a single branch is limited by
#    arithmetic.
# 2. Set `kv_heads = 32` at the top and run all cells. Each query head has keys of its own now: 4 times the bytes, the same
#    operations, and 1 FLOP per byte. (The recorded steps have 8 KV heads: now 0 of 8 loaded the bytes of the plan.)
# 3. Set `own=0` in `tree_of`: all branches see the same 2048 tokens. Then S / U is the number of branches, and one pass for
#    64 branches does 256 FLOP per byte. With `prefix=0` instead, S / U is 1, and grouping saves nothing.
