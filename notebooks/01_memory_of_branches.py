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
pool = ta.Pool(num_blocks=6, block_tokens=4)
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
memory = np.full((6, 4), -1)
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
draw("Copy-on-write: branch 0 takes a copy of block 1, then writes", copied)

# %% [markdown]
# Branch 1 goes on with tokens 9 to 12. **Predict:** does it have to copy, too?

# %%
copied = append(branch_1, [9, 10, 11, 12])
print("branch 1", branch_1.table, " copied", copied)
draw("Branch 1 alone lists block 1 now, and writes into it", copied)

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
