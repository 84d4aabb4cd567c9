# %% [markdown]
# # 6 The ladder
#
# The kernels of `gpu/ladder` compute the same attention from the same plan. Each has one idea more than the one
# before. Which ideas gain most, on which trees, and why is sharing loads the one idea that first makes the kernel
# slower?
#
# - **Chapters:** [7 The ladder](../docs/book/07_ladder.md), [8 The floor](../docs/book/08_floor.md)
# - **Exercises:** [10 A coalesced warp](../exercises/10_coalesced/README.md),
#   [11 A missing barrier](../exercises/11_barrier/README.md); `make exercise N=10`
# - **Explorer:** [panel 4](../docs/explorer.html#panel-plan), a plan as strips over workers
#
# All times were recorded on one GPU: [ladder.csv](../figures/ladder.csv). The notebook computes with them, so you
# need neither a GPU nor the library.

# %%
import math
import picture

rows, head = picture.read_csv("figures/ladder.csv")
trees = list(dict.fromkeys(row["tree"] for row in rows))
print(head["device"])
print("trees:", *trees, sep="\n  ")

# %% [markdown]
# A tree, and a plan for it: `cost` reads in one pass for all branches, `radix` reads per branch.

# %%
TREE = "64 branches of 64 behind 2048"
PLAN = "cost"

def rungs(tree, plan):
    return [row for row in rows if row["tree"] == tree and row["plan"] == plan]

ladder = rungs(TREE, PLAN)
numbers = list(range(len(ladder)))
names = [row["step"].split("_", 2)[2].replace("_", " ") for row in ladder]
us = [row["cold_us"] for row in ladder]

# %% [markdown]
# ## One tree
#
# The **floor** is the shortest time that a perfect kernel would need. **Gain**: how many times as fast as the rung
# before.

# %%
floor = ladder[0]["floor_us"]
gains = [None] + [a / b for a, b in zip(us, us[1:])]
picture.table(["rung", "us", "us / floor", "gain"],
              [("%2d %s" % (n, name), t, t / floor, "%5.2f" % g if g else "") for n, name, t, g in
               zip(numbers, names, us, gains)], ["%s", "%.1f", "%.1f", "%s"])
print("floor: %.2f us" % floor)

# %% [markdown]
# Gains multiply, so the axis of a picture of gains should be logarithmic: equal gains are then equal steps.
#
# *Look for the three steepest steps,* and for the one that goes up by far.

# %%
p = picture.Picture("Time over the floor: each rung has one idea more", ylabel="time / floor (1: the floor)", logy=10,
                    xrange=(-0.4, len(ladder) - 0.6), yrange=(1, 4000), ytics=[1, 3, 10, 30, 100, 300, 1000, 3000],
                    xtics={"%d %s" % (n, name): n for n, name in zip(numbers, names)}, key="top right", height=460,
                    more="set xtics rotate by -25")
p.line(numbers, [t / floor for t in us], TREE, style="21")
p.show()

# %% [markdown]
# How much of the whole gain is due to how loads and arithmetic are done, rungs 1 to 4, and how much to the removal of
# waits, the rungs after them?

# %%
whole, first, rest = us[0] / us[-1], us[0] / us[4], us[4] / us[-1]
print("rungs 1 to 4: %.0f times as fast; rungs 5 to %d: %.1f times; together %.0f times" %
      (first, numbers[-1], rest, whole))
print("as parts of the way down the logarithmic axis: %.0f %% and %.0f %%" %
      (100 * math.log(first) / math.log(whole), 100 * math.log(rest) / math.log(whole)))

# %% [markdown]
# ## More trees
#
# Each cell adds one line to the picture. First a single branch: it has few rows for each KV head.
#
# *Look at rungs 2 and 4:* splitting the tokens gains much more than on 64 branches, tensor cores much less.

# %%
def add(tree, style):
    of_tree = rungs(tree, "cost")
    p.line(numbers, [row["cold_us"] / row["floor_us"] for row in of_tree], tree, style=style)

add("1 branch of 64 behind 2048", "24")
p.show("A single branch gains by splitting, hardly by tensor cores")

# %% [markdown]
# Then a tree with many leaves.
#
# *Look at rung 7,* which merges partial states faster. In the plan of this tree each query has a single partial
# state, and nothing is merged.

# %%
add("512 leaves on four levels", "23")
p.show("With 512 leaves a faster merge gains nothing")

# %% [markdown]
# And a tree with long branches. *Look at the right end:* three lines flatten out. Only the single branch gains much
# by the last rungs, which are for small trees.

# %%
add("10 branches of 400 behind 4000", "22")
p.show("Four trees: the last rungs gain much only on a single branch")

# %% [markdown]
# The gain of each rung on each tree. A number below 1 is a loss.

# %%
by_tree = [[row["cold_us"] for row in rungs(tree, "cost")] for tree in trees]
def mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values))

lines = []
for n in numbers[1:]:
    gain = [times[n - 1] / times[n] for times in by_tree]
    lines.append(["%2d %s" % (n, names[n]), *gain, mean(gain)])
picture.table(["rung", *(" ".join(tree.split()[:2]) for tree in trees), "mean"], lines,
              ["%s"] + ["%.2f"] * (len(trees) + 1))
print("(the geometric mean: gains multiply)")

# %% [markdown]
# Is there an idea that should not be on the ladder? Only one that loses on *every* tree:

# %%
for n in numbers[1:]:
    if all(times[n - 1] < times[n] for times in by_tree):
        print("rung %d, %s, is slower than the rung before on all %d trees" % (n, names[n], len(trees)))

# %% [markdown]
# It stays because the next rung needs its tile: sharing loads pays only once the arithmetic is cheap. Can that be
# seen in the times?
#
# ## For which rung does it pay to load less?
#
# Per-branch reading loads many times as many bytes as one pass. **Predicted:** if a kernel waits for nothing but
# loads, it takes as many times as long. If it waits for nothing but its scores, it takes as long as before: both
# plans compute the same scores.

# %%
TREE_2 = "64 branches of 64 behind 2048"   # the tree that was recorded under every plan
radix, cost = rungs(TREE_2, "radix"), rungs(TREE_2, "cost")
predicted = radix[0]["plan_bytes"] / cost[0]["plan_bytes"]
measured = [a["cold_us"] / b["cold_us"] for a, b in zip(radix, cost)]
print("per-branch reading loads %.1f times as many bytes" % predicted)

# %% [markdown]
# *Look at rungs 0 to 2 first:* they load each token again for each row, whatever the plan says, so the line is near
# 1, or even below: these rungs gain nothing from one pass. Rung 3 is the first that loads a token once for its item. It
# saves the loads, and the line rises a little: arithmetic still takes most of the time. With tensor cores, at rung 4,
# it no longer does.

# %%
q = picture.Picture("How much longer does per-branch reading take than one pass?",
                    ylabel="time of radix / time of cost", logy=10, xrange=(-0.4, len(ladder) - 0.6), yrange=(0.5, 20),
                    ytics=[0.5, 1, 2, 5, 10, 20], xtics={"%d %s" % (n, name): n for n, name in zip(numbers, names)},
                    key="at graph 0.98, 0.42", height=460, more="set xtics rotate by -25")
q.line(numbers, [predicted] * len(numbers), "predicted, if a rung waits for loads alone", style="l2_line", kind="lines")
q.line(numbers, [1] * len(numbers), "predicted, if it waits for scores alone", style="dram_line", kind="lines")
q.line(numbers, measured, "measured", style="cost")
q.show()

# %% [markdown]
# No rung reaches the upper line, and not all of the way up is due to loads: a tensor core multiplies 16 rows at once,
# and an item of one branch has only 4. So from rung 4 on, small items waste arithmetic as well.
#
# Plan `cost` loads less, and still does not reach the floor. The next cell compares its time with the time that its
# bytes need, from memory and from the L2 cache.

# %%
memory, l2 = head["dram_gbps"], head["l2_gbps"]
lines = []
for row, name in zip(cost, names):
    from_memory, from_l2 = row["dram_bytes"] / memory / 1000, row["plan_bytes"] / l2 / 1000
    lines.append(["%2d %s" % (len(lines), name), from_memory, from_l2, row["cold_us"],
                  row["cold_us"] - max(from_memory, from_l2)])
picture.table(["rung", "memory needs, us", "L2 needs, us", "measured, us", "rest, us"], lines, ["%s"] + ["%.1f"] * 4)

# %% [markdown]
# *Look at the last column:* climbing the ladder is removing this rest. The needs of memory and L2 hardly change.
#
# (L2 needs: at least that long, for all bytes that the plan loads. Rungs 0 to 2 load each token again for each row,
# and so more than the plan says.)
#
# ## Rung 1 on paper
#
# Memory serves a warp in pieces of 32 bytes. How many pieces does one load of its 32 lanes touch?

# %%
def pieces(distance, element=2, lanes=32):
    """distance: bytes from the address of one lane to that of the next."""
    return len({lane * distance // 32 for lane in range(lanes)})

head_dim, element = 128, 2
print("rung 0, a key per lane:", pieces(head_dim * element), "pieces")
print("rung 1, lanes share a key:", pieces(element), "pieces")

# %% [markdown]
# That is a factor between two loads, not between two kernels:

# %%
print("predicted, if pieces were all that counts: %.0f times as fast; measured: %.1f times" %
      (pieces(head_dim * element) / pieces(element), cost[0]["cold_us"] / cost[1]["cold_us"]))

# %% [markdown]
# ## Rung 6 on paper
#
# The host deals tasks to workers, each to the worker with the least to do so far. `order` is the order of dealing.

# %%
TASKS = {"A": 3, "B": 3, "C": 3, "D": 4, "E": 5}   # tiles

def deal(order, num_workers):
    workers = [""] * num_workers
    for task in order:
        least = min(range(num_workers), key=lambda w: len(workers[w]))
        workers[least] += task * TASKS[task]
    return workers

def show(order, num_workers=3):
    workers = deal(order, num_workers)
    for number, tiles in enumerate(workers):
        print("worker %d | %s" % (number, tiles))
    print("the last worker ends after %d tiles" % max(map(len, workers)))

show("ABCDE")

# %% [markdown]
# The most expensive task first. *Look at the right edge of the strips:* it is smoother.

# %%
show(sorted(TASKS, key=TASKS.get, reverse=True))
print("if tasks could be cut anywhere: %.1f tiles" % (sum(TASKS.values()) / 3))

# %% [markdown]
# ## Change and try
#
# Predict first, then run all cells again.
#
# 1. `PLAN = "flash"` for the first tree: each branch is one item, so each item has 4 rows, and nothing is shared.
#    Which rung gains less than before, and which gains more? (Tensor cores gain less than half as much, the queue
#    more than twice as much. Rung 10 loses: it multiplies 64 rows where 4 are there.)
# 2. `"tree_mask"` in place of `"radix"`: one item for the whole tree, and no plan loads fewer bytes. Does it win? (On
#    no rung: one item keeps few workers busy, and most pairs of a query and a token are masked.)
# 3. `TASKS = {"A": 1, "B": 1, "C": 1, "D": 9}`, and `show("ABCD")`: how much is gained now by dealing the most
#    expensive task first? (It ends after 9 tiles instead of 10. Now D alone decides. Only a cut would help: 4 tiles,
#    and one partial state more for each cut.)
