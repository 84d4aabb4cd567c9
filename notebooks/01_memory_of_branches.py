# %% [markdown]
# # 1 The memory of branches
#
# A search tries many continuations of one text. How can they share the memory of their common beginning, although each
# goes on writing? This notebook plays the life of the book's tiny tree, block by block, and then a real search.
#
# It belongs to chapter [2 Blocks](../docs/book/02_blocks.md). Exercises [1](../exercises/01_drop_order/README.md),
# [2](../exercises/02_copy_on_write/README.md) and [3](../exercises/03_fork_at/README.md) let you write these functions
# in C, and panels 1 and 2 of the [explorer](../docs/explorer.html) show the same in a browser.
#
# Run the cells from the top. Where the text says **Predict**, decide first, then run.

# %%
from start import np, picture, ta
import drawings

# %% [markdown]
# ## A pool of blocks
#
# The memory is cut into blocks with room for 4 tokens each. A branch is a table, the list of its blocks, and a length.
# This pool has 6 blocks; one branch gets 6 tokens. **Predict** its table.

# %%
pool = ta.Pool(num_blocks=6, block_tokens=4)
first = pool.branch()
first.append(6)
print("table", first.table, "length", first.length)

# %% [markdown]
# The pool handles numbers of blocks and never touches a key or a value. So this notebook needs a memory of its own. In
# place of keys and values it holds the number of the token: `memory[block, slot]`, or -1 where nothing was written.
#
# The token at place t of a branch lies in block `table[t // 4]`, slot `t % 4`.

# %%
memory = np.full((6, 4), -1)

def write(branch, tokens):
    """Puts tokens at the end of a branch, whose table already has room for them."""
    for place, token in enumerate(tokens, branch.length - len(tokens)):
        memory[branch.table[place // 4], place % 4] = token

write(first, range(0, 6))
print(memory)
