# %% [markdown]
# # 3 Plans
#
# All methods of tree attention compute the same result. They differ in the list of work items, the plan: which queries
# and which tokens are computed together. This notebook draws plans, deals them out to workers, and asks which plan ends
# first.
#
# It belongs to chapter [5 A strategy is a plan](../docs/book/05_plans.md). In exercises
# [8](../exercises/08_split/README.md) and [9](../exercises/09_new_plan/README.md) you write a cut and a strategy of your
# own, and panel 4 of the [explorer](../docs/explorer.html#panel-plan) shows the same in a browser.

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
plans = {name: ta.Plan(large, name, num_workers=16) for name in ("flash", "node", "node_chunk", "flatten", "cost")}
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
# Each line of the picture is a worker, and each rectangle one of its items. All workers begin at the left, and the step
# ends when the last one is ready: the dashed line. If the same work were spread evenly, all would end at the dotted
# line. **Predict** which strategy has the longest strip, and which has the least work in all.

# %%
strips = [(name, deal(plan, 16)) for name, plan in plans.items()]
drawings.strips(strips, "One step of 16 branches on 16 workers", "KiB")

# %%
def ends(workers):
    return max(sum(price for price, _ in worker) for worker in workers)

def even(workers):
    return sum(price for worker in workers for price, _ in worker) / len(workers)

picture.table(["strategy", "last worker ends, KiB", "even work, KiB", "balance, %"],
              [(name, ends(workers), even(workers), 100 * even(workers) / ends(workers)) for name, workers in strips],
              [None, "%.0f", "%.0f", "%.0f"])
