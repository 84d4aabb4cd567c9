# %% [markdown]
# # 1 The memory of branches
#
# A search tries many continuations of one text. How can they share the memory of their common beginning, although each
# of them goes on writing? This notebook plays the life of the book's tiny tree, block by block, and then a real search.
#
# - **Chapters:** [0 The KV cache](../docs/book/00_kv_cache.md), [2 Blocks](../docs/book/02_blocks.md),
#   [10 A search that thinks](../docs/book/10_search.md)
# - **Exercises:** [1 Reference drop order](../exercises/01_drop_order/README.md),
#   [2 Copy-on-write](../exercises/02_copy_on_write/README.md), [3 Fork at a length](../exercises/03_fork_at/README.md)
# - **Explorer:** [panel 1](../docs/explorer.html#panel-tree), [panel 2](../docs/explorer.html#panel-memory)
#
# Run the cells from the top. Where the text says **Predict**, decide first, then run the cell.

# %%
from start import np, picture, ta
import drawings

# %% [markdown]
# ## A pool of blocks
#
# The memory is cut into blocks, each with room for 4 tokens. A branch is a table, the list of its blocks, and a length.
# This pool has 6 blocks, and one branch appends 6 tokens. **Predict** its table.

# %%
num_blocks, block_tokens = 6, 4
pool = ta.Pool(num_blocks, block_tokens)
branch_0 = pool.branch()
appended = branch_0.append(6)
print("table", branch_0.table, "length", branch_0.length)

# %% [markdown]
# The pool handles numbers of blocks, and never touches a key or a value. So this notebook needs a memory of its own. In
# place of keys and values it holds the number of each token: `memory[block, slot]`, or -1 where nothing was written.
#
# The token at place t of a branch lies in block `table[t // 4]`, slot `t % 4`. `appended.slots` has this for the new
# tokens, as 4 x block + slot, the place in the whole memory:

# %%
memory = np.full((num_blocks, block_tokens), -1)
memory.reshape(-1)[appended.slots] = [0, 1, 2, 3, 4, 5]
print(memory)

# %% [markdown]
# Now the same as a picture. A block's colour tells its reference count: in how many tables it is listed. White is free.

# %%
def draw(title, copied=()):
    drawings.pool(memory, pool.references(), title, copied)

draw("Branch 0 has 6 tokens")

# %% [markdown]
# ## Fork
#
# A second branch with the same 6 tokens. **Predict:** how many tokens are copied, and which counts change?

# %%
branch_1 = branch_0.fork()
print("branch 0", branch_0.table, " branch 1", branch_1.table)
draw("Fork: branch 1 lists the same blocks, and no token moves")

# %% [markdown]
# ## Append, with copy-on-write
#
# Branch 0 goes on with tokens 6, 7 and 8. Its next slot is in block 1. But branch 1 lists this block, too, and it will
# need the same slot for a token of its own. One rule decides: *a branch writes only into a block that no other branch
# lists.* **Predict** the new table of branch 0.
#
# The pool says which tokens to copy, and the caller copies them, before it writes:

# %%
def append(branch, tokens):
    """Appends tokens to a branch. Returns the (block, slot) of each token that was copied before."""
    appended, copied = branch.append(len(tokens)), []
    if appended.copy:
        source, target, num_tokens = appended.copy
        memory[target, :num_tokens] = memory[source, :num_tokens]
        copied = [(target, slot) for slot in range(num_tokens)]
    memory.reshape(-1)[appended.slots] = tokens
    return copied

copied = append(branch_0, [6, 7, 8])
print("branch 0", branch_0.table, " copied", copied)

# %% [markdown]
# Look at the two slots with an orange frame. Tokens 4 and 5 are in memory twice now. This is the price of a fork inside
# a block: at most 3 tokens here, one less than a block has.

# %%
draw("Copy-on-write: branch 0 takes a copy of its last block, then writes", copied)

# %% [markdown]
# Branch 1 goes on with tokens 9 to 12. **Predict:** does it have to copy, too?

# %%
copied = append(branch_1, [9, 10, 11, 12])
print("branch 1", branch_1.table, " copied", copied)
draw("Branch 1 alone lists its last block now, and writes into it", copied)

# %% [markdown]
# ## Prune
#
# The search judges branch 0 to be the worse one, and ends it. Each block of its table loses one reference. **Predict**
# which blocks are free.

# %%
branch_0.prune()
draw("Prune: blocks that branch 0 alone listed are free")

# %% [markdown]
# No token was erased or moved: a free block keeps its old contents until a branch takes it. (The picture leaves them out,
# because no branch can see them.) Tokens 4 and 5 are still there, in block 1, for branch 1.

# %% [markdown]
# ## What sharing saves
#
# Now in a realistic size: blocks of 16 tokens, and branches that share a prefix of 2048 tokens and have 64 tokens of
# their own. If each branch had a copy of everything, it would need as many blocks as its table has entries. **Predict**
# the last line of the table, for 256 branches.

# %%
def blocks_of(branches, prefix=2048, own=64):
    """Blocks with a copy for each branch, and with shared blocks."""
    pool = ta.Pool(num_blocks=20000, block_tokens=16)
    root = pool.branch()
    root.append(prefix)
    leaves = [root] + [root.fork() for _ in range(branches - 1)]
    for leaf in leaves:
        leaf.append(own)
    return pool.stats.table_blocks, pool.stats.used_blocks

numbers = [1, 4, 16, 64, 256]
sizes = [blocks_of(n) for n in numbers]
picture.table(["branches", "copied", "shared"], [(n,) + size for n, size in zip(numbers, sizes)])

# %% [markdown]
# A token takes 131,072 bytes in a model of 32 layers ([chapter 0](../docs/book/00_kv_cache.md)), so a block takes 2 MiB.
# Look at the slopes: both lines grow with the branches, but a further branch adds its whole path to the upper line, and
# to the lower one only its own tokens.

# %%
p = picture.Picture("Shared blocks store the prefix once", "branches", "GiB of keys and values", logx=2, logy=10,
                    xtics=numbers, key="top left")
p.line(numbers, [2 * copies / 1024 for copies, _ in sizes], "a copy for each branch", style="copied")
p.line(numbers, [2 * shared / 1024 for _, shared in sizes], "shared blocks", style="shared_blocks")
p.show()

# %% [markdown]
# ## A real search
#
# Make 24 from 4, 9, 10 and 13, each used once. A search by *tree of thoughts* writes every possible first step, keeps the
# best five, writes every second step behind these, and so on ([chapter 10](../docs/book/10_search.md)). The library
# plays it without a model; a byte of text is a token. These thoughts were kept:

# %%
game = ta.game_of_24_search(numbers=(4, 9, 10, 13), breadth=5)
for thought in game.thoughts:
    if thought.kept:
        print("    " * thought.level + thought.text)
print(len(game.thoughts), "thoughts;", game.solution)

# %% [markdown]
# A `Replay` plays the search on a pool, which is just large enough: forks, appends, prunes. After each step the cell notes the blocks in use, and the
# entries of all tables, as if each branch had a copy. **Predict** the shape of the two lines: what do forks do to them, and
# what do prunes?

# %%
def play(game, block_tokens=16):
    """For each step: entries of all tables, blocks in use, counts of the blocks, copied tokens so far."""
    pool = ta.Pool(ta.replay_measure(game.workload, block_tokens).peak_blocks, block_tokens)
    steps = []
    for step in ta.Replay(game.workload, pool):
        stats = pool.stats
        steps.append((stats.table_blocks, stats.used_blocks, pool.references(), stats.copied_tokens))
    return steps

steps = play(game)
p = picture.Picture("A fork adds no block, a new token may, a prune frees blocks", "step", "blocks of 16 tokens",
                    key="top left")
p.line(range(1, len(steps) + 1), [step[0] for step in steps], "a copy for each branch", style="copied", kind="lines")
p.line(range(1, len(steps) + 1), [step[1] for step in steps], "shared blocks", style="shared_blocks", kind="lines")
p.show()

# %% [markdown]
# Step 35 begins with a prune that leaves 5 of 30 branches, and these fork into 69: the upper line leaps, the lower one even
# falls. Step 65 begins with a prune that leaves 5 of 69, which fork into 25. Here is the pool on both sides of it, a
# square for each block. Look for the dark blocks: few blocks are in many tables, and these hold the prompt and the
# thoughts that were continued.

# %%
peak = max(range(len(steps)), key=lambda i: (steps[i][1], i))  # the last step with the most blocks
before, after = steps[peak], steps[peak + 1]
drawings.pools([("before, %d blocks in use" % before[1], before[2][:before[1]]),
                ("one step later, %d" % after[1], after[2][:before[1]])], "A prune in the pool of the search")
counts = before[2][before[2] > 0]
print(len(counts), "blocks,", sum(counts), "entries in tables, the largest count is", max(counts))

# %% [markdown]
# ## How large should a block be?
#
# A fork inside a block costs a copy of up to `block_tokens` - 1 tokens, and the last block of each branch is part empty.
# Both speak for small blocks. But every block has an entry in a table, which a kernel has to read. **Predict** the first
# line: how many tokens are copied if a block has room for one token?

# %%
lines = []
for size in 1, 4, 16, 64, 256:
    steps = play(game, size)
    entries, used = max(step[0] for step in steps), max(step[1] for step in steps)
    lines.append((size, used, used * size, steps[-1][3], entries))
picture.table(["tokens per block", "blocks at the peak", "slots at the peak", "tokens copied", "table entries"], lines)

# %% [markdown]
# Blocks of 16 take 1.6 times the slots of blocks of one token, and a fifteenth of the table entries.
#
# ## Change and try
#
# 1. Set `num_blocks, block_tokens = 12, 2` and run the tiny tree again. 6 tokens fill three blocks exactly, so both
#    branches begin a new block: nothing is copied, no slot has an orange frame, and only tokens that both see are stored
#    once: 13 slots are filled, not 15.
# 2. With blocks of 4 again, fork earlier: `branch_1 = branch_0.fork(4)`. Branch 1 lists block 0 alone and has 4 tokens.
#    Branch 0 writes into block 1 in place, because no other branch lists it.
# 3. Search wider: `breadth=10`. The solution is the same; there are 224 thoughts instead of 124, and 386 blocks at the
#    peak instead of 203. With copies it would be 1305.
