#!/usr/bin/env python3
"""Measures other attention kernels on the trees of figures/gpu_trees.cu, on this machine's GPU, and writes all times to a csv.

  peers.py                                    all trees, 32/8, 32/32 and 16/1 heads: minutes
  peers.py --fasttree FastTree-Artifact/kernel_bench --heads 32/8 --trees 'prefix 64,wide, 1024'
  peers.py --tree '1,8 / 30000,200'           another tree, nodes and tokens of each level, instead of these
  peers.py --check                            only says what is importable here, and what is lacking

Peers, of which it measures whatever is importable:
  SDPA                PyTorch's scaled_dot_product_attention on copies: each branch has its prefix once more
  FlashInfer paged    BatchDecodeWithPagedKVCacheWrapper on tensor cores: each branch reads its own pages, which are shared
  FlashInfer cascade  MultiLevelCascadeAttentionWrapper: one level for each level of the tree, and merges
  FastTree            the kernels of its artifact, with the artifact's tile sizes (--fasttree: the folder of fasttree.py)
Protocol, as measure/measure_gpu.cu: fp16, head_dim 128, one query per leaf; K and V in as many sets as make 600 MB, at
most 64; a CUDA graph of one call on each set; the median of 7 replays. Planning on the host is not in the time. Each
result is compared with a computation in fp32 on some rows; a time with a wrong result is left out, and the csv says so.
The csv (docs/peers_all_GPU.csv, or --out FILE): tree,heads,kv_heads,peer,us,max_error. At the end: the best peer of each
tree beside figures/gpu_trees.csv, if that was recorded on such a GPU.
Exit status: 0 measured, 1 nothing could be measured or written, 2 bad usage.
"""
import argparse
import contextlib
import csv
import importlib
import io
import math
import os
import re
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEAD_DIM = 128
ALL_BYTES, MAX_SETS = 600000000, 64
REPLAYS, WARM_UP = 7, 2
MAX_ERROR = 5e-3  # of the largest element; correct fp16 kernels stay below 1e-3
SAMPLES = 8
WORKSPACE_BYTES = 512 << 20


# ---- trees ----

class Tree:
    """Nodes level by level; slots [first[i], first[i + 1]) of the pool hold the tokens of node i."""

    def __init__(self, name, nodes, tokens):
        self.name, self.nodes, self.tokens = name, nodes, tokens
        self.level_first = [sum(nodes[:level]) for level in range(len(nodes) + 1)]
        self.parent, self.level_of = [-1] * nodes[0], [0] * nodes[0]
        for level in range(1, len(nodes)):
            before = self.level_first[level - 1]
            self.parent += [before + i * nodes[level - 1] // nodes[level] for i in range(nodes[level])]
            self.level_of += [level] * nodes[level]
        self.first = [0]
        for level in self.level_of:
            self.first.append(self.first[-1] + tokens[level])
        self.num_queries = nodes[-1]
        self.paths = []  # of each query: its nodes from the root
        for leaf in range(self.level_first[-2], self.level_first[-1]):
            path = [leaf]
            while self.parent[path[0]] >= 0:
                path.insert(0, self.parent[path[0]])
            self.paths.append(path)
        self.requests = [[] for _ in self.parent]
        for query, path in enumerate(self.paths):
            for node in path:
                self.requests[node].append(query)

    def num_slots(self):
        return self.first[-1]

    def page_tokens(self):
        """The largest page, up to 16 tokens, that no node shares with another."""
        page = 16
        while any(count % page for count in self.tokens):
            page //= 2
        return page

    def pages(self, node, page):
        return list(range(self.first[node] // page, self.first[node + 1] // page))

    def slots(self, query):
        return [slot for node in self.paths[query] for slot in range(self.first[node], self.first[node + 1])]


def read_trees(path):
    """The table of figures/gpu_trees.cu."""
    with open(path) as file:
        rows = re.findall(r'^    \{"([^"]*)", "([0-9,]*)", "([0-9,]*)"\},$', file.read(), re.M)
    return [Tree(name, read_numbers(nodes), read_numbers(tokens)) for name, nodes, tokens in rows]


def read_numbers(text):
    return [int(part) for part in text.split(",")]


def read_tree(text):
    """One level tree, 'NODES / TOKENS'."""
    try:
        nodes, tokens = (read_numbers(part) for part in text.split("/"))
    except ValueError:
        nodes, tokens = [], []
    if not nodes or len(nodes) != len(tokens) or nodes[0] != 1 or min(nodes + tokens) < 1 or nodes != sorted(nodes):
        raise argparse.ArgumentTypeError("expected 'NODES / TOKENS' of each level, from one root, as in '1,64 / 2048,64'; "
                                         "got '%s'" % text)
    return Tree(text, nodes, tokens)


# ---- peers ----

class Case:
    """A tree with K and V on the GPU: key(set), value(set) are [slots, kv_heads, head_dim]."""

    def __init__(self, torch, tree, heads, kv_heads):
        self.torch, self.tree, self.heads, self.kv_heads = torch, tree, heads, kv_heads
        self.scale = 1 / math.sqrt(HEAD_DIM)
        self.num_sets = sets_of(4 * tree.num_slots() * kv_heads * HEAD_DIM)
        torch.manual_seed(1)
        self.kv = self.random(self.num_sets, 2, tree.num_slots(), kv_heads, HEAD_DIM)
        self.query = self.random(tree.num_queries, heads, HEAD_DIM)

    def random(self, *shape):
        return self.torch.randn(*shape, dtype=self.torch.float16, device="cuda")

    def key(self, number):
        return self.kv[number, 0]

    def value(self, number):
        return self.kv[number, 1]

    def integers(self, numbers):
        return self.torch.tensor(numbers, dtype=self.torch.int32, device="cuda")

    def paged(self, number, page):
        shape = (self.tree.num_slots() // page, page, self.kv_heads, HEAD_DIM)
        return self.key(number).reshape(*shape), self.value(number).reshape(*shape)

    def truth(self, query):
        """[heads, head_dim] in fp32."""
        torch, group = self.torch, self.heads // self.kv_heads
        slots = torch.tensor(self.tree.slots(query), dtype=torch.int64, device="cuda")
        key, value = self.key(0)[slots].float(), self.value(0)[slots].float()
        rows = self.query[query].float().reshape(self.kv_heads, group, HEAD_DIM)
        weights = torch.softmax(torch.einsum("kgd,tkd->kgt", rows, key) * self.scale, -1)
        return torch.einsum("kgt,tkd->kgd", weights, value).reshape(self.heads, HEAD_DIM)


def sets_of(set_bytes):
    return min(MAX_SETS, ALL_BYTES // set_bytes + 2)


class Sdpa:
    name, module = "SDPA", "torch"

    def __init__(self, case):
        tree, torch = case.tree, case.torch
        slots = torch.tensor([tree.slots(query) for query in range(tree.num_queries)], dtype=torch.int64, device="cuda")
        copy_bytes = 4 * tree.num_queries * len(tree.slots(0)) * case.kv_heads * HEAD_DIM
        self.num_sets = min(case.num_sets, sets_of(copy_bytes))
        self.case, self.query = case, case.query.reshape(tree.num_queries, case.heads, 1, HEAD_DIM)
        gather = lambda array: array[slots].transpose(1, 2).contiguous()  # [queries, kv_heads, tokens, head_dim]
        self.copies = [(gather(case.key(i)), gather(case.value(i))) for i in range(self.num_sets)]

    def call(self, number):
        case, (key, value) = self.case, self.copies[number]
        attention = case.torch.nn.functional.scaled_dot_product_attention
        out = attention(self.query, key, value, scale=case.scale, enable_gqa=case.heads != case.kv_heads)
        return out.reshape(case.tree.num_queries, case.heads, HEAD_DIM)


def page_lists(tree, page, lists):
    """indptr, indices and last_page_len of lists of nodes, as FlashInfer takes them."""
    indptr, indices = [0], []
    for nodes in lists:
        for node in nodes:
            indices += tree.pages(node, page)
        indptr.append(len(indices))
    return indptr, indices, [page] * len(lists)


class FlashInferPaged:
    name, module = "FlashInfer paged", "flashinfer"

    def __init__(self, case):
        flashinfer, self.case = importlib.import_module("flashinfer"), case
        self.num_sets, self.page = case.num_sets, case.tree.page_tokens()
        self.workspace = case.torch.empty(WORKSPACE_BYTES, dtype=case.torch.uint8, device="cuda")
        self.wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(self.workspace, "NHD", use_tensor_cores=True)
        lists = [case.integers(part) for part in page_lists(case.tree, self.page, case.tree.paths)]
        self.wrapper.plan(*lists, case.heads, case.kv_heads, HEAD_DIM, self.page, q_data_type=case.torch.float16)

    def call(self, number):
        return self.wrapper.run(self.case.query, self.case.paged(number, self.page))


class FlashInferCascade:
    name, module = "FlashInfer cascade", "flashinfer"

    def __init__(self, case):
        flashinfer, self.case, tree = importlib.import_module("flashinfer"), case, case.tree
        self.num_sets, self.page = case.num_sets, tree.page_tokens()
        self.workspace = case.torch.empty(WORKSPACE_BYTES, dtype=case.torch.uint8, device="cuda")
        self.wrapper = flashinfer.MultiLevelCascadeAttentionWrapper(len(tree.nodes), self.workspace, "NHD")
        levels = [range(tree.level_first[i], tree.level_first[i + 1]) for i in range(len(tree.nodes))]
        rows = [[0] + [tree.requests[node][-1] + 1 for node in level] for level in levels]
        pages = [page_lists(tree, self.page, [[node] for node in level]) for level in levels]
        columns = [[case.integers(level[i]) for level in pages] for i in range(3)]
        self.wrapper.plan([case.integers(level) for level in rows], *columns, case.heads, case.kv_heads, HEAD_DIM,
                          self.page, q_data_type=case.torch.float16)

    def call(self, number):
        return self.wrapper.run(self.case.query, self.case.paged(number, self.page))


class FastTreeNode:
    def __init__(self, tree, number):
        self.id, self.parent = number, tree.parent[number]
        self.seqlen = tree.first[number + 1] - tree.first[number]
        self.num_children = tree.parent.count(number)
        self.requests = list(tree.requests[number])


class FastTree:
    name, module = "FastTree", "fasttree"

    def __init__(self, case):
        self.case, tree, group = case, case.tree, case.heads // case.kv_heads
        self.module_, self.num_sets = importlib.import_module("fasttree"), case.num_sets
        self.tiles = [max(1, 64 // group), max(1, 16 // group)], [32, 32]
        params = self.module_.FastTreeParams()
        params.set_values(0.66, 0.33, 0.1)
        params.set_q_tile_sizes(list(self.tiles[0]))
        params.set_kv_tile_sizes(list(self.tiles[1]))
        params.set_kv_group_num(group)
        nodes = [FastTreeNode(tree, number) for number in range(len(tree.parent))]
        with contextlib.redirect_stdout(io.StringIO()):  # it prints
            self.lists, _ = self.module_.fasttree_preparation(
                nodes, list(tree.first), tree.num_queries, case.heads, case.kv_heads, HEAD_DIM, [1024, 128], [132, 528],
                [132, 132], params)
        self.out = case.torch.empty(tree.num_queries, case.heads, HEAD_DIM, dtype=case.torch.float16, device="cuda")

    def call(self, number):
        case = self.case
        self.module_.fasttree_decode(case.query, case.key(number), case.value(number), self.out, *self.lists, *self.tiles,
                                     case.scale)
        return self.out


PEERS = [Sdpa, FlashInferPaged, FlashInferCascade, FastTree]
ADVICE = {"torch": "pip install torch", "flashinfer": "pip install flashinfer-python",
          "fasttree": "clone github.com/PanZaifeng/FastTree-Artifact, then --fasttree FOLDER/kernel_bench"}


def version_of(name, module):
    version = getattr(module, "__version__", None)
    if version is None and name == "fasttree":
        folder = os.path.dirname(os.path.abspath(module.__file__))
        try:
            version = "commit " + subprocess.run(["git", "-C", folder, "rev-parse", "--short=12", "HEAD"], check=True,
                                                 capture_output=True, text=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            version = None
    return version or "of unknown version"


def look(names):
    """{module: version} of those that can be imported, {module: why} of the others."""
    there, lacking = {}, {}
    for name in names:
        try:
            there[name] = version_of(name, importlib.import_module(name))
        except Exception as error:  # a package that is half installed fails in many ways
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            lacking[name] = "%s (%s)" % (why, ADVICE[name])
    return there, lacking


# ---- measurement ----

def error_of(case, peer):
    """The largest error in some rows, in parts of the largest element."""
    out, worst = peer.call(0), 0.0
    for sample in range(SAMPLES):
        query = sample * 7919 % case.tree.num_queries
        truth = case.truth(query)
        difference = (out[query].float() - truth).abs().max().item() / truth.abs().max().item()
        worst = difference if math.isnan(difference) else max(worst, difference)
        if math.isnan(worst):
            break
    return worst


def time_us(torch, peer):
    """The median of the replays of a graph of a call on each set, per call."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        peer.call(0)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for number in range(peer.num_sets):
            peer.call(number)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    for replay in range(-WARM_UP, REPLAYS):
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        if replay >= 0:
            times.append(begin.elapsed_time(end) * 1000 / peer.num_sets)
    return statistics.median(times)


def measure(torch, case, kind):
    """(us, error), or a sentence that says why there is no time."""
    try:
        peer = kind(case)
        error = error_of(case, peer)
        if not error <= MAX_ERROR:
            return "wrong result, error %.1e" % error
        return time_us(torch, peer), error
    except Exception as error:  # whatever a peer does, the others are measured
        return "%s: %s" % (type(error).__name__, (str(error) or "no message").splitlines()[0])
    finally:
        torch.cuda.empty_cache()


# ---- output ----

def gpu_slug(name):
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("nvidia", "")).strip("_")


def rows_of(path):
    """The rows of a recorded csv, and its comment lines."""
    with open(path, newline="") as file:
        lines = file.read().splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return list(rows), [line for line in lines if line.startswith("#")]


def compare(times, device):
    """The best peer of each tree beside treeattn's recorded time."""
    rows, comments = rows_of(os.path.join(HERE, "figures", "gpu_trees.csv"))
    if not any(line.startswith("# device: %s," % device) for line in comments):
        print("figures/gpu_trees.csv is of another GPU: make measure records this one")
        return
    for heads, kv_heads in sorted({key[1:3] for key in times}, key=lambda pair: (-pair[0], pair[1])):
        ours, theirs, wins, count = 0.0, 0.0, 0, 0
        for row in rows:
            best = {peer: us for (tree, h, k, peer), us in times.items()
                    if (tree, h, k) == (row["tree"], heads, kv_heads)}
            if not best or (int(row["heads"]), int(row["kv_heads"])) != (heads, kv_heads):
                continue
            us, floor, mine = min(best.values()), float(row["floor_us"]), float(row["cold_us"])
            ours, theirs = ours + math.log(floor / mine), theirs + math.log(floor / us)
            wins, count = wins + (mine < us), count + 1
        if count:
            print("%d/%d heads, of %d recorded: treeattn reaches %.2f of the floor, the best of these peers %.2f; treeattn "
                  "is faster on %d" % (heads, kv_heads, count, math.exp(ours / count), math.exp(theirs / count), wins))


def write_all(path, lines):
    """The whole file or nothing."""
    part = "%s.part-%d" % (path, os.getpid())
    try:
        with open(part, "w") as file:
            file.write("".join(line + "\n" for line in lines))
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        sys.exit("peers.py: %s: %s" % (path, error.strerror))


def read_heads(text):
    pairs = []
    for part in text.split(","):
        match = re.fullmatch(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", part)
        if not match or int(match[1]) % int(match[2]):
            raise argparse.ArgumentTypeError("expected HEADS/KV, the first a multiple of the second, as in 32/8; got '%s'" % part)
        pairs.append((int(match[1]), int(match[2])))
    return pairs


def choose_trees(parser, trees, text):
    """Trees by name; a name may have a comma in it."""
    chosen, rest = [], text
    while rest:
        found = [tree for tree in trees if rest == tree.name or rest.startswith(tree.name + ",")]
        if not found:
            parser.error("--trees: expected names of figures/gpu_trees.cu, as in 'prefix 64'; got '%s'" % rest)
        chosen.append(max(found, key=lambda tree: len(tree.name)))
        rest = rest[len(chosen[-1].name):].lstrip(", ")
    return chosen


def main():
    parser = argparse.ArgumentParser(prog="peers.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=read_heads, default="32/8,32/32,16/1", metavar="LIST")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--trees", metavar="NAMES")
    which.add_argument("--tree", type=read_tree, metavar="TREE")
    parser.add_argument("--fasttree", metavar="FOLDER")
    parser.add_argument("--out", metavar="FILE")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    trees = read_trees(os.path.join(HERE, "figures", "gpu_trees.cu"))
    if options.trees:
        trees = choose_trees(parser, trees, options.trees)
    if options.tree:
        trees = [options.tree]
    if options.fasttree:
        sys.path.insert(0, options.fasttree)
    there, lacking = look(["torch", "flashinfer", "fasttree"])
    for name in sorted(there):
        print("there: %s %s" % (name, there[name]))
    for name in sorted(lacking):
        print("lacking: %s: %s" % (name, lacking[name]), file=sys.stderr)
    if options.check:
        return 0
    if "torch" not in there:
        sys.exit("peers.py: nothing measured: every peer needs torch")
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        sys.exit("peers.py: nothing measured: torch finds no GPU")
    device = torch.cuda.get_device_name()
    kinds = [kind for kind in PEERS if kind.module in there]
    lines = ["# device: %s; CUDA %s" % (device, torch.version.cuda), "# command: scripts/peers.py",
             "# peers: " + ", ".join("%s (%s %s)" % (kind.name, kind.module, there[kind.module]) for kind in kinds)]
    lines += ["# lacking: %s" % name for name in sorted(lacking)]
    lines += ["# statistic: median of %d replays of a CUDA graph, us per call; cold: K and V sets rotated, 600 MB in all and "
              "at most %d sets; planning on the host is not in it" % (REPLAYS, MAX_SETS),
              "# fp16, head_dim %d, one query per leaf; max_error: in parts of the largest element, some rows" % HEAD_DIM]
    rows, times = [], {}
    for heads, kv_heads in options.heads:
        for tree in trees:
            case = Case(torch, tree, heads, kv_heads)
            for kind in kinds:
                result = measure(torch, case, kind)
                what = "%s, %d/%d heads, %s" % (tree.name, heads, kv_heads, kind.name)
                if isinstance(result, str):
                    lines.append("# left out: %s: %s" % (what, result))
                    print("left out: %s: %s" % (what, result), file=sys.stderr)
                    continue
                times[tree.name, heads, kv_heads, kind.name] = result[0]
                rows.append('"%s",%d,%d,%s,%.1f,%.1e' % (tree.name, heads, kv_heads, kind.name, *result))
                print("%s: %.1f us" % (what, result[0]))
            del case
    if not rows:
        sys.exit("peers.py: nothing measured: every peer was left out")
    path = options.out or os.path.join(HERE, "docs", "peers_all_%s.csv" % gpu_slug(device))
    write_all(path, lines + ["tree,heads,kv_heads,peer,us,max_error"] + rows)
    compare(times, device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
