# %% [markdown]
# # 3 Plans
#
# All methods of tree attention compute the same result. They differ in the list of work items, the plan: which queries
# and which tokens are computed together. This notebook draws plans, deals them out to workers, and asks which plan ends
# first.
#
# - **Chapters:** [3 The tree](../docs/book/03_tree.md), [5 A strategy is a plan](../docs/book/05_plans.md)
# - **Exercises:** [4 Finding nodes](../exercises/04_finding_nodes/README.md),
#   [8 Split at any place](../exercises/08_split/README.md),
#   [9 A plan for a new strategy](../exercises/09_new_plan/README.md)
# - **Explorer:** [panel 3](../docs/explorer.html#panel-bytes), [panel 4](../docs/explorer.html#panel-plan)
#
# Where the text says **Predict**, decide first, then run the cell.

# %%
from start import np, picture, ta
import drawings, heapq

# %% [markdown]
# ## A plan as rectangles
#
# The tiny tree: branch 0 has tokens 0 to 8; branch 1 has 0 to 5, then 9 to 12 ([notebook 1](01_memory_of_branches.ipynb)).
# `tokens` is the memory: the token at each place.

# %%
pool = ta.Pool(num_blocks=6, block_tokens=4)
tokens = np.full(24, -1)

def append(branch, new):
    appended = branch.append(len(new))
    if appended.copy:
        source, target, count = appended.copy
        tokens[4 * target:4 * target + count] = tokens[4 * source:4 * source + count]
    tokens[appended.slots] = new

branch_0 = pool.branch()
append(branch_0, [0, 1, 2, 3, 4, 5])
branch_1 = branch_0.fork()
append(branch_0, [6, 7, 8])
append(branch_1, [9, 10, 11, 12])
tree = pool.tree([branch_0, branch_1])
print(tree.unique_tokens, "tokens in memory,", tree.path_tokens, "along the two paths")

# %% [markdown]
# Each branch has one query. The picture has a column for each token in memory and a row for each query. A colour is an
# item: it loads its columns once, for all of its rows. Look at tokens 0 to 3: `flash` has them in two items, so it loads
# them twice.

# %%
drawings.items(tree, ta.Plan(tree, "flash"), tokens, "flash: a query and its whole path")

# %% [markdown]
# The strategy `node` takes a node of the tree and all queries below it. **Predict:** how many items, how many loaded
# tokens?

# %%
plan = ta.Plan(tree, "node")
drawings.items(tree, plan, tokens, "node: a node and the queries below it")
print(plan.num_items, "items,", plan.loaded_tokens, "loaded tokens,", plan.num_partials, "partial states")

# %% [markdown]
# `flatten` lays all nodes end to end and cuts after a fixed number of tokens, here 4. Its items are equally long, but
# a cut may fall inside a node, and an item may have tokens of two nodes. A dot is a pair of a query and a token that it
# must not see: it is computed, and a mask hides it.

# %%
plan = ta.Plan(tree, "flatten", piece_tokens=4)
drawings.items(tree, plan, tokens, "flatten: a piece of the list of all nodes, of 4 tokens")
print(plan.num_items, "items,", plan.loaded_tokens, "loaded tokens,", plan.num_partials, "partial states,",
      plan.masked_pairs, "masked pairs")

# %% [markdown]
# ## A larger tree
#
# 16 branches behind a common prefix of 2048 tokens. They are not equally long: the first has 32 tokens of its own, the
# last one 512.

# %%
def tree_of(prefix, own, block_tokens=16):
    """The tree of branches with these numbers of own tokens behind a common prefix."""
    pool = ta.Pool(num_blocks=20000, block_tokens=block_tokens)
    root = pool.branch()
    root.append(prefix)
    branches = [root] + [root.fork() for _ in own[1:]]
    for branch, length in zip(branches, own):
        branch.append(length)
    return pool.tree(branches)

large = tree_of(2048, [32 * (i + 1) for i in range(16)])
plans = {name: ta.Plan(large, name) for name in ("flash", "node", "node_chunk", "flatten", "cost")}
picture.table(["strategy", "items", "loaded tokens", "partial states", "masked pairs"],
              [(name, plan.num_items, plan.loaded_tokens, plan.num_partials, plan.masked_pairs)
               for name, plan in plans.items()])

# %% [markdown]
# ## What an item costs
#
# The queue of the GPU deals with this price, in bytes that could be loaded in the same time
# ([plan_queue.h](../gpu/plan_queue.h)): 49,152 to start an item; then, for each token, its K and V in one KV head, 512
# bytes at head_dim 128, and 2 bytes for each row of scores. A query has a row for each query head of the KV head, here 4;
# rows are counted in steps of 16.

# %%
def price(item):
    rows = 16 * -(-4 * item.num_rows // 16)
    return 49152 + item.num_tokens * (512 + 2 * rows)

for name, plan in plans.items():
    prices = [price(item) / 1024 for item in plan.items]
    print("%-10s  cheapest %5.0f KiB  most expensive %5.0f KiB  sum %6.0f KiB" % (name, min(prices), max(prices), sum(prices)))

# %% [markdown]
# ## Dealing
#
# Several workers share the items: on a GPU, thread blocks; on a CPU, threads. An item cannot be divided. A simple rule:
# take the items from the most expensive to the cheapest, and give each to the worker with the least work so far.

# %%
def deal(plan, num_workers):
    """For each worker the (price, number of queries) of its items."""
    workers = [[] for _ in range(num_workers)]
    least = [(0, w) for w in range(num_workers)]
    for item in sorted(plan.items, key=price, reverse=True):
        load, w = heapq.heappop(least)
        workers[w].append((price(item) / 1024, int(item.num_rows)))
        heapq.heappush(least, (load + price(item), w))
    return workers

print([len(worker) for worker in deal(plans["cost"], 16)], "items of cost on each worker")

# %% [markdown]
# ## Strips of work
#
# An H200 has 132 multiprocessors for 8 KV heads: 16 workers for each. Each line of the picture is a worker, and each
# rectangle one of its items. All workers begin at the left, and the step ends when the last one is ready: the red line.
# If the same work were spread evenly, all would end at the black line. **Predict** which strategy has the longest strip,
# and which has the least work in all.

# %%
strips = [(name, deal(plan, 16)) for name, plan in plans.items()]
drawings.strips(strips, "One step of 16 branches on 16 workers", "KiB")

# %% [markdown]
# `flash` is balanced and slow: all workers load the prefix. `node` loads it once, but in one item, and 15 workers wait for
# the one that has it. The others cut the prefix, so that all workers load a part of it. Balance alone is not enough, and
# little work alone is not enough; the red line counts.

# %%
def end(workers):
    return max(sum(price for price, _ in worker) for worker in workers)

def even(workers):
    return sum(price for worker in workers for price, _ in worker) / len(workers)

picture.table(["strategy", "the last ends, KiB", "even, KiB", "balance, %"],
              [(name, end(workers), even(workers), 100 * even(workers) / end(workers)) for name, workers in strips],
              [None, "%.0f", "%.0f", "%.0f"])

# %% [markdown]
# ## More workers
#
# **Predict:** which strategy gains from each further worker, and which one from none? Look where the lines become flat:
# there a single item is as long as everything else.

# %%
numbers = [1, 2, 4, 8, 16, 32, 64, 128]
p = picture.Picture("A plan cannot end before its longest item", "workers", "the last worker ends, KiB", logx=2, logy=10,
                    xtics=numbers, yrange=(100, 30000), key="top right")
for name, plan in plans.items():
    p.line(numbers, [end(deal(plan, n)) for n in numbers], name, style=name)
p.show()

# %% [markdown]
# ## Does the longest strip tell the time?
#
# The strips above are a prediction. [figures/deft_attention.csv](../figures/deft_attention.csv) has measured times: one
# kernel of an H200 that ran every strategy. Its workload "few-shot" is a prefix of 4000 tokens with 20, 30 or 50 branches
# of 200 tokens each, so its plans can be built here. First, are they the same plans? Items and partial states must agree.

# %%
recorded, _ = picture.read_csv("figures/deft_attention.csv")
steps = {(row["queries"], row["plan"]): row for row in recorded if row["tree"].startswith("few-shot")}
few_shot = {}
for n in 20, 30, 50:
    tree = tree_of(4000, [200] * n, block_tokens=8)
    for name in ta.STRATEGIES:
        few_shot[n, name] = ta.Plan(tree, name)
        assert steps[n, name]["items"] == few_shot[n, name].num_items
        assert steps[n, name]["partials"] == few_shot[n, name].num_partials
print(len(few_shot), "plans, all with the recorded items and partial states")

# %% [markdown]
# On the GPU, an item with more than 16 queries becomes several tasks, and every task is done for 8 KV heads. These tasks
# are dealt to 132 workers.

# %%
def longest_strip(plan):
    tasks = []
    for item in plan.items:
        for first in range(0, item.num_rows, 16):
            rows = 16 * -(-4 * min(16, item.num_rows - first) // 16)
            tasks += [49152 + item.num_tokens * (512 + 2 * rows)] * 8
    workers = [0] * 132
    for task in sorted(tasks, reverse=True):
        heapq.heapreplace(workers, workers[0] + task)
    return max(workers) / 1e6

pairs = {key: (longest_strip(plan), steps[key]["cold_us"]) for key, plan in few_shot.items()}
picture.table(["50 branches", "longest strip, MB", "measured, us", "us per MB"],
              [(name,) + pairs[50, name] + (pairs[50, name][1] / pairs[50, name][0],) for name in ta.STRATEGIES],
              [None, "%.2f", "%.1f", "%.0f"])

# %% [markdown]
# Each point of the picture is a plan of one of the three trees. Look along the diagonal: twice the strip, twice the time.

# %%
p = picture.Picture("The plan with the shortest longest strip is the fastest", "longest strip, MB", "measured, us", logx=2,
                    logy=2, xrange=(0.5, 16), yrange=(10, 500), key="outside right", xtics=[0.5, 1, 2, 4, 8, 16],
                    ytics=[10, 20, 50, 100, 200, 500])
for name in ta.STRATEGIES:
    p.line(*zip(*(pairs[n, name] for n in (20, 30, 50))), name, style=name)
p.show()

# %% [markdown]
# A price need not be exact to choose a plan: it has to put the plans in the right order. For each of the three trees,
# `cost` has the shortest longest strip, and the shortest time. But strips are not times. A MB takes 16 to 19 us where each
# item has one query, and 28 to 42 where it has several; and two plans whose strips are nearly equal, `node_chunk` and
# `flatten`, may finish in the other order.
#
# ## Change and try
#
# 1. Cut finer: in the larger tree, give the strategy `node_chunk` pieces of 32 tokens, `ta.Plan(large, "node_chunk",
#    piece_tokens=32)`, instead of 128. The strips become more even, a balance of 96 % instead of 92. But each item costs
#    49,152 bytes to start, and the last worker ends at 857 KiB instead of 425. Try 256, too: 368.
# 2. Make the branches equally long: `tree_of(2048, [32] * 16)`. The balance of `node` falls to 11 %, one long item and 16
#    tiny ones; `node_chunk` reaches 100 %, because each worker gets one piece of the prefix and one branch.
# 3. Deal in the order of the plan: `for item in plan.items` in `deal`, without sorting. `node_chunk` ends later, at 459 KiB
#    instead of 425, because an expensive item comes when the others are nearly done. The other four do not change.
