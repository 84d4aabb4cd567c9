# %% [markdown]
# # 5 The L2 paradox
#
# A kernel loads more bytes per second than the memory of its GPU can deliver. Where do the other bytes come from, and
# is that kernel fast?
#
# - **Chapter:** [6 Caches](../docs/book/06_caches.md)
# - **Exercise:** [9 A plan for a new strategy](../exercises/09_new_plan/README.md), `make exercise N=9`
# - **Explorer:** [panel 3](../docs/explorer.html#panel-bytes), the bytes of each strategy
#
# All times and counters were recorded on one GPU: [l2_amortization.csv](../figures/l2_amortization.csv). The notebook
# computes with them, so you need neither a GPU nor the library.

# %%
import picture

rows, head = picture.read_csv("figures/l2_amortization.csv")
print(head["device"])
print(len(rows), "rows, each with", ", ".join(rows[0]))

# %% [markdown]
# Several branches begin with the same prefix, and each goes on with tokens of its own. `radix` is **per-branch
# reading**: each branch loads its own path, so the prefix is loaded once per branch. `cold` says that K and V are in
# no cache when the call begins. `column` takes one column of such rows, in the order of the branches.
# (`[x for row in rows if ...]` is a loop that makes a list.)

# %%
STATE = "cold"

def column(plan, name):
    return [row[name] for row in rows if row["plan"] == plan and row["state"] == STATE]

branches = column("radix", "branches")
print(branches)

# %% [markdown]
# A rate is bytes / time. Bytes per microsecond, divided by 1000, are GB/s.

# %%
def rate(plan, bytes_name):
    return [b / us / 1000 for b, us in zip(column(plan, bytes_name), column(plan, "us"))]

memory, l2 = head["dram_gbps"], head["l2_gbps"]
print("the memory delivers at most", memory, "GB/s: the fastest of several plain reads of a large array")

# %% [markdown]
# ## Line 1: the bytes that are loaded
#
# Per-branch reading loads `plan_bytes`. Divide them by the time of the call.
#
# *Look at the right end:* the line passes the dashed one, by little. The kernel loads faster than the memory
# delivers.

# %%
p = picture.Picture("Per-branch reading loads faster than the memory delivers", xlabel="branches", ylabel="GB/s",
                    logx=2, logy=10, xrange=(0.94, 272), yrange=(100, 60000), xtics=branches,
                    ytics=[100, 300, 1000, 3000, 10000, 30000], height=460, key="outside bottom center maxrows 3",
                    more="set bmargin 8.5")
p.line(branches, [memory] * len(branches), "read of memory, measured", style="dram_line", kind="lines")
p.line(branches, rate("radix", "plan_bytes"), "per-branch reading: loaded bytes / time", style="radix")
p.show()

# %%
best = max(rate("radix", "plan_bytes"))
print("best rate of per-branch reading: %.0f GB/s, %.2f times that of the memory" % (best, best / memory))

# %% [markdown]
# ## Line 2: the bytes that memory delivered
#
# A hardware counter counts them: `dram_bytes`.
#
# *Look at the gap between the two lines.* It opens as soon as there are two branches. At the right end the memory is
# nearly idle: it could deliver many times as much.

# %%
p.line(branches, rate("radix", "dram_bytes"), "per-branch reading: delivered bytes / time", style="radix dt (2,3) pt 1")
p.show("The memory delivered only a few of the loaded bytes")

# %% [markdown]
# The bytes in the gap were delivered by a cache, L2, which kept the prefix after the first branch had loaded it. A
# load that a cache serves is a *hit*.
#
# **Predicted.** If L2 keeps everything, then the memory delivers each stored byte once, and all other loads hit: a
# share of 1 - unique_bytes / plan_bytes. **Measured** is the counter beside it.

# %%
predicted = [100 * (1 - u / b) for u, b in zip(column("radix", "unique_bytes"), column("radix", "plan_bytes"))]
picture.table(["branches", "hits predicted, %", "hits measured, %"],
              zip(branches, predicted, column("radix", "l2_hit_percent")), ["%d", "%.0f", "%.0f"])

# %% [markdown]
# With one or two branches few bytes are loaded, and the counter also sees queries and partial states, which hit. From
# four branches on, it counts fewer hits than predicted. Does the memory deliver some bytes twice? The same in bytes:

# %%
more = [d / u for d, u in zip(column("radix", "dram_bytes"), column("radix", "unique_bytes"))]
picture.table(["branches", "stored, MB", "delivered, MB", "delivered / stored"],
              zip(branches, [u / 1e6 for u in column("radix", "unique_bytes")],
                  [d / 1e6 for d in column("radix", "dram_bytes")], more), ["%d", "%.1f", "%.1f", "%.2f"])

# %% [markdown]
# Up to 16 branches the memory delivers every stored byte once, as predicted. So the missing hits are not loads from
# memory; a load that has to wait for a line on its way, for example, may count as no hit. This csv does not tell.
# With more branches, L2 no longer keeps everything until its last use.
#
# ## Line 3: the rate of the cache
#
# So the memory is no limit for per-branch reading. But the cache has a rate as well.
#
# *Look at the red line and the upper dashed line:* they do not meet. Between them lies the time that the kernel
# spends on something other than loading.

# %%
p.line(branches, [l2] * len(branches), "read of the L2 cache, measured", style="l2_line", kind="lines")
p.show("The L2 cache has a limit as well, and per-branch reading stays below it")

# %% [markdown]
# ## Line 4: load less
#
# `cost` is a plan that reads in **one pass for all branches**: a block of the prefix is loaded once for many
# branches.
#
# *Look at the blue line at the right end:* it lies *below* the red one. This plan loads more slowly. Is it worse?

# %%
p.line(branches, rate("cost", "plan_bytes"), "one pass: loaded bytes / time", style="cost dt (8,5) pt 4")
p.show("One pass for all branches loads fewer bytes per second")

# %% [markdown]
# ## Line 5: the bytes that count
#
# It loads fewer bytes, and it needs less time. The two plans give the same output, so compare them by the bytes that
# the branches see, the same number for both: `logical_bytes`. Divided by the time they are the **effective
# bandwidth**.
#
# *Look at the top right corner:* one pass exceeds the memory and the cache. No byte travelled that fast. Most of the
# counted bytes were never loaded.

# %%
p.line(branches, rate("cost", "logical_bytes"), "one pass: effective bandwidth", style="cost")
p.show("Effective bandwidth also counts bytes that are never loaded")

# %% [markdown]
# For per-branch reading, logical_bytes equal plan_bytes, so line 1 is its effective bandwidth.

# %%
assert column("radix", "logical_bytes") == column("radix", "plan_bytes")
never = [100 * (1 - p / g) for p, g in zip(column("cost", "plan_bytes"), column("cost", "logical_bytes"))]
picture.table(["branches", "per branch, us", "one pass, us", "times as fast", "never loaded, %"],
              zip(branches, column("radix", "us"), column("cost", "us"),
                  [a / b for a, b in zip(column("radix", "us"), column("cost", "us"))], never),
              ["%d", "%.1f", "%.1f", "%.1f", "%.0f"])

# %% [markdown]
# The paradox is resolved: *per-branch reading exceeds the memory because a cache serves its loads; one pass exceeds
# both because it counts loads that do not happen.* A rate alone tells neither which, nor whether the kernel is fast.
#
# ## Does it explain the time?
#
# Two lower bounds: the memory needs dram_bytes / memory, and L2 needs plan_bytes / l2. **Predicted** is the larger
# one.

# %%
def bounds(plan):
    return [max(d / memory, b / l2) / 1000 for d, b in zip(column(plan, "dram_bytes"), column(plan, "plan_bytes"))]

for plan in "radix", "cost":
    print(plan)
    picture.table(["branches", "predicted, us", "measured, us", "predicted / measured"],
                  [(n, b, us, b / us) for n, b, us in zip(branches, bounds(plan), column(plan, "us"))],
                  ["%d", "%.1f", "%.1f", "%.2f"])

# %% [markdown]
# No measured time is below its bound. But no row reaches 1 either, so loads are not all that the kernel waits for.
# [Chapter 8](../docs/book/08_floor.md) looks for the rest.
#
# ## A cache in ten lines
#
# Now a cache that you can change. It holds `size` lines; a new line replaces the one that was used longest ago. The
# answer is the number of lines that memory delivers.

# %%
def delivered(loads, size):
    cache = []                      # the line that was used last is at the end
    misses = 0
    for line in loads:
        if line in cache:
            cache.remove(line)      # a hit: it moves to the end
        else:
            misses += 1
            if len(cache) == size:
                del cache[0]
        cache.append(line)
    return misses

# %% [markdown]
# The tiny tree of the book: branch 0 lists the blocks 0, 2, 3 and branch 1 the blocks 0, 1, 4. The keys of a block
# are one line, its values another one.

# %%
TABLES = [[0, 2, 3], [0, 1, 4]]
LENGTHS = [9, 10]
BLOCK_TOKENS = 4

def lines_of(block):
    return [("K", block), ("V", block)]

one_after_another = [line for table in TABLES for block in table for line in lines_of(block)]
one_pass = [line for block in sorted({b for table in TABLES for b in table}) for line in lines_of(block)]
print(len(one_after_another), "loads of lines, or", len(one_pass), "in one pass")
print("delivered by memory, with room for all lines:", delivered(one_after_another, 12), "and", delivered(one_pass, 12))

# %% [markdown]
# A third order: the branches take turns, token by token (exercise 3 of the chapter).

# %%
in_turns = [line for t in range(max(LENGTHS)) for table, length in zip(TABLES, LENGTHS) if t < length
            for line in lines_of(table[t // BLOCK_TOKENS])]
print(len(in_turns), "loads, one for K and one for V of each token that a branch sees")

# %% [markdown]
# *Look at the left half:* with a small cache the order decides, and no order is best at every size. From 6 lines on
# all three are equal: all that is loaded again is still there. One pass loads nothing again, so it needs no cache.

# %%
sizes = list(range(2, 13))
c = picture.Picture("Lines that memory delivers for the tiny tree", xlabel="lines in the cache",
                    ylabel="delivered lines", xrange=(1.9, 12.1), yrange=(0, None), xtics=sizes, key="bottom right")
c.line(sizes, [delivered(one_after_another, s) for s in sizes], "branch 0, then branch 1", style="radix")
c.line(sizes, [delivered(in_turns, s) for s in sizes], "in turns, token by token", style="flash")
c.line(sizes, [delivered(one_pass, s) for s in sizes], "one pass for all branches", style="cost")
c.show()

# %% [markdown]
# ## Change and try
#
# Predict first, then run all cells again.
#
# 1. `STATE = "warm"`: K and V are still in L2 from the call before. Line 2 falls out of the picture up to 64
#    branches, since memory delivers almost nothing. Do the times fall as far? (They hardly do: the largest gain is
#    below a tenth.)
# 2. `TABLES = [[0, 1, 2], [0, 1, 3]]`: now two blocks are shared, and 8 lines are stored. How much room does each
#    order need, so that memory delivers no line twice? (One after another 6 lines, as before; in turns only 2, since
#    both branches read the same block at the same time, and afterwards each has a single token left or two.)
# 3. Let the branches take turns block by block instead of token by token: `in_turns = [line for blocks in zip(*TABLES)
#    for block in blocks for line in lines_of(block)]`. How many lines does memory deliver to a cache of 2 lines now? (10:
#    each block is loaded as a whole before the next one, and the shared block 0 twice in a row, so nothing is delivered
#    again.)
