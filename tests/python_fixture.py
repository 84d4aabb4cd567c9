"""One object of each kind, by name, for expressions in the tests of python/treeattn."""
import numpy as np
import treeattn as ta

TRACE = "ttr 1 {0} x\n{1}"


def fixture():
    """A fresh set: pool with branches a and b over 8 blocks of 4 tokens, 4/2 heads, head_dim 4, and so on."""
    pool, other = ta.Pool(8, 4), ta.Pool(8, 4)
    a = pool.branch()
    a.append(6)
    b = a.fork()
    a.append(3)
    b.append(4)
    stranger, pruned = other.branch(), pool.branch()
    pruned.prune()
    closed = ta.Pool(8, 4)
    closed.close()
    evicting = ta.Pool(8, 4, evicts=True)
    e = evicting.branch()
    e.append(6)
    e2 = e.fork()
    tree = pool.tree([a, b])
    plan = ta.Plan(tree, "node", group_size=2)
    other_tree = ta.Tree([[0, 1]], [7], 4)
    closed_tree, closed_plan = pool.tree([a, b]), ta.Plan(tree)
    closed_tree.close(), closed_plan.close()
    draft_plan = ta.Plan(ta.Tree([[0, 1]], [7], 4, drafts=[[-1, 0, 0]]), "node")
    shape = ta.Shape(4, 2, 4, 4, 8, 2)
    random = np.random.default_rng(1)
    query = random.standard_normal(shape.query_shape, np.float32)
    key = random.standard_normal(shape.kv_shape, np.float32)
    value = random.standard_normal(shape.kv_shape, np.float32)
    misaligned = np.zeros(query.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(query.shape)
    tokens = ta.Tokens([0, 1, 8], [0, 1, 5])
    view = ta.EvictionView(query, key, value, tokens, 4)
    cache = ta.EvictionCache("longflow", 4, num_heads=4, num_kv_heads=2, head_dim=4)
    cache.step(query[0], key[0, :, 0].copy(), value[0, :, 0].copy())
    forest = ta.EvictionForest("longflow", 4, 8, 4, num_heads=4, num_kv_heads=2, head_dim=4)
    f = forest.branch()
    f.append(np.ascontiguousarray(key[:3, :, 0]), np.ascontiguousarray(value[:3, :, 0]))
    draft = ta.Trace.read(TRACE.format("draft", "draft 0 2 2 1\ndnode 0 -1 0\ndnode 1 0 0\nend 1 3\n")).drafts[0]
    accept = ta.Trace.read(TRACE.format("accept", "rec x 4 1 2 2\nacc 1 2\nend 3\n")).accepts[0]
    bad_workload = ta.Workload()
    bad_workload.add("prune", 3)
    workload = ta.Workload.levels("1,2", "5,3|4")
    replayed_workload, replayed = ta.Workload.levels("1,2", "5,3|4"), ta.Pool(8, 4)
    used_store = ta.KvStore(8, 4, num_kv_heads=1, head_dim=2)
    replay = ta.Replay(replayed_workload, replayed, store=used_store)
    step = replay.step()
    stream = ta.Stream(num_heads=4, head_dim=4)
    return {**locals(), "ta": ta, "np": np, "shape_of_three": ta.Shape(4, 2, 4, 4, 8, 3)}
