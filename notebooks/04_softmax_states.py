# %% [markdown]
# # 4 Softmax states
#
# The weights of softmax need the sum over all tokens, yet the tokens come one by one, in pieces, from several places.
# A state of three numbers makes that possible. Here you build it in Python, take it apart, break it, and compare it
# with the library.
#
# - **Chapter:** [4 Online softmax](../docs/book/04_online_softmax.md)
# - **Exercises:** [5 Online softmax: rescale](../exercises/05_online_softmax/README.md),
#   [6 Merge](../exercises/06_merge/README.md); `make exercise N=5`
# - **Explorer:** [panel 5](../docs/explorer.html#panel-softmax), token by token

# %%
import math
from start import np, picture, ta

# %% [markdown]
# ## The tokens
#
# The tiny tree of the book. Query 0 sees the tokens 0 to 8. The key of token t is 1 at place t % 4 and 0 elsewhere,
# so a score is one element of the query, times the scale 1/2.

# %%
QUERY = np.array([2, 0, 4, -2], dtype=np.float32)
TOKENS = list(range(9))

def key(t):
    return np.eye(4, dtype=np.float32)[t % 4]

def score(t):
    return float(QUERY @ key(t)) / 2

print("scores:", [score(t) for t in TOKENS])

# %% [markdown]
# Element 0 of a value is the token's number; element d is 1 if d divides it.

# %%
def value(t):
    return np.array([t] + [float(t % d == 0) for d in (1, 2, 3)])

for t in 6, 7:
    print("value of token %d:" % t, *value(t))

# %% [markdown]
# ## A state, token by token
#
# A state is (m, l, o): the largest score, the sum of exp(score - m), and the sum of exp(score - m) x value. If a
# larger score arrives, all older terms shrink by one factor, the *rescale*.

# %%
EMPTY = (-math.inf, 0.0, np.zeros(4))

def absorb(state, score, value):
    m, l, o = state
    new_m = max(m, score)
    rescale = math.exp(m - new_m)        # 1 if m stays
    weight = math.exp(score - new_m)
    return new_m, l * rescale + weight, o * rescale + weight * value

# %% [markdown]
# *Look at the line of token 2:* m rises, and l grows by less than 1 although the token's own term is 1.

# %%
state, lines = EMPTY, []
for t in TOKENS:
    before = state
    state = absorb(state, score(t), value(t))
    lines.append((t, score(t), state[0], math.exp(before[0] - state[0]), state[1], state[2][0]))
picture.table(["token", "score", "m", "rescale", "l", "o[0]"], lines, ["%d", "%.0f", "%.0f", "%.4f", "%.4f", "%.4f"])

# %% [markdown]
# The same as a picture: l is a sum, with one piece for each token so far.
#
# *Look at the column of token 2:* all older pieces have shrunk by the same factor. From then on m stays, and each
# token only puts its own piece on top.

# %%
steps = list(range(len(TOKENS)))

def l_after(step, num_tokens):
    """The pieces of the first tokens, each relative to the m that is known after a step."""
    m = max(score(t) for t in TOKENS[:step + 1])
    return sum(math.exp(score(t) - m) for t in TOKENS[:num_tokens])

p = picture.Picture("l = the sum of exp(score - m): one piece for each token", xlabel="after token", ylabel="l",
                    xrange=(-0.6, len(TOKENS) + 0.4), yrange=(0, None), key=None,
                    xtics={str(t): step for step, t in enumerate(TOKENS)},
                    more="set boxwidth 0.6; set style fill solid 1.0 border rgb '#ffffff'")
for top in reversed(steps):   # the tallest boxes first: each next one hides their lower part
    p.line(steps[top:], [l_after(step, top + 1) for step in steps[top:]], "token %d" % TOKENS[top],
           style="%d dt 1" % (21 + top % 4), kind="boxes")
for step in steps:            # the names of the thick pieces, beside the last column
    below, above = l_after(steps[-1], step), l_after(steps[-1], step + 1)
    if above - below > 0.3:
        p.text(len(TOKENS) - 0.65, (below + above) / 2, "token %d" % TOKENS[step])
p.show()

# %% [markdown]
# The output is o / l. **Predicted** by the state, in one pass; **computed** by the library's definition,
# `attention_ref`, which goes over the tokens twice.

# %%
def out_of(state):
    return state[2] / state[1]

keys = np.array([key(t) for t in TOKENS])
values = np.array([value(t) for t in TOKENS], dtype=np.float32)
expected, expected_lse = ta.attention_ref(QUERY, keys, values, 0.5)
print("state:  ", np.round(out_of(state), 4))
print("library:", np.round(expected, 4))

# %% [markdown]
# ## Any order
#
# 1000 random orders of the same tokens. The output is always the same, up to the rounding of the last digits. The
# order only changes how often m rises, that is, how often l and o have to be rescaled.

# %%
def run(tokens):
    state = EMPTY
    for t in tokens:
        state = absorb(state, score(t), value(t))
    return state

def rises(tokens):
    m, count = -math.inf, 0
    for t in tokens:
        count += score(t) > m
        m = max(m, score(t))
    return count

rng = np.random.default_rng(1)
orders = [rng.permutation(TOKENS) for _ in range(1000)]
print("all equal to 14 digits:", all(np.allclose(out_of(run(o)), expected, rtol=1e-14, atol=0) for o in orders))
print("m rises at least %d and at most %d times" % (min(map(rises, orders)), max(map(rises, orders))))

# %% [markdown]
# ## Any split
#
# Two states over different tokens become one: both are rescaled to the larger m, then added.

# %%
def merge(a, b):
    if b[1] == 0:
        return a            # b has seen no token: see below
    m = max(a[0], b[0])
    rescale_a, rescale_b = math.exp(a[0] - m), math.exp(b[0] - m)
    return m, a[1] * rescale_a + b[1] * rescale_b, a[2] * rescale_a + b[2] * rescale_b

# %% [markdown]
# Cut the path at any place. *Look at the first and the last row:* there one of the two states is empty.

# %%
lines = []
for cut in range(len(TOKENS) + 1):
    left, right = run(TOKENS[:cut]), run(TOKENS[cut:])
    both = merge(left, right)
    lines.append((cut, left[0], left[1], right[0], right[1], both[1], out_of(both)[0]))
picture.table(["cut", "left m", "left l", "right m", "right l", "merged l", "out[0]"], lines,
              ["%d", "%.0f", "%.4f", "%.0f", "%.4f", "%.4f", "%.4f"])

# %% [markdown]
# Three pieces or more, merged from the left, from the right, or in pairs: it makes no difference.

# %%
pieces = [run(TOKENS[i:i + 2]) for i in range(0, 9, 2)]
from_left = EMPTY
for piece in pieces:
    from_left = merge(from_left, piece)
in_pairs = merge(merge(merge(pieces[0], pieces[1]), merge(pieces[2], pieces[3])), pieces[4])
print("from the left: %.4f   in pairs: %.4f" % (out_of(from_left)[0], out_of(in_pairs)[0]))

# %% [markdown]
# ## lse: one number instead of two
#
# lse = m + ln l is the logarithm of the sum of all exp(score). Many kernels leave lse and the output of a piece
# instead of m, l and o. That is enough for a merge: a piece has the share exp(lse of the piece - lse of all).

# %%
def lse_of(state):
    return state[0] + math.log(state[1]) if state[1] else -math.inf

node_0, node_1 = run(TOKENS[:4]), run(TOKENS[4:])
total = lse_of(merge(node_0, node_1))
shares = [math.exp(lse_of(s) - total) for s in (node_0, node_1)]
print("lse %.4f; shares of the two nodes: %.4f and %.4f" % (total, *shares))
print("out from outs and lse:", np.round(shares[0] * out_of(node_0) + shares[1] * out_of(node_1), 4))

# %% [markdown]
# ## What breaks
#
# **A state that has seen no token.** A query of an item may see none of its tokens: all are masked. Without the first
# two lines of `merge`, two such states give exp((-inf) - (-inf)).

# %%
def careless_merge(a, b):
    m = max(a[0], b[0])
    rescale_a, rescale_b = math.exp(a[0] - m), math.exp(b[0] - m)
    return m, a[1] * rescale_a + b[1] * rescale_b, a[2] * rescale_a + b[2] * rescale_b

print("one empty state:  l = %.4f" % careless_merge(EMPTY, node_0)[1])
print("two empty states: l = %.4f" % careless_merge(EMPTY, EMPTY)[1])

# %% [markdown]
# *Not a number* never leaves: whatever is merged with it afterwards is lost as well.

# %%
lost = merge(careless_merge(EMPTY, EMPTY), node_0)
print("then node 0: l = %.4f, out[0] = %.4f" % (lost[1], out_of(lost)[0]))

# %% [markdown]
# **No maximum.** exp grows fast. Add a number to every score: the weights do not change, but without m the sums
# overflow.

# %%
def without_m(scores):
    with np.errstate(over="ignore", invalid="ignore"):
        e = np.exp(np.array(scores))
        return (e @ values) / e.sum()

for more in 0, 100, 700, 1000:
    state = EMPTY
    for t in TOKENS:
        state = absorb(state, score(t) + more, value(t))
    careless = without_m([score(t) + more for t in TOKENS])
    print("scores + %4d: without m %.4f   with m %.4f, lse %.4f" %
          (more, careless[0], out_of(state)[0], lse_of(state)))

# %% [markdown]
# ## The library does the same
#
# A pool with two branches: they share the tokens 0 to 5, then each goes on alone. `carry_out` carries out the copy of
# copy-on-write.

# %%
pool = ta.Pool(num_blocks=6, block_tokens=4)
key_pool = np.zeros((6, 1, 4, 4), np.float32)      # [num_blocks][num_kv_heads][block_tokens][head_dim]
value_pool = np.zeros_like(key_pool)

def write(branch, tokens):
    answer = branch.append(len(tokens))
    answer.carry_out(key_pool, value_pool)
    for t, place in zip(tokens, answer.slots):
        block, slot = divmod(int(place), 4)
        key_pool[block, 0, slot], value_pool[block, 0, slot] = key(t), value(t)

branch_0 = pool.branch()
write(branch_0, [0, 1, 2, 3, 4, 5])
branch_1 = branch_0.fork()
write(branch_0, [6, 7, 8])
write(branch_1, [9, 10, 11, 12])

# %% [markdown]
# The tree and a plan of strategy `node`, which has an item for each node. `tree_attention_ref_partials` returns the
# states that the items leave, before any merge.

# %%
queries = np.array([[[2, 0, 4, -2]], [[0, 4, -2, 2]]], np.float32)   # [num_queries][num_heads][head_dim]
plan = ta.Plan(pool.tree([branch_0, branch_1]), "node")
states = ta.tree_attention_ref_partials(queries, key_pool, value_pool, plan, 0, 0.5)

def show(name, m, l, o):
    print("%-18s m %g   l %.4f   o[0] %7.4f" % (name, m, l, o[0]))

for number, item in enumerate(plan.items):
    for row, q in enumerate(plan.item_queries(number)):
        state = states[item.first_partial + row]
        show("item %d, query %d" % (number, q), state.m, state.l, state.o)

# %% [markdown]
# **Predicted**, by the cells above, are the two states of query 0. The library merges its states here from the last
# to the first:

# %%
show("tokens 0 to 3", *node_0)
show("tokens 4 to 8", *node_1)
of_query_0 = plan.merge_partials[plan.merge_first[0]:plan.merge_first[1]]
merged = states[of_query_0[-1]].copy()
for partial in of_query_0[-2::-1]:
    merged.merge(states[partial])
print("merged by the library:", np.round(merged.normalize(), 4), "lse %.4f" % merged.lse)

# %% [markdown]
# ## float against double
#
# The reference keeps states in double, kernels in float. What does that cost on a long path? Below are 32 paths at
# once, with random scores and one channel of values. `absorb_all` is `absorb` with the sums l and o in a type of your
# choice. The difference from double is the mean over the paths.

# %%
def path(n, num_paths=32):
    rng = np.random.default_rng(1)
    return 2 * rng.standard_normal((n, num_paths)), rng.uniform(0, 1, (n, num_paths)).astype(np.float32)

def absorb_all(scores, values, dtype):
    m = np.full(scores.shape[1], -np.inf)
    l, o = np.zeros(scores.shape[1], dtype), np.zeros(scores.shape[1], dtype)
    for s, v in zip(scores, values):
        new_m = np.maximum(m, s)
        rescale, weight = np.exp(m - new_m).astype(dtype), np.exp(s - new_m).astype(dtype)
        m, l, o = new_m, l * rescale + weight, o * rescale + weight * v.astype(dtype)
    return m, l, o

# %% [markdown]
# The same path in slices, whose states are merged in pairs, as the warps of a kernel do it.

# %%
def in_slices(scores, values, dtype, slice_tokens):
    states = [absorb_all(scores[i:i + slice_tokens], values[i:i + slice_tokens], dtype)
              for i in range(0, len(scores), slice_tokens)]
    while len(states) > 1:
        states = [merge_all(*states[i:i + 2]) for i in range(0, len(states), 2)]
    return states[0]

def merge_all(a, b=None):
    if b is None:
        return a
    m = np.maximum(a[0], b[0])
    x, y = np.exp(a[0] - m).astype(a[1].dtype), np.exp(b[0] - m).astype(a[1].dtype)
    return m, a[1] * x + b[1] * y, a[2] * x + b[2] * y

# %%
def error(n, dtype, slice_tokens):
    """Root of the mean square of the relative error of o / l."""
    scores, values = path(n)
    _, l, o = absorb_all(scores, values, np.float64)
    _, l2, o2 = in_slices(scores, values, dtype, slice_tokens)
    return float(np.sqrt(np.mean(((o2.astype(float) / l2.astype(float)) / (o / l) - 1) ** 2)))

# %% [markdown]
# **Predicted:** a float rounds each sum by up to EPS = 2^-24 of it. If the roundings go up and down by chance, n of
# them make an error in proportion to the square root of n. In slices, no state absorbs more than 64 tokens, so the
# error should stop growing.

# %%
DTYPE = np.float32
EPS = float(np.finfo(DTYPE).eps) / 2
lengths = [4 ** k for k in range(1, 8)]
predicted = [math.sqrt(n) for n in lengths]
alone = [error(n, DTYPE, n) / EPS for n in lengths]
sliced = [error(n, DTYPE, 64) / EPS for n in lengths]

# %% [markdown]
# *Look at the slope of the upper two lines,* which is the same, and at the lower line, which is flat.

# %%
q = picture.Picture("Error of the output: states in float, against double", xlabel="tokens",
                    ylabel="relative error / EPS", logx=4, logy=10, xrange=(3.5, 19000), yrange=(0.3, 300),
                    xtics=lengths, ytics=[1, 3, 10, 30, 100], key="top left")
q.line(lengths, predicted, "predicted to grow as the root of n", style="dram_line", kind="lines")
q.line(lengths, alone, "one token after another", style="radix")
q.line(lengths, sliced, "in slices of 64 tokens, merged in pairs", style="cost")
q.show()

# %%
picture.table(["tokens", "predicted, EPS", "one after another, EPS", "in slices, EPS"],
              zip(lengths, predicted, alone, sliced), ["%d"] + ["%.1f"] * 3)

# %% [markdown]
# So to cut a path and merge is not only allowed: in float it is also more accurate. A GPU cuts paths for speed.
#
# ## Change something
#
# Predict first, then run all cells again.
#
# 1. `TOKENS = [2, 0, 1, 3, 4, 5, 6, 7, 8]`: the token with the largest score comes first. What happens to the column
#    "rescale"? (It is 0 for the first token, then always 1. The last line is the same.)
# 2. `QUERY = QUERY * 20`: softmax becomes sharp. Which tokens are left in the output? (2 and 6, with equal weights:
#    out[0] is 4.) What is different in the cell that adds 700 to the scores? (Without m the sums overflow already.)
# 3. `DTYPE = np.float16`, and `0 * rng` in place of `2 * rng`: all weights are 1, so l counts the tokens. Where does
#    the upper line jump, and why? (Behind 1024 tokens: in fp16, 2048 + 1 is 2048 again, so l stops there. The error
#    is then about 1, the whole output. In slices nothing happens.)
