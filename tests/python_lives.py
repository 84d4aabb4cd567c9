"""The lives of python/treeattn's objects: arrays that outlive them, closing twice, any order of collection, threads, a
child of fork; and the search for the library."""
import copy
import ctypes.util
import gc
import os
import random
import re
import signal
import subprocess
import sys
import threading
import weakref

from python_checks import SOURCE, check, check_raises, done

import numpy as np
import treeattn as ta

F32 = np.float32

# ---- arrays, closing ----

pool, store = ta.Pool(8, 4), ta.KvStore(8, 4, num_kv_heads=1, head_dim=4)
branch = pool.branch()
branch.append(5)
table, tree = branch.table, pool.tree([branch])
plan = ta.Plan(tree, "node")
items, nodes, key = plan.items, tree.nodes, store.key
key[:] = 3
pool.close(), tree.close(), plan.close(), store.close()
for owner in (pool, tree, plan, store):
    owner.close()  # a second time
check("arrays outlive what they came from", ([0, 1], 5, 5, 3.0),
      (table.tolist(), items[0].num_tokens, nodes[0].num_tokens, float(key.mean())))
check("a branch outlives its pool, as a name", ("Branch(not alive)", False, True),
      (repr(branch), branch.alive, branch == copy.copy(branch)))
del key
with ta.Pool(4) as pool:
    check("open in a with statement", False, pool.closed)
check("closed after it", (True, "Pool(closed)"), (pool.closed, repr(pool)))
check_raises("an object that was never made", ta.Error, "the Plan is closed", lambda: ta.Plan.__new__(ta.Plan).items)
check("no method crashes on an object that was never made", True, ta.Pool.__new__(ta.Pool).close() is None)

workload, pool = ta.Workload.few_shot(6, 3, 3), ta.Pool(16, 4)
replay = ta.Replay(workload, pool)
replay.step()
pool.close(), workload.close()
check("a replay keeps what it plays on", 2, sum(1 for _ in replay))
replay.close()
check_raises("a closed replay", ta.Error, "the Replay is closed", replay.step)


class Box:
    """Holds objects in a cycle, so that the collector takes them all at once, in an order of its own."""


for order in range(6):
    box = Box()
    box.self = box
    box.parts = [ta.Workload.few_shot(6, 3, 3), ta.Pool(16, 4), ta.KvStore(16, 4, num_kv_heads=1, head_dim=2)]
    box.parts.append(ta.Replay(box.parts[0], box.parts[1], store=box.parts[2], events=True))
    box.parts[3].step()
    box.parts += [box.parts[2].key, ta.EvictionForest("longflow", 4, 8, 4, num_heads=1, num_kv_heads=1, head_dim=2)]
    box.parts += [box.parts[5].pool, box.parts[5].branch(), box.parts[5].value]
    random.Random(order).shuffle(box.parts)
    gone = weakref.ref(box)
    del box
    gc.collect()
    if gone() is not None:
        check("a cycle is collected", None, gone())
check("cycles are collected in any order", True, True)

# threads: one pool, appended to and forked by all; plans that grow while they are read; closing in between
pool, problems = ta.Pool(4096, 4), []
root = pool.branch()
root.append(6)


def worker(seed):
    """Forks, appends, reads and prunes, as fast as it can."""
    try:
        for i in range(60):
            branch = root.fork()
            branch.append(i % 7)
            if branch.length != 6 + i % 7 or len(branch.table) != -(-branch.length // 4):
                problems.append((seed, i))
            tree = pool.tree([root, branch])
            plan = ta.Plan(tree, "cost")
            branch.append(1), tree.grow(), plan.grow(tree), plan.items, plan.item_sees(0)
            branch.prune()
    except Exception as error:  # pylint: disable=broad-except
        problems.append(error)


threads = [threading.Thread(target=worker, args=(seed,)) for seed in range(4)]
sys.setswitchinterval(1e-6)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
pool.check()
check("four threads on one pool", ([], 1), (problems, pool.stats.live_branches))


# a table that one thread reads while another one makes it longer and shorter
long, blocks_of = pool.branch(), []
long.append(6)
stop = threading.Event()


def reader():
    """Reads until it is told to stop."""
    while not stop.is_set():
        table = pool.tables([long])[0]
        if len(table.blocks) != -(-table.length // 4) or (table.blocks >= 4096).any():
            problems.append(table)


thread = threading.Thread(target=reader)
thread.start()
for i in range(300):
    long.append(3000 - 8 * i)
    long.truncate(6)
stop.set()
thread.join()
check("tables that were not read as a whole", 0, len(problems))


def until_closed(owner, call):
    """Calls until another thread closes the owner."""
    try:
        while True:
            call()
    except ta.Error as error:
        problems.append(str(error))


problems.clear()
for _ in range(5):
    pool, store = ta.Pool(64, 4), ta.KvStore(64, 4, num_kv_heads=1, head_dim=4)
    branch = pool.branch()
    branch.append(100)
    tree = pool.tree([branch])
    plan = ta.Plan(tree, "node")
    for owner, call in ((pool, lambda: branch.table), (tree, lambda: tree.nodes), (plan, lambda: plan.item_slots(0)),
                        (store, lambda: store.key[0])):
        thread = threading.Thread(target=until_closed, args=(owner, call))
        thread.start()
        threading.Event().wait(0.002)
        owner.close()
        thread.join()
sys.setswitchinterval(0.005)
check("closed by another thread", {"the Pool is closed", "the Tree is closed", "the Plan is closed",
                                   "the KvStore is closed"}, set(problems))

# after fork(): threads of OpenMP that only the parent has
query = np.ones((1, 1, 4), F32)
pool = ta.Pool(8, 4)
branch = pool.branch()
branch.append(30)
plan = ta.Plan(pool.tree([branch]), "flash_decoding", piece_tokens=4)
keys = np.ones((8, 1, 4, 4), F32)
want = ta.tree_attention_cpu(query, keys, keys, plan, num_threads=2)[0].tobytes()
child = os.fork()
if child == 0:
    signal.alarm(30)  # instead of waiting forever
    os._exit(ta.tree_attention_cpu(query, keys, keys, plan, num_threads=2)[0].tobytes() != want)
check("a child of fork", 0, os.waitpid(child, 0)[1])

# ---- finding the library ----

def import_with(library, *options):
    """What `import treeattn` says with this TREEATTN_LIB, python3 called with these options."""
    environment = {**os.environ, "TREEATTN_LIB": library, "PYTHONPATH": os.path.join(SOURCE, "python"),
                   "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([sys.executable, *options, "-c", "import treeattn"], env=environment, capture_output=True,
                         text=True, check=False)
    return run.stderr.strip().splitlines()[-4:]


said = "\n".join(import_with("/nonexistent/libtreeattn.so"))
expected = r"treeattn found no library .*\n  /nonexistent/libtreeattn.so: no such file\n.*--target treeattn_shared"
check("no library: the place and the command", True, re.search(expected, said) is not None)
libm = ctypes.util.find_library("m")
said = "\n".join(import_with(libm))
check("another library", True, f"{libm} has no function kv_status_string, so it is not the library" in said)
said = "\n".join(import_with(os.path.join(SOURCE, "README.md")))
check("no library in that file", True, re.search(r"\n  .*README.md: .*ELF", said) is not None)
check("no NumPy", "ImportError: treeattn needs NumPy: apt-get install python3-numpy",
      import_with("", "-S")[-1])
done()
