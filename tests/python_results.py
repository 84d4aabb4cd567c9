"""Results of python/treeattn: the same bits as a C program (argument: python_same_bits), float64 of NumPy within a
bound, and models in Python of the allocator and of replays."""
import os
import subprocess
import sys

from python_checks import SOURCE, check, check_raises, done

import numpy as np
import treeattn as ta
from treeattn.c import as_dict

F32 = np.float32
program = sys.argv[1]


# ---- the same bits as C ----

def same_bits():
    """What python_same_bits.c writes, in Python."""
    block_tokens, heads, kv_heads, dim, scale = 4, 4, 2, 8, F32(0.3535533905932738)
    parts = []
    game = ta.game_of_24_search((4, 9, 10, 13), 2)
    blocks = ta.replay_measure(game.workload, block_tokens).peak_blocks
    pool = ta.Pool(blocks, block_tokens)
    store = ta.KvStore(blocks, block_tokens, num_kv_heads=kv_heads, head_dim=dim, seed=7)
    stream = ta.Stream("topics", num_heads=heads, num_kv_heads=kv_heads, head_dim=dim)
    with ta.Replay(game.workload, pool, store=store) as replay:
        for _ in range(4):
            for _ in range(21):
                step = replay.step()
            tree = pool.tree(step.queries)
            parts += [tree.nodes, tree.rows]
            shape, norm = store.shape(len(step.queries), heads), ta.value_norm(store.value)
            query = np.stack([stream.next().query for _ in step.queries])
            for strategy in ta.STRATEGIES:
                plan = ta.Plan(tree, strategy, group_size=2)
                parts += [plan.items, plan.ranges, plan.masks, plan.merge_partials]
                parts += ta.tree_importance_ref(query, store.key, store.value, norm, plan, scale)
                parts += ta.tree_attention_cpu(query, store.key, store.value, plan, scale, num_threads=2)
                for variant in ta.VARIANTS:
                    parts.append(np.array(list(ta.tree_traffic_count(plan, shape, variant).values()), np.uint64))
        parts.append(np.frombuffer(pool.dump().encode(), np.uint8))
    return parts


expected = subprocess.run([program], check=True, capture_output=True).stdout
got = b"".join(part.tobytes() for part in same_bits())
differ = next((i for i, (a, b) in enumerate(zip(expected, got)) if a != b), None)
check("the same bits as the C program: bytes, the first that differs", (len(expected), None), (len(got), differ))
check("the C program wrote much", True, len(expected) > 300000)

# ---- attention against NumPy in float64 ----

random = np.random.default_rng(5)


def attention(query, key, value, scale):
    """float64: out [head_dim] and lse of one head; also the sum of weight x |value|, for the bound."""
    score = scale * (key.astype(float) @ query.astype(float))
    if not len(score):
        return np.zeros(value.shape[1]), -np.inf, np.ones(value.shape[1])
    weight = np.exp(score - score.max())
    lse = score.max() + np.log(weight.sum())
    weight /= weight.sum()
    return weight @ value.astype(float), lse, weight @ abs(value.astype(float))


def as_float(values):
    """Any storage as float32."""
    return ta.bf16_to_float(values) if values.dtype == np.uint16 else values.astype(F32)


def worst(out, lse, query, key, value, seen):
    """The largest errors of out, in units of weight x |value|, and of lse; seen[q]: places in the pool."""
    errors = [0, 0]
    block_tokens, group = key.shape[2], query.shape[1] // key.shape[1]
    key, value = as_float(key), as_float(value)
    for q, places in enumerate(seen):
        block, slot = np.divmod(np.asarray(places, int), block_tokens)
        for h in range(query.shape[1]):
            k, v = key[block, h // group, slot], value[block, h // group, slot]
            want, want_lse, unit = attention(query[q, h], k, v, query.shape[2] ** -0.5)
            errors[0] = max(errors[0], (abs(out[q, h] - want) / unit).max())
            if len(places):
                errors[1] = max(errors[1], abs(lse[q, h] - want_lse))
            elif lse[q, h] != -np.inf:
                errors[1] = np.inf
    return errors


pool = ta.Pool(32, 4)
a = pool.branch()
a.append(10)
b = a.fork()
leaves = [a.fork(7), b, a.fork(), pool.branch()]
for leaf, count in zip(leaves, (3, 6, 1, 0)):
    leaf.append(count)
tree = pool.tree(leaves)
tree.check()
shape = ta.Shape(4, 2, 16, 4, 32, 4)
key, value = random.standard_normal(shape.kv_shape, F32), random.standard_normal(shape.kv_shape, F32)
query = random.standard_normal(shape.query_shape, F32)
seen = [leaf.slots for leaf in leaves]
storages = {"fp32": lambda x: x, "fp16": lambda x: x.astype(np.float16), "bf16": ta.bf16_from_float}
bound = 176 * 2**-24  # of tree_attention_cpu.h, for portable
for strategy in ta.STRATEGIES:
    plan = ta.Plan(tree, strategy, group_size=2, piece_tokens=5 if strategy != "cost" else 0)
    plan.check(tree)
    out, lse = ta.tree_attention_ref(query, key, value, plan)
    errors = worst(out, lse, query, key, value, seen)
    check(f"{strategy}: tree_attention_ref is NumPy's, rounded", True, errors[0] < 2**-22 and errors[1] < 1e-6)
    states = ta.tree_attention_ref_partials(query, key, value, plan, 3)
    for q in range(4):
        merged = ta.SoftmaxState(16)
        for i in plan.merge_partials[plan.merge_first[q]:plan.merge_first[q + 1]]:
            merged.merge(states[i])
        if not np.array_equal(merged.normalize(), out[q, 3]) or F32(merged.lse) != lse[q, 3]:
            check(f"{strategy}: partial states of query {q} merge to out", out[q, 3], merged.normalize())
    for storage, convert in storages.items():
        stored = convert(key), convert(value)
        rounded = as_float(convert(query))
        out, lse = ta.tree_attention_cpu(query, *stored, plan, isa="portable")
        errors = worst(out, lse, rounded, *stored, seen)
        check(f"{strategy}, {storage}: tree_attention_cpu within its bound", True,
              errors[0] < bound and errors[1] < 1e-5)
    covered = np.zeros(128, int)
    pairs = 0
    for i in range(plan.num_items):
        places, sees = plan.item_slots(i), plan.item_sees(i)
        covered[places] += 1
        pairs += sees.sum()
        for q, row in zip(plan.item_queries(i), sees):
            if not set(places[row]) <= set(seen[q]):
                check(f"{strategy}: item {i} shows query {q} its own tokens", True, False)
    check(f"{strategy}: the items cover the path tokens", (tree.path_tokens, plan.loaded_tokens),
          (pairs, covered.sum()))
    check(f"{strategy}: tree_plan_bytes", True, ta.tree_plan_bytes(tree, strategy) > 0)

# Prices: those of a target are its defaults; others make another plan, and a plan says which it has.
for target in "gpu", "cpu":
    prices = ta.tree_prices_of(target)
    default, given = ta.Plan(tree, target=target), ta.Plan(tree, target=target, prices=prices)
    check(f"prices of {target}", (prices, prices), (default.config["prices"], given.config["prices"]))
    check(f"prices of {target}: the same plan", True, np.array_equal(default.items, given.items))
cut = ta.Plan(tree, prices={"item_bytes": 0, "share_bytes": 1, "wait_bytes": 0, "cut_tokens": 1, "rest_tokens": 0},
              num_workers=1 << 20)
check("prices: cut after every token", 1, cut.items["num_tokens"].max())
check("prices: the others stay", {**ta.tree_prices_of(), "item_bytes": 0, "share_bytes": 1, "wait_bytes": 0,
                                  "cut_tokens": 1, "rest_tokens": 0}, cut.config["prices"])

out, lse = ta.tree_attention_ref(query, key, value, plan)
for function, dims in ((ta.standard_attention_ref, (4, tree.path_tokens)),
                       (ta.dense_mask_attention_ref, (4, 4, tree.unique_tokens))):
    got, got_lse, arrays = function(query, key, value, tree, arrays=True)
    check(f"{function.__name__}: out", True, np.allclose(got, out, atol=1e-5) and np.allclose(got_lse, lse, atol=1e-5))
    check(f"{function.__name__}: arrays", dims, arrays["scores"].shape)
    check(f"{function.__name__}: bytes", arrays["bytes"],
          sum(values.nbytes for name, values in arrays.items() if name not in ("bytes", "first_token")))
    check(f"{function.__name__}: weights sum to 1 for each query", True,
          np.isclose(arrays["weights"].sum(), 4 * 3))  # 4 heads, 3 queries that see a token
k, v = key[0, 0], value[0, 0]
got, got_lse = ta.attention_ref(query[0, 0], k, v, 0.25)
want, want_lse, _ = attention(query[0, 0], k, v, 0.25)
check("attention_ref is NumPy's", True, np.allclose(got, want, rtol=1e-13) and
      np.isclose(got_lse, want_lse, rtol=1e-13))
state = ta.SoftmaxState(16)
for t in range(4):
    state.absorb(0.25 * float(k[t].astype(float) @ query[0, 0].astype(float)), v[t])
check("absorbed token by token", True, np.allclose(state.normalize(), want, rtol=1e-6) and
      np.isclose(state.lse, want_lse))
twin = state.copy()
twin.absorb(100.0, v[0])
check("a copy of a state is its own", False, twin.m == state.m)
check("the empty state", (-np.inf, 0.0, -np.inf), (ta.SoftmaxState(2).m, ta.SoftmaxState(2).l, ta.SoftmaxState(2).lse))
check("NaN stays", True, np.isnan(ta.SoftmaxState(16).absorb(float("nan"), v[0]).normalize()).all())

# ---- traffic, shapes, half ----

traffic = ta.tree_traffic_count(ta.Plan(tree, "node"), shape)
token_bytes = 2 * 2 * 16 * 4
check("traffic", (tree.path_tokens * token_bytes, tree.unique_tokens * token_bytes),
      (traffic.logical_bytes, traffic.plan_bytes))
check("traffic of standard attention", tree.path_tokens * token_bytes, ta.tree_traffic_standard(tree, shape).plan_bytes)
check("traffic of the dense mask", 2 * tree.unique_tokens * token_bytes,
      ta.tree_traffic_dense_mask(tree, shape).plan_bytes)
check("kv_offset", key.ravel()[shape.kv_offset(3, 1, 2)], key[3, 1, 2, 0])
check("storage_bytes", [4, 2, 2], [ta.Shape(1, 1, 1, storage=name).storage_bytes for name in ta.STORAGES])
codes = np.arange(1 << 16, dtype=np.uint16)
with np.errstate(invalid="ignore"):
    check("fp16 to float is NumPy's", True,
          np.array_equal(ta.fp16_to_float(codes.view(np.float16)), codes.view(np.float16).astype(F32), equal_nan=True))
check("bf16 to float is a shift", True,
      np.array_equal(ta.half_bits(ta.bf16_to_float(codes)), codes.astype(np.uint32) << 16))
spread = F32(10) ** random.integers(-8, 5, 20000).astype(F32)
values = np.concatenate([random.standard_normal(20000).astype(F32) * spread,
                         np.array([0, -0.0, np.inf, -np.inf, 65519.996, 65520, 2**-25, 3e-8], F32)]).astype(F32)
with np.errstate(over="ignore"):
    check("float to fp16 is NumPy's", True,
          np.array_equal(ta.fp16_from_float(values).view(np.uint16), values.astype(np.float16).view(np.uint16)))
back = ta.bf16_to_float(ta.bf16_from_float(values[:20000]))
check("float to bf16 and back is near", True, np.allclose(back, values[:20000], rtol=2**-8))
check("NaN stays NaN", True, np.isnan(ta.bf16_to_float(ta.bf16_from_float(np.array([np.nan], F32)))).all())
check("half_from_bits turns half_bits back", True, np.array_equal(ta.half_from_bits(ta.half_bits(values)), values))
odd = np.zeros(9, np.uint8)[1:].view(F32)[::-1]
check("misaligned, and from the end", True, np.array_equal(ta.half_bits(odd), np.zeros(2, np.uint32)))
check("numbers of every shape", (2, 3), ta.bf16_from_float(np.zeros((2, 3), F32)).shape)

# ---- the allocator, against lists in Python ----

pool = ta.Pool(64, 4, order="shuffle", seed=3)
content, key = {}, np.full((64, 1, 4, 1), np.nan, F32)
branches, token = [pool.branch()], 0
content[branches[0]] = []
for step in range(400):
    i = random.integers(len(branches))
    branch, choice = branches[i], random.integers(10)
    if choice < 5:
        count = int(random.integers(6))
        try:
            append = branch.append(count)
        except ta.Error as error:
            assert error.status == "KV_NOBLOCKS"
            choice = 9
        else:
            append.carry_out(key)
            block, slot = divmod(append.slots, 4)
            key[block, 0, slot, 0] = np.arange(token, token + count)
            content[branch] = content[branch] + list(range(token, token + count))
            token += count
    elif choice < 8 and len(branches) < 12:
        length = int(random.integers(branch.length + 1)) if choice == 7 else None
        child = branch.fork(length)
        branches.append(child)
        content[child] = content[branch][:length]
    elif choice == 8:
        branch.truncate(branch.length // 2)
        content[branch] = content[branch][:len(content[branch]) // 2]
    if choice == 9 and len(branches) > 1:
        branches.pop(i).prune()
        del content[branch]
    for branch in branches:
        block, slot = divmod(branch.slots, 4)
        if key[block, 0, slot, 0].tolist() != content[branch]:
            check(f"step {step}: the tokens of a branch", content[branch], key[block, 0, slot, 0].tolist())
            break
pool.check()
check("used blocks", len({block for branch in branches for block in branch.table}), pool.used)
check("references", pool.references().tolist(),
      [sum(block in branch.table for branch in branches) for block in range(64)])
check("dump and load", pool.dump(), ta.Pool.load(pool.dump()).dump())
while len(branches) > 1:
    winner = branches.pop()
    branches[0].adopt(winner)
    check("an adopted branch is gone", False, winner.alive)
branches[0].reserve(8)
check("reserved blocks", True, pool.stats.reserved_blocks >= 2)
epoch = pool.epoch_begin()
branches[0].prune()
check("quarantine", (True, 0), (pool.stats.quarantined_blocks > 0, len(pool.released)))
pool.epoch_retire(epoch)
check("released by the epoch", (0, True), (pool.used, len(pool.released) > 0))
check("nothing lives", None, pool.close(force=False))
pool = ta.Pool(8, 4)
a, b = pool.branch(), pool.branch()
a.append(5)
c = a.fork()
copies = [append.copy for append in pool.append_many([a, b, c], [1, 2, 1])]
check("append_many: one copy", [ta.Copy(1, 2, 1), None, None], copies)
check("versions and tables", [a.table.tolist(), a.length, a.version],
      [pool.tables([a])[0].blocks.tolist(), pool.tables([a])[0].length, pool.tables([a])[0].version])

# ---- trees that grow ----

tree, plan = pool.tree([a, c]), None
plan = ta.Plan(tree, "node")
pool.append_many([a, c])
check("tree and plan grow", (True, True), (tree.grow(), plan.grow(tree)))
tree.check(), plan.check(tree)
check("as built again", (tree.nodes.tolist(), plan.items.tolist()),
      (pool.tree([a, c]).nodes.tolist(), ta.Plan(pool.tree([a, c]), "node").items.tolist()))
b.prune()
other = c.fork()
check("another branch is no growth", True, pool.tree([a, c]).grow())
c.truncate(3)
check("a truncated branch is no growth", False, tree.grow())
own = ta.Tree([[7, 3], [7, 5]], [6, 8], 4, versions=[1, 2])
check("own tables", ([[0, 4], [4, 2], [4, 4]], 10, 14),
      ([[node.first_token, node.num_tokens] for node in own.nodes], own.unique_tokens, own.path_tokens))
check("own tables grow", (True, True, 16), (own.grow([[7, 3], [7, 5]], [8, 8], [1, 2]), own.check() is None,
                                            own.path_tokens))
check("a table of another version is no growth", False, own.grow([[7, 3], [7, 5]], [8, 8], [1, 3]))
check("explain", "", ta.Tree.explain([[7, 3]], block_tokens=4))
drafts = ta.Tree([[0, 1]], [7], 4, drafts=[[None, 0, 0]])
drafts.check()
check("draft tokens", (3, 5 + 6 + 6), (drafts.num_queries, drafts.path_tokens))

pool = ta.Pool(8, 4)
a = pool.branch()
a.append(6)
append = a.fork().append()
key = np.zeros((8, 1, 4), F32)
key[append.copy.from_block] = 1
check_raises("carry_out into an array of another shape", ta.Error, r"arrays\[1\]: expected .*",
             lambda: append.carry_out(key, key[:, :, :2]))
check("nothing is copied then", 0.0, float(key[append.copy.to_block].max()))
append.carry_out(key, key)
check("the copy", [1.0, 1.0, 0.0, 0.0], key[append.copy.to_block, 0].tolist())

# ---- forgetting ----

pool = ta.Pool(16, 4, evicts=True)
a = pool.branch()
a.append(6)
b = a.fork()
a.append(4), b.append(3)
branches = [a, b]
tree = pool.tree(branches)
plan = ta.Plan(tree, "cost", group_size=2, keeps=pool.keeps(branches), masks="all")
b.evict([b.find(1), b.find(4), b.find(7)], "mask")
a.evict([a.find(8)])
check("set_keep follows evictions", (True, True), (tree.grow(), plan.set_keep(tree, pool.keeps(branches))))
plan.check(tree, pool.keeps(branches))
stranger = ta.Pool(16, 4, evicts=True)
others = [stranger.branch()]
others[0].append(6)
others.append(others[0].fork())
others[0].append(4), others[1].append(3)
check_raises("set_keep of another pool's tree", ta.Error, "tree: expected the one that the plan was built from, .*",
             lambda: plan.set_keep(stranger.tree(others), stranger.keeps(others)))
plan.check(tree, pool.keeps(branches))
kept = [branch.slots[branch.keep.kept.ravel()[:branch.length]] for branch in branches]
check("kept tokens", [9, 6], [len(places) for places in kept])
check("positions", [[0, 1, 2, 3, 4, 5, 6, 7, 9], [0, 2, 3, 5, 6, 8]],
      [sorted(pool.positions.ravel()[places].tolist()) for places in kept])
shape = ta.Shape(4, 2, 8, 4, 16, 2)
key, value = random.standard_normal(shape.kv_shape, F32), random.standard_normal(shape.kv_shape, F32)
query = random.standard_normal(shape.query_shape, F32)
out, lse = ta.tree_attention_ref(query, key, value, plan)
check("attention over kept tokens", True, worst(out, lse, query, key, value, kept)[0] < 2**-22)
append = a.append(1)
check("a hole is taken", (a.find(10), a.slots[a.find(10)]), (append.hole, append.slots[0]))
a.thaw()
pool.evict_shared([a, b], a.table[0], 2)
check("evicted by a vote", [False, False], [branch.keep.slot(2) for branch in branches])
b.prune()
a.evict(np.flatnonzero(a.keep.kept.ravel())[2:-1], "mask")
before = pool.positions
moves = a.compact()
after = pool.positions
check("compaction frees blocks", True, len(moves) > 0 and len(a.table) == 1)
for move in moves:
    if after[move.to_block, move.to_slot] != before[move.from_block, move.from_slot]:
        check("a move carries its position", before[move.from_block, move.from_slot],
              after[move.to_block, move.to_slot])
c = a.fork()
check("compact_shared", True, len(c.compact_shared(0)) == c.keep.num_kept and not set(c.table) & set(a.table))
pool.check()

# importance against its definition
tokens = ta.Tokens(*(np.array(values) for values in ([0, 5, 9], [2, 3, 7])))
weights, out, lse = ta.attention_weights(query[0], key, value, tokens)
block, slot = divmod(tokens.slots, 4)
for h in range(4):
    want, want_lse, _ = attention(query[0, h], key[block, h // 2, slot], value[block, h // 2, slot], 8 ** -0.5)
    check(f"attention_weights of head {h}", True, np.allclose(out[h], want, rtol=1e-6) and
          np.isclose(lse[h], want_lse, rtol=1e-6))
norm = ta.value_norm(value)
check("value_norm", True, np.allclose(norm, abs(value).sum(-1), rtol=1e-6))
importance = ta.importance_ref(weights, norm, tokens, 8)
want = sum(norm[block, h // 2, slot].astype(float) * weights[h] for h in range(4)) / (4 * 8)
check("importance_ref", True, np.allclose(importance, want, rtol=1e-12))
without = [ta.Tokens(np.delete(tokens.slots, t), np.delete(tokens.positions, t)) for t in range(3)]
changed = [ta.attention_weights(query[0], key, value, rest)[1] - out for rest in without]
check("deletion_error", True, np.allclose(ta.deletion_error(weights, out, value, tokens),
                                          [np.linalg.norm(change) for change in changed]))
victim = ta.eviction_victim(importance, tokens)
check("eviction_victim", tokens.positions[importance.argmin()], ta.eviction_key_position(victim))
check("eviction_key orders", sorted([0.5, 0.25, 3.0]), sorted([0.5, 0.25, 3.0], key=lambda x: ta.eviction_key(x, 1)))
check("no candidate, not finite", (ta.EVICTION_NONE, ta.EVICTION_NOT_FINITE),
      (ta.eviction_victim(importance, tokens, (8, 9)), ta.eviction_key(float("inf"), 0)))
tree = pool.tree([a, c])
plan = ta.Plan(tree, "node", keeps=pool.keeps([a, c]), group_size=2)
_, _, scores = ta.tree_importance_ref(query, key, value, norm, plan)
_, _, fast = ta.tree_importance_cpu(query, key, value, norm, plan, isa="portable")
check("tree_importance_cpu is near tree_importance_ref", True,
      np.allclose(scores, fast, rtol=1e-4) and (scores >= 0).any())
positions = pool.positions[a.table].ravel()
victim = ta.eviction_victim_of_slots(np.ascontiguousarray(scores[0, :len(positions)]), positions)
seen = scores[0, :len(positions)] >= 0
check("eviction_victim_of_slots", positions[seen][scores[0, :len(positions)][seen].argmin()],
      ta.eviction_key_position(victim))

heads = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 8}
for name in ta.POLICIES:
    policy = ta.eviction_policy_from_name(name)
    view = ta.EvictionView(query, key, value, tokens, 4)
    score = policy.score(view)
    history = np.zeros(3)
    policy.observe(view, history)
    check(f"{name}: candidates and finite scores", (True, True),
          (policy.candidates(view)[0] <= 4, np.isfinite(score).all()))
    stream = ta.Stream("topics", **heads)
    cache = ta.EvictionCache(policy, 6, **heads)
    forest = ta.EvictionForest(name, 6, 64, 4, scope="mask", **heads)
    branch = forest.branch()
    for _ in range(20):
        token = stream.next()
        one = cache.step(*token)
        result = forest.step([branch], *(part[None] for part in token))
        if not np.array_equal(one.out, result.out[0]) or one.victims.tolist() != result.results[0].victims.tolist():
            check(f"{name}: cache and forest agree", (one.out, one.victims), (result.out[0], result.results[0].victims))
            break
    check(f"{name}: the same tokens are left", cache.view()["tokens"].positions.tolist(),
          branch.tokens().positions.tolist())
twin = cache.fork()
token = stream.next()
check("a fork of a cache goes on alike", cache.step(*token).victims.tolist(), twin.step(*token).victims.tolist())
memory = twin.view()
view = ta.EvictionView(np.concatenate([memory["queries"], token.query[None]]), memory["key"], memory["value"],
                       memory["tokens"], memory["budget"], norm=memory["norm"])
check("a policy on a cache's view", len(view.tokens.slots), len(ta.EvictionPolicy("longflow").score(view)))
check("ranges", ((0, 2**32 - 1), (2, int(view.tokens.positions[-1]) - 2)),
      (ta.eviction_all(view), ta.eviction_between(view, 2, 3)))
cache = ta.EvictionCache("h2o", 6, prompt_policy="longflow", **heads)
prompt = [stream.next() for _ in range(9)]
step = cache.prompt(*(np.stack([token[i] for token in prompt]) for i in range(3)))
check("a prompt", (9, 3), (step.num_tokens, len(step.victims)))
forest = ta.EvictionForest("longflow", 6, 64, 4, scope="vote", **heads)
a = forest.branch()
a.append(*(np.stack([token[i] for token in prompt]) for i in (1, 2)))
b = a.fork()
for _ in range(4):
    pair = [stream.next() for _ in range(2)]
    forest.step([a, b], *(np.stack([token[i] for token in pair]) for i in range(3)))
check("a vote", True, forest.counts.voted_tokens > 0)
block, slot = divmod(a.tokens().slots, 4)
check("the forest's norm is value_norm", True,
      np.array_equal(forest.norm[block, :, slot], ta.value_norm(forest.value)[block, :, slot]))
a.truncate(9), b.adopt(a)
check("adopted in a forest", (False, True), (a.alive, b.alive))
b.prune()
forest.pool.check()
check("a forest's pool is empty", 0, forest.pool.used)

# ---- workloads ----

workload = ta.Workload()
root = workload.create("the root")
workload.add("append", root, 5)
leaves = [workload.fork(root, f"leaf {i}") for i in range(2)]
for _ in range(3):
    for leaf in leaves:
        workload.add("decode", leaf)
    workload.add("step")
workload.check()
check("a workload of one's own", (13, 3, 3, 11, "leaf 1", ""),
      (workload.num_operations, workload.num_branches, workload.num_steps, workload.num_tokens, workload.label(2),
       workload.label(9)))
check("operations by name", ["create", "append", "fork"], [ta.KINDS[kind] for kind in workload.operations.kind[:3]])
for name, built, size in (
        ("levels", ta.Workload.levels("1,4", "8,3|5"), ta.Workload.size_levels("1,4", "8,3|5")),
        ("few_shot", ta.Workload.few_shot(8, 4, 3), None), ("random", ta.Workload.random(1, 20, 5, 9), None)):
    built.check()
    check(f"{name} builds", (True, True), (built.num_steps > 0, size is None or size ==
                                           (built.num_operations, built.num_branches, built.num_tokens)))
traces = os.path.join(SOURCE, "docs", "examples", "traces")
reason, draft, accept = (ta.Trace.read_file(os.path.join(traces, name))
                         for name in ("reason.ttr", "draft.ttr", "accept.ttr"))
with open(os.path.join(traces, "reason.ttr"), "rb") as file:
    check("read is read_file", reason.trees[0].nodes.tolist(), ta.Trace.read(file.read()).trees[0].nodes.tolist())
check("found in traces", (0, 8, "chat"), (reason.find(0).ordinal, draft.find_draft(8).label,
                                          accept.find_accept("chat").name))
check("not found", (None, None, None), (reason.find(99), draft.find_draft(99), accept.find_accept("x")))
for name, arguments in (("from_tree", (reason.trees[0],)), ("from_accept", (accept.accepts[0], 3)),
                        ("from_accept_draft", (accept.accepts[0], draft.drafts[0]))):
    built = getattr(ta.Workload, name)(*arguments, 10, 4)
    size = getattr(ta.Workload, "size_" + name)(*arguments, 10, 4)
    check(f"{name}: its size", (built.num_operations, built.num_branches, built.num_tokens), size)
check("draft", draft.drafts[0].num_nodes + 1, ta.Workload.draft(draft.drafts[0], 10).num_branches)

# the events of a replay, carried out in Python, are the store's contents
workload = ta.Workload.random(3, 30, 6, 9)
needs, totals = ta.replay_count_needs(workload, 4), ta.replay_measure(workload, 4)
check("needs and totals", (True, totals.path_tokens_sum), (needs.most_blocks >= totals.peak_blocks, needs.path_tokens))
pool = ta.Pool(totals.peak_blocks, 4)
store = ta.KvStore(totals.peak_blocks, 4, num_kv_heads=2, head_dim=4, poison="nan")
key = np.full(store.key.shape, np.nan, F32)
replay = ta.Replay(workload, pool, store=store, events=True)
done_steps, same = 0, True
while True:
    step = replay.step()
    for event, *rest in replay.events:
        if event == "copy":
            key[rest[0].to_block, :, :rest[0].num_tokens] = key[rest[0].from_block, :, :rest[0].num_tokens]
        elif event == "token":
            _, _, block, slot, token = rest
            key[block, :, slot] = [store.vector(token, head) for head in range(2)]
        elif event == "released":
            key[rest[0], :, rest[1]:] = np.nan
    same = same and np.array_equal(key, store.key, equal_nan=True)
    if step is None:
        break
    done_steps += 1
    for name, branch in zip(step.names, step.queries):
        block, slot = divmod(branch.slots, 4)
        same = same and np.array_equal(store.gather(name, 1)[0], store.key[block, 1, slot])
        same = same and len(store.tokens(name)) == branch.length and replay.branch(name) == branch
check("events, store and tables agree", (True, workload.num_steps), (same, done_steps))
check("totals of a replay", as_dict(totals), as_dict(replay.totals))
check("a replay at its end", (workload.num_operations, None, None), (replay.position, replay.step(), replay.branch(0)))
store.check()
replay.close()
check("the pool is free again", True, pool.branch().alive)
small = ta.Pool(2, 4)
replay = ta.Replay(ta.Workload.few_shot(6, 3, 3), small)
check_raises("a replay without blocks stops", ta.Error, r".*KV_NOBLOCKS\)", lambda: list(replay))
stream = ta.Stream("stationary", seed=9)
check("a stream repeats", stream.next().key.tolist(), next(ta.Stream("stationary", seed=9)).key.tolist())
check("presets", (ta.PRESETS, None), (tuple(name for name in ta.PRESETS if ta.stream_preset_from_name(name)[1]),
                                      ta.stream_preset_from_name("x")))
check("topics", True, stream.topic == 0)
game = ta.game_of_24_search()
check("game of 24", (24, True), (round(eval(game.solution.split("=")[0])), game.solved))
check("its thoughts", [len(thought.text) + 1 for thought in game.thoughts],
      [thought.num_tokens for thought in game.thoughts])
check("its workload", len(game.thoughts) + 1, game.workload.num_branches)

# ---- names, statuses, instruction sets ----

check("every strategy has its number", list(range(8)), [ta.tree_strategy_from_name(name) for name in ta.STRATEGIES])
check("unknown names", (None, None), (ta.tree_strategy_from_name("x"), ta.eviction_policy_from_name("x")))
check("sentences", (ta.kv_status_string("KV_STALE"), ta.tree_status_string(0)),
      (ta.kv_status_string(-6), ta.tree_status_string("TREE_OK")))
check("instruction sets", (True, True), (ta.tree_isa_available("portable"), ta.tree_isa_available(ta.tree_isa_best())))
done()
