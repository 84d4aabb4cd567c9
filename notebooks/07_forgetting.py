# %% [markdown]
# # 7 Forgetting
#
# The memory is full. Which token can a branch do without, and what if another branch still needs it? Here you delete
# tokens one by one, invent a measure of your own, and let policies compete under a budget.
#
# - **Chapter:** [9 Forgetting](../docs/book/09_forgetting.md)
# - **Exercise:** [12 A policy that beats random eviction](../exercises/12_policy/README.md), `make exercise N=12`
# - **Explorer:** [panel 6](../docs/explorer.html#panel-evict), a budget with a slider

# %%
import math
from start import np, picture, ta

# %% [markdown]
# ## What a token gives to the output
#
# Branch 0 of the tiny tree: nine tokens and one query. The key of token t is 1 at place t % 4; element 0 of a value
# is the token's number, and element d is 1 if d divides it.

# %%
QUERY = np.array([2, 0, 4, -2], dtype=np.float32)
TOKENS = list(range(9))
keys = np.array([np.eye(4)[t % 4] for t in TOKENS], dtype=np.float32)
values = np.array([[t] + [t % d == 0 for d in (1, 2, 3)] for t in TOKENS], dtype=np.float32)

out, lse = ta.attention_ref(QUERY, keys, values, 0.5)
print("out", np.round(out, 4), "lse %.4f" % lse)

# %% [markdown]
# The weight of a token is exp(score - lse). The weights of all tokens have the sum 1, and the output is the sum of
# weight x value.

# %%
weights = np.exp(keys @ QUERY * 0.5 - lse)
print("weights", np.round(weights, 4), "sum %.4f" % weights.sum())
print("sum of weight x value", np.round(weights @ values, 4))

# %% [markdown]
# ## The price of one deletion
#
# Without token t, the other weights grow by 1 / (1 - a), where a is its weight. **Predicted:** the output moves by a
# / (1 - a) times the distance from its value to the output. **Measured:** attention over the tokens that are left.

# %%
def without(gone):
    """The output without some tokens."""
    left = [t for t in range(len(TOKENS)) if t not in gone]
    return ta.attention_ref(QUERY, keys[left], values[left], 0.5)[0]

predicted = [a / (1 - a) * np.linalg.norm(v - out) for a, v in zip(weights, values)]
measured = [np.linalg.norm(without([t]) - out) for t in range(len(TOKENS))]
importance = [np.abs(v).sum() * a for a, v in zip(weights, values)]
picture.table(["token", "weight", "norm", "norm x weight", "error predicted", "error measured"],
              zip(TOKENS, weights, np.abs(values).sum(axis=1), importance, predicted, measured),
              ["%d", "%.4f", "%.0f", "%.4f", "%.4f", "%.4f"])

# %% [markdown]
# `norm x weight` is LongFlow's measure: cheap, because attention has the weight anyway, and the norm of a value is
# computed once. The error is the truth, for this query. Do the two agree?
#
# *Compare the order from left to right with the order from bottom to top.* Token 3 is the first in both. Then they
# differ: from left to right token 1 comes next, but three tokens lie below it.

# %%
p = picture.Picture("LongFlow's measure and the exact error, for each token of branch 0", xlabel="norm x weight",
                    ylabel="error of its deletion", logx=10, logy=10, xrange=(0.05, 4), yrange=(0.01, 2), key=None)
p.line(importance, measured, "tokens", style="longflow", kind="points")
for t, x, y in zip(TOKENS, importance, measured):
    p.text(x * 1.08, y, "%d" % t)
p.show()

# %% [markdown]
# ## One token after another
#
# A policy deletes again and again. `greedy` deletes the token with the lowest score, computes all scores anew, and so
# on. A measure is a function of the weights, the values and the output of the tokens that are left.

# %%
MEASURES = {
    "oldest first": lambda a, v, out: np.arange(len(a)),
    "weight": lambda a, v, out: a,
    "norm x weight": lambda a, v, out: np.abs(v).sum(axis=1) * a,
    "exact error": lambda a, v, out: a / (1 - a) * np.linalg.norm(v - out, axis=1),
}

def greedy(measure, count):
    """The tokens in the order of their deletion, and the error of the output after each."""
    left, gone, errors = list(range(len(TOKENS))), [], []
    for _ in range(count):
        now, now_lse = ta.attention_ref(QUERY, keys[left], values[left], 0.5)
        scores = measure(np.exp(keys[left] @ QUERY * 0.5 - now_lse), values[left], now)
        gone.append(left.pop(int(np.argmin(scores))))
        errors.append(float(np.linalg.norm(without(gone) - out)))
    return gone, errors

COUNT = 7
runs = {name: greedy(measure, COUNT) for name, measure in MEASURES.items()}
for name, (gone, _) in runs.items():
    print("%-14s deletes %s" % (name, gone))

# %% [markdown]
# *Look at the distance between the upper line and the other three:* a measure that knows the weights errs far less
# than the age. *Then look at 2 and 5 deleted tokens:* there the other three differ. At 4 even the exact error is not
# the best: each deletion was the cheapest at its time, but not all four together. At 6 the three have deleted the
# same tokens. The seventh deletion makes the error smaller: tokens 2 and 6 are left, and their mean is 4.

# %%
q = picture.Picture("Error of the output while tokens are deleted, by four measures", xlabel="deleted tokens",
                    ylabel="error of the output", logy=10, xrange=(0.8, COUNT + 0.2), yrange=(0.01, 10),
                    xtics=list(range(1, COUNT + 1)), key="bottom right")
for name, style in zip(MEASURES, ["sink_window", "current_mass", "longflow", "exact_deletion"]):
    q.line(range(1, COUNT + 1), runs[name][1], name, style=style)
q.show()
