"""What the texts of notebooks/ say in words of their own: numbers and comparisons that no output shows, and the answers
under "Change and try". Each is computed again, from the notebook's source with that change, and the sentence has to be
there: so a csv that is recorded again cannot leave a sentence behind."""
import contextlib
import functools
import io
import os
import re
import sys

from python_checks import SOURCE, check, done

FOLDER = os.path.join(SOURCE, "notebooks")
sys.path.insert(0, FOLDER)
import picture  # noqa: E402
import start  # noqa: E402

picture.gnuplot = lambda *arguments, **options: None
start.program = functools.lru_cache(None)(start.program)  # each search once
sources, texts = {}, {}
for name in sorted(os.listdir(FOLDER)):
    if re.match(r"\d\d_.*\.py$", name):
        with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
            sources[int(name[:2])] = file.read()
for number, source in sources.items():
    texts[number] = " ".join(re.sub(r"(?m)^# ?", "", source).split())


class Cells(dict):
    """The names of a notebook after its cells, as attributes; printed: its text."""
    __getattr__ = dict.__getitem__


def run(number, *changes, until=None):
    """Runs a notebook with changes (old, new), up to a heading."""
    source = sources[number]
    for old, new in changes:
        if source.count(old) != 1:
            check(f"notebook {number} has, once", old, source.count(old))
        source = source.replace(old, new)
    if until:
        source = source[:source.index(f"# ## {until}\n")]
    cells, out = Cells(), io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, f"notebook {number}", "exec"), cells)  # pylint: disable=exec-used
    cells["printed"] = out.getvalue()
    return cells


def promise(number, sentence, holds=True):
    """The text has this sentence, and it holds."""
    check(f"{number}: {sentence}", (True, True), (" ".join(sentence.split()) in texts[number], bool(holds)))


# ---- 1 ----

one = run(1)
steps = one.play(one.game)
most = [max(counts) for _, _, counts, _ in steps]
tables, used = [step[0] for step in steps], [step[1] for step in steps]
promise(1, f"Step 35 begins with a prune that leaves 5 of {most[33]} branches, and these fork into {most[34]}: the upper "
        "line leaps, the lower one even falls.", tables[34] > 2 * tables[33] and used[34] < used[33])
promise(1, f"Step 65 begins with a prune that leaves 5 of {most[63]}, which fork into {most[64]}.", used[63] == max(used))
rows = {row[0]: row for row in one.lines}
promise(1, f"Blocks of 16 take {rows[16][2] / rows[1][2]:.1f} times the slots of blocks of one token, and a fifteenth of the "
        "table entries.", round(rows[1][4] / rows[16][4]) == 15)
small = run(1, ("num_blocks, block_tokens = 6, 4", "num_blocks, block_tokens = 12, 2"), until="Prune")
large = run(1, until="Prune")
filled = [int((cells.memory >= 0).sum()) for cells in (small, large)]
promise(1, f"each token is stored once: before the prune {filled[0]} slots are filled, not {filled[1]}.",
        small.printed.count("copied []") == 2)
early = run(1, ("branch_1 = branch_0.fork()", "branch_1 = branch_0.fork(4)"), until="Prune")
promise(1, "Branch 1 lists block 0 alone and has 4 tokens. Branch 0 writes into block 1 in place",
        "branch 0 [0 1]  branch 1 [0]\n" in early.printed and "branch 0 [0 1 2]  copied []\n" in early.printed)
wide = run(1, ("breadth=5", "breadth=10"))
promise(1, f"The solution is the same; there are {len(wide.game.thoughts)} thoughts instead of {len(one.game.thoughts)}, and "
        f"{wide.before[1]} blocks at the peak instead of {one.before[1]}. With copies it would be {wide.before[0]}.",
        wide.game.solution == one.game.solution)

# ---- 2 ----

two = run(2)
limits = [two.ta.Plan(two.trees[64], name).config["max_rows"] for name in ("node", "node_chunk", "flatten", "cost")]
promise(2, "a limited number of queries, 32, or 16 in `cost`, so 64 branches load the prefix twice or four times",
        limits == [32, 32, 32, 16])
promise(2, "Only `tree_mask` loads each token once.", [row["plan_bytes"] == two.trees[64].unique_tokens * two.token_bytes
                                                       for row in two.rows] == [n == "tree_mask" for n in two.ta.STRATEGIES])
promise(2, "If it is below 4, even a single branch", two.token_flop / two.token_bytes == 4)
all_heads = run(2, ("kv_heads, head_dim, element = 32, 8,", "kv_heads, head_dim, element = 32, 32,"))
promise(2, "4 times the bytes, the same operations, and 1 FLOP per byte. (The recorded steps have 8 KV heads: now 0 of 8",
        (all_heads.token_bytes, all_heads.token_flop) == (4 * two.token_bytes, two.token_flop) and not any(all_heads.same))
promise(2, "in `tree_of`: all branches see the same 2048 tokens. Then S / U is the number of branches, and one pass for 64 "
        "branches does 256 FLOP per byte.", run(2, ("own=64", "own=0")).intensity(64, "cost") == 256)
alone = run(2, ("prefix=2048", "prefix=0"))
promise(2, "S / U is 1, and grouping saves nothing.", {row["plan_bytes"] for row in alone.rows} ==
        {alone.trees[64].path_tokens * alone.token_bytes})

# ---- 3 ----

PLANS = 'plans = {name: ta.Plan(large, name) for'
three = run(3, until="More workers")
balance = lambda cells, name: 100 * cells.even(dict(cells.strips)[name]) / cells.end(dict(cells.strips)[name])
end = lambda cells, name: cells.end(dict(cells.strips)[name])
fine, coarse = (run(3, (PLANS, f'plans = {{name: ta.Plan(large, name, piece_tokens={n} * (name == "node_chunk")) for'),
                    until="More workers") for n in (32, 256))
promise(3, f"a balance of {balance(fine, 'node_chunk'):.0f} % instead of {balance(three, 'node_chunk'):.0f}. But each item "
        f"costs 49,152 bytes to start, and the last worker ends at {end(fine, 'node_chunk'):.0f} KiB instead of "
        f"{end(three, 'node_chunk'):.0f}. Try 256, too: {end(coarse, 'node_chunk'):.0f}.")
with open(os.path.join(SOURCE, "gpu", "plan_queue.h"), encoding="utf-8") as file:
    promise(3, "49,152 to start an item", "49152" in file.read())
equal = run(3, ("[32 * (i + 1) for i in range(16)]", "[32] * 16"), until="More workers")
promise(3, f"The balance of `node` falls to {balance(equal, 'node'):.0f} %, one long item and 16 tiny ones; `node_chunk` "
        f"reaches {balance(equal, 'node_chunk'):.0f} %", equal.plans["node"].num_items == 17)
unsorted = run(3, ("sorted(plan.items, key=price, reverse=True)", "plan.items"), until="More workers")
promise(3, f"`node_chunk` ends later, at {end(unsorted, 'node_chunk'):.0f} KiB instead of {end(three, 'node_chunk'):.0f}")
promise(3, "The other four do not change.",
        all((end(unsorted, n) == end(three, n)) == (n != "node_chunk") for n in three.plans))
whole = run(3)
promise(3, "a MB of an item with several queries takes longer than one of a single query.",
        max(us / mb for (_, n), (mb, us) in whole.pairs.items() if n in whole.ta.STRATEGIES[:3]) <
        min(us / mb for (_, n), (mb, us) in whole.pairs.items() if n in whole.ta.STRATEGIES[3:]))
promise(3, "in each tree its longest strip is the prefix", len({whole.pairs[n, "node"][0] for n in (20, 30, 50)}) == 1)

# ---- 4 ----

four = run(4)
first = run(4, ("TOKENS = list(range(9))", "TOKENS = [2, 0, 1, 3, 4, 5, 6, 7, 8]"), until="Any order")
promise(4, "It is 0 for the first token, then always 1. The last line is the same.", [row[3] for row in first.lines] ==
        [0] + [1] * 8 and first.lines[-1][4:] == run(4, until="Any order").lines[-1][4:])
sharp = run(4, ("def key(t):", "QUERY = QUERY * 20\ndef key(t):"), until="float against double")
promise(4, "2 and 6, with equal weights: out[0] is 4.", abs(sharp.out_of(sharp.run(sharp.TOKENS))[0] - 4) < 1e-6)
promise(4, "Without m the sums overflow already.", "+  700: without m nan" in sharp.printed and
        "+  700: without m 3" in four.printed)
for cells in four, sharp:
    states = [cells.states[item.first_partial] for item in cells.plan.items[:2]]
    promise(4, "by the cells above, are the two states of query 0", [(s.m, round(s.l, 12)) for s in states] ==
            [(s[0], round(s[1], 12)) for s in (cells.node_0, cells.node_1)])
half = run(4, ("DTYPE = np.float32", "DTYPE = np.float16"), ("2 * rng.standard", "0 * rng.standard"))
errors = dict(zip(half.lengths, (error * half.EPS for error in half.alone)))
promise(4, "Behind 1024 tokens: in fp16, 2048 + 1 is 2048 again, so l stops there. The error is then about 1",
        errors[1024] < 0.01 and abs(errors[4096] - 1) < 0.02 and max(half.sliced) < 4)
promise(4, "which is nearly the same, and at the lower line, which stops rising at 64 tokens.",
        max(four.sliced) == four.sliced[four.lengths.index(64)] and 0.2 < four.alone[-1] / four.alone[0] / 64 < 5)

# ---- 5 ----

five, warm = run(5), run(5, ('STATE = "cold"', 'STATE = "warm"'))
promise(5, "the line passes the dashed one, by little", 1 < five.rate("radix", "plan_bytes")[-1] / five.memory < 1.2)
promise(5, "Up to 16 branches the memory delivers every stored byte once",
        all((ratio < 1.01) == (n <= 16) for n, ratio in zip(five.branches, five.more)))
hits = list(zip(five.predicted, five.column("radix", "l2_hit_percent")))
promise(5, "From four branches on, it counts fewer hits than predicted.", all((a > b) == (i > 1) for i, (a, b) in enumerate(hits)))
promise(5, "per-branch reading stays below it", max(five.rate("radix", "plan_bytes")) < five.l2)
promise(5, "it lies *below* the red one", five.rate("cost", "plan_bytes")[-1] < five.rate("radix", "plan_bytes")[-1])
promise(5, "one pass exceeds the memory and the cache", five.rate("cost", "logical_bytes")[-1] > max(five.l2, five.memory))
promise(5, "No measured time is below its bound. But no row reaches 1 either",
        all(b < us for plan in ("radix", "cost") for b, us in zip(five.bounds(plan), five.column(plan, "us"))))
promise(5, "Line 2 falls out of the picture up to 64 branches",
        all((rate < 100) == (n <= 64) for n, rate in zip(warm.branches, warm.rate("radix", "dram_bytes"))))
promise(5, "the largest gain is below a tenth", max(1 - w / c for plan in ("radix", "cost") for w, c in
                                                   zip(warm.column(plan, "us"), five.column(plan, "us"))) < 0.1)
orders = five.one_after_another, five.in_turns, five.one_pass
promise(5, "From 6 lines on all three are equal", [len({five.delivered(o, n) for o in orders}) == 1 for n in five.sizes] ==
        [n >= 6 for n in five.sizes])
shared = run(5, ("TABLES = [[0, 2, 3], [0, 1, 4]]", "TABLES = [[0, 1, 2], [0, 1, 3]]"))
room = [min(n for n in shared.sizes if shared.delivered(o, n) == 8) for o in (shared.one_after_another, shared.in_turns)]
promise(5, f"One after another {room[0]} lines, as before; in turns only {room[1]}")
code = re.search(r"`in_turns = (\[line for blocks in [^`]*\])`", texts[5]).group(1)
promise(5, "How many lines does memory deliver to a cache of 2 lines now? (10:", five.delivered(eval(code, five), 2) == 10)

# ---- 6 ----

six, flash = run(6), run(6, ('PLAN = "cost"', 'PLAN = "flash"'))
gains = {tree.split()[0]: [None] + [a / b for a, b in zip(times, times[1:])] for tree, times in zip(six.trees, six.by_tree)}
promise(6, "splitting the tokens gains much more than on 64 branches, tensor cores much less.",
        gains["1"][2] > 2 * gains["64"][2] and gains["1"][4] < gains["64"][4] / 2)
promise(6, "In the plan of this tree each query has a single partial state", all(
    row["partials"] == row["queries"] for row in six.rungs("512 leaves on four levels", "cost")) and gains["512"][7] <= 1)
promise(6, "three lines flatten out. Only the single branch gains much by the last rungs",
        [times[10] / times[13] > 1.2 for times in six.by_tree] == [tree.startswith("1 branch") for tree in six.trees])
promise(6, "Rung 3 is the first that loads a token once for its item.", max(six.measured[:3]) < 1.25 < six.measured[3])
promise(6, "near 1, or even below", min(six.measured[:3]) < 1)
promise(6, "No rung reaches the upper line", max(six.measured) < six.predicted)
promise(6, "and for the one that goes up by far", [n for n in six.numbers[1:] if six.gains[n] < 0.9] == [3])
promise(6, "Tensor cores gain less than half as much, the queue more than twice as much. Rung 10 loses",
        flash.gains[4] < six.gains[4] / 2 and flash.gains[6] > 2 * six.gains[6] and flash.gains[10] < 1)
mask = run(6, ('rungs(TREE_2, "radix")', 'rungs(TREE_2, "tree_mask")'))
promise(6, "no plan loads fewer bytes. Does it win? (On no rung", min(mask.measured) > 1 and mask.radix[0]["plan_bytes"] ==
        min(row["plan_bytes"] for row in mask.rows if row["tree"] == mask.TREE_2))
nine = run(6, ('{"A": 3, "B": 3, "C": 3, "D": 4, "E": 5}', '{"A": 1, "B": 1, "C": 1, "D": 9}'), ('"ABCDE"', '"ABCD"'))
promise(6, "It ends after 9 tiles instead of 10. Now D alone decides. Only a cut would help: 4 tiles",
        re.findall(r"after (\d+) tiles|: (4\.0) tiles", nine.printed) == [("10", ""), ("9", ""), ("", "4.0")])

# ---- 7 ----

SHORT = ('"topics_short", 512', '"topics_short", 128'), ("[32, 64, 128, 256]", "[32]")  # the tree has streams of its own
seven = run(7, *SHORT)
by_error = sorted(seven.TOKENS, key=lambda t: seven.measured[t])
by_measure = sorted(seven.TOKENS, key=lambda t: seven.importance[t])
promise(7, "Token 3 is the first in both. Then they differ: from left to right token 1 comes next, but from bottom to top "
        "tokens 7, 4 and 5 come before it.", by_error[:5] == [3, 7, 4, 5, 1] and by_measure[:2] == [3, 1])
most = {name: found[1] for name, found in seven.runs.items()}
aware = [most[name] for name in ("weight", "norm x weight", "exact error")]
promise(7, "there the other three differ. At 4 even the exact error is not the best, by little",
        all(len({round(e[i], 9) for e in aware}) > 1 for i in (1, 2, 3, 4)) and aware[0][3] < aware[2][3] < 1.2 * aware[0][3])
promise(7, "At 6 the three have deleted the same tokens.", len({round(e[5], 9) for e in aware}) == 1)
promise(7, "tokens 2 and 6 are left", all(set(seven.TOKENS) - set(seven.runs[n][0]) == {2, 6} for n in list(most)[1:]))
own = run(7, ('    "weight": lambda', '    "distance": lambda a, v, out: np.linalg.norm(v - out, axis=1),\n    "weight": lambda'),
          until="A long answer under a budget").runs["distance"]
promise(7, "After 4 deletions it is far worse: token 2 is gone", own[1][3] > 4 * aware[0][3] and 2 in own[0][:4])
promise(7, "After 5 and 6 it is better, by luck", own[1][4] < aware[0][4] and own[1][5] < aware[0][5])
promise(7, "Up to 80 tokens, `mask` and `vote` save no block", all(
    (seven.forests[scope][0][:81] == seven.forests["no eviction"][0][:81]) and
    seven.forests[scope][0][81] < seven.forests["no eviction"][0][81] for scope in ("mask", "vote")))
promise(7, "each branch keeps a single token of its own", seven.forests["private"][1] == seven.PREFIX + 1)
roomy = run(7, *SHORT, ("TREE_BUDGET = 4, 128, 128, 96", "TREE_BUDGET = 4, 128, 128, 160"))
worse, better = (dict((line[0], line[4]) for line in cells.lines)["private"] for cells in (seven, roomy))
promise(7, "each branch has room for 32 tokens of its own, and the error falls to a fiftieth. It needs half as many blocks as "
        "without eviction.", 45 < worse / better < 56 and roomy.forests["private"][1] == 160 and
        2 * roomy.forests["private"][0][-1] == roomy.forests["no eviction"][0][-1])
slow = run(7, ('"topics_short", 512', '"stationary_slow", 512'), until="The kept set")
mean = {name: slow.errors(slow.decode(name, slow.BUDGET)[0])[slow.BUDGET:].mean() for name in
        ("random", "sink_window", "longflow", "exact_deletion", "h2o")}
promise(7, "LongFlow and `exact_deletion`: the present query is a good guess of the next ones. `h2o` errs more",
        set(sorted(mean, key=mean.get)[:2]) == {"longflow", "exact_deletion"} and mean["h2o"] > 2 * mean["longflow"])
long_run = run(7, until="The kept set")
ends = {name: found.mean() for name, found in ((n, long_run.errors(o)[long_run.BUDGET:]) for n, (o, _) in long_run.outs.items())}
promise(7, "At step 320 topic 11 returns, the only one that has been there before", long_run.topics[320] == 11 and
        len({long_run.topics[t] for t in [0] + long_run.changes}) == len(long_run.changes))
promise(7, "has kept more of them than LongFlow", ends["h2o"] < ends["longflow"])

# ---- 8 ----

eight = run(8)
own, search = eight.thoughts, eight.tree["search"]
promise(8, "The model sees after its first thought that the chain is lost", eight.chain["thoughts"][0]["value"] < 0.005)
promise(8, f"The {search['tokens'] - len(eight.characters)} characters that are missing", search["steps"] == len(eight.steps))
level_1 = eight.steps[:eight.starts[2]]
promise(8, "*Look at level 1:* the two lines lie on each other.", all(copies == used for copies, used in level_1))
promise(8, "The prompt of 9 characters does not fill a block of 16", len("W" + eight.CARDS + "n") == 9)
peaks = [max(range(len(eight.steps)), key=lambda i: eight.steps[i][number]) for number in (0, 1)]
promise(8, "and both lines have their peak there.", all(eight.starts[2] <= at < eight.starts[3] for at in peaks))
saved = [copies - used for copies, used in eight.steps]
promise(8, "Level 3 saves most: its branches share two kept thoughts.", max(saved[:eight.starts[3]]) < max(saved))
promise(8, "three thoughts are kept, as always, though two of them have a value near 0. (`8/1/3`", [t["value"] < 0.005
        for t in own if t["level"] == 1 and t["fate"] == "kept"] == [True, True, False] and own[-11]["text"].startswith("8/1/3"))
guess = re.search("([0-9.]+) times fewer", eight.printed).group(1)
by_size = {size: row for size, *row in eight.sizes}
promise(8, f"The prediction was {guess} times fewer tokens.", by_size[1][2] > float(guess) > by_size[16][2])
reads = {run["memory"]: run["plan_bytes"] for run in eight.tree["runs"]}
promise(8, "Sharing alone saves memory and copying, but no reading. Grouped reading loads a third less.",
        reads["copied"] == reads["shared"] and round(3 * reads["grouped"] / reads["shared"]) == 2)
promise(8, "(The peaks are those of `play`", [run["peak_blocks"] for run in eight.tree["runs"]][:2] == by_size[16][:2])
promise(8, "Products take most of the time in every search", all(row["products"] > 0.5 for row in eight.SEARCHES.values()))
promise(8, "which share grows when the tree gets wider?", eight.SEARCHES["chain"]["attention"] <
        eight.SEARCHES["tree, 5 of 8"]["attention"])
promise(8, "With this model plan `cost` gains next to nothing", [gain[2] < 1.1 for gain in eight.gains.values()] == [True] + 3 * [False])
promise(8, "its 64 branches share only 100 tokens", "64 branches behind 100 tokens" in open(os.path.join(SOURCE, "figures/decoding.csv")).read())
promise(8, "There attention is much of a step, and grouped reading comes near to the best", all(
    gain[2] > 0.8 * gain[3] > 1 for gain in list(eight.gains.values())[1:]))
text = [line["text"] for line in eight.written["lines"]]
promise(8, "The first eight lines are the list. `2 6 14: ...` follows the first line of the list, and fails: none of the five "
        "results behind it is 24. `2 6 9: ...` follows the second line.",
        all(line.startswith("2 2 6 7: ") for line in text[:8]) and text[0].endswith(">2 6 14") and text[1].endswith(">2 6 9") and
        text[8].startswith("2 6 14: ") and len(text[9].split()) == 7 and text[10].startswith("2 6 9: ") and text[-1][-1] == "!")
ways = {name: [row for row in eight.ways if row[1] == name] for name in eight.WAYS}
promise(8, "The written-out search takes a step for each of its characters, and in each step it reads its whole text. The tree "
        "takes about as many steps as the chain, for at least three times as many tokens.",
        all(steps == tokens for *_, steps, tokens, _, _ in ways["written out"]) and
        all(0.8 < tree[3] / chain[3] < 1.3 and tree[4] > 3 * chain[4] for tree, chain in
            zip(ways["tree, 2 of 5"], ways["chain"])) and
        all(long[6] > 5 * short[6] for long, short in zip(ways["written out"], ways["tree, 2 of 5"])))
characters = sum(count for count, _ in eight.kinds(eight.written["lines"])) - 1  # no new line at the end
promise(8, f"The text above has {characters} characters", characters == eight.written["tokens"] + 1)  # "!" is not read again
part = [round(100 * budget / characters) for _, budget in eight.RUNS]
promise(8, "with a budget of 206 (three quarters) or 137 (a half)", part == [75, 75, 75, 50, 50])
join = lambda found: "\n".join(["S" + eight.LISTED] + [line["text"] for line in found["lines"]])
promise(8, "up to there nothing is forgotten, and all texts are equal.", all(
    join(found)[:budget] == join(eight.written)[:budget] for (_, budget), found in eight.forgetful.items()))
promise(8, "(A text ends after 1024 characters at the latest.) Each of the three that fail", max(
    found["tokens"] for found in eight.forgetful.values()) == 1024 and [found["solved"] for found in eight.forgetful.values()]
    == [True, True, False, False, False])
window, flow = eight.forgetful["sink_window", 137]["lines"], eight.forgetful["longflow", 137]["lines"]
promise(8, "keeps whole lines, so all it writes is legal. But it no longer sees the beginning of the list, writes the same "
        "thoughts again, and never begins to follow one.", all(line["legal"] for line in window[:-1]) and  # the last is cut off
        all(line["text"].startswith("2 2 6 7: ") for line in window[:-1]) and len({line["text"] for line in window}) < len(window) / 2)
promise(8, "it writes `2 6 6`, where the list had `2 6 14`, and \"finds\" 24.", flow[8]["text"].startswith("2 6 6: ") and
        flow[0]["text"].endswith(">2 6 14") and flow[-1]["text"].endswith("24!") and not flow[-1]["legal"])
promise(8, "so half of it holds most texts as a whole", eight.share["stop"][2] > 50)
at_65, tree_5_8 = eight.MEANS["exhaustive, 65"], eight.MEANS["tree, 5 of 8"]
promise(8, "With few nodes the model makes the difference. But the last line is a warning", tree_5_8["share"] > 2 *
        at_65["share"] and eight.MEANS["exhaustive, 2000"]["share"] > tree_5_8["share"])
wide = run(8, ("KEPT, PROPOSALS = 3, 6", "KEPT, PROPOSALS = 5, 8"), until="What the search has read")
copies, shared_blocks = ([run["peak_blocks"] for run in wide.tree["runs"]])[:2]
promise(8, f"({len(wide.thoughts)} instead of {len(own)}. At the peak {shared_blocks} blocks instead of {copies} in copies, "
        f"{copies / shared_blocks:.2f} times fewer", wide.sizes[2][1:3] == (copies, shared_blocks))
small = run(8, ("str(PROPOSALS))", 'str(PROPOSALS), "--block-tokens", "4")'), until="Where the time of a step goes").tree["runs"]
promise(8, f"({small[0]['peak_blocks']} and {small[1]['peak_blocks']} blocks, as in the table. It loads less.)",
        [run["peak_blocks"] for run in small][:2] == by_size[4][:2] and small[2]["plan_bytes"] < reads["grouped"])
h2o = eight.think(eight.LISTED, "--search", "--evict", "h2o", "--budget", "206")["search"]
promise(8, "(No. It follows the first thought of the list twice, then invents numbers", not h2o["solved"] and
        [line["text"].split(":")[0] for line in h2o["lines"][8:12:2]] == 2 * ["2 6 14"] and not h2o["lines"][-1]["legal"])
searches = [eight.tree, wide.tree, eight.think(eight.CARDS, "--chain")] + [
    eight.think(cards, *options) for cards in eight.SETS for options in eight.WAYS.values()]
check("8: each choice is at least 20 x 6e-5 away from another one", [], [
    found["cards"] for found in searches if found["search"]["margin_logits"] < 20 * 6e-5])
done()
