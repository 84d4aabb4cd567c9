#!/bin/bash
# Claim: the reasoner's training texts obey the rules of the game, their value words are right, no held-out card set is
# among them, and a weights file is read back as it was written or refused. Where PyTorch is installed: the network
# decodes character by character as it reads whole texts, and proposals are exact draws without replacement.
# Not sanitized: it runs nothing of the build.
set -uo pipefail
: "${TREEATTN_SOURCE_DIR:=$(cd "$(dirname "$0")/.." && pwd)}"
export PYTHONDONTWRITEBYTECODE=1
command -v python3 >/dev/null || { echo "skip test_train no python3"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

check() { # NAME: the program on standard input
    if { echo "import sys; sys.path.insert(0, '$TREEATTN_SOURCE_DIR/model'); work = '$work'"; cat; } >"$work/check.py" &&
        "${python:-python3}" "$work/check.py"; then
        echo "pass $1"
    else
        echo "FAIL $1"
        failed=$((failed + 1))
    fi
}

check text <<'PY'
import random, re, zlib
from fractions import Fraction
from functools import lru_cache
import game

# A second opinion, with Python's fractions, negative numbers allowed.
@lru_cache(None)
def reaches(numbers):
    if len(numbers) == 1:
        return numbers[0] == 24
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            if i != j:
                rest = [c for k, c in enumerate(numbers) if k not in (i, j)]
                made = {a + b, a - b, a * b} | ({a / b} if b else set())
                if any(reaches(tuple(sorted(rest + [c]))) for c in made):
                    return True
    return False

def numbers_of(text):
    numbers = tuple(Fraction(number) for number in text.split(" "))
    assert list(numbers) == sorted(numbers) and " ".join(map(str, numbers)) == text, text
    return numbers

def is_step(step, state, after):
    """Some reading of the step takes two numbers of the state and leaves after."""
    left, result = step.split("=")
    for place, sign in enumerate(left):
        if sign not in "+-*/" or not re.fullmatch(r"\d+(/\d+)?\D\d+(/\d+)?", left[:place] + " " + left[place + 1:]):
            continue
        a, b = Fraction(left[:place]), Fraction(left[place + 1:])
        rest = list(state)
        if a not in rest or (rest.remove(a), b not in rest)[1] or (sign == "/" and not b):
            continue
        rest.remove(b)
        made = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else None}[sign]
        if str(made) == result and made >= 0 and (sign == "/" or a >= b) and (after is None or tuple(sorted(rest + [made])) == after):
            return True
    return False

def check_walk(text):
    prompt, *lines, end = text.split("\n")
    here = numbers_of(prompt[1:])
    assert prompt[0] == "W" and end == "" and len(lines) == 3, text
    for line in lines:
        step, after = line[:-1].split(">")
        assert is_step(step, here, numbers_of(after)), line
        here = numbers_of(after)
        assert line[-1] == ("y" if reaches(here) else "n"), line

def check_search(text):
    prompt, *lines, end = text.split("\n")
    assert prompt[0] == "S" and end == "" and lines[-1].endswith("=24!") and len(text) <= 1000, text
    reached, listed, followed = {prompt[1:]}, [], []
    for line in lines:
        state, thought = line.split(": ")
        assert state in reached, line
        if len(numbers_of(state)) == 2:
            steps = thought.rstrip("!").split(" ")
            assert all(is_step(step, numbers_of(state), None) for step in steps) and len(set(steps)) == len(steps), line
            assert line is lines[-1] or (not any(step.endswith("=24") for step in steps) and len(steps) >= 4), line
        else:
            step, after = thought.split(">")
            assert is_step(step, numbers_of(state), numbers_of(after)), line
            reached.add(after)
            (listed if state == prompt[1:] else followed).append(after if state == prompt[1:] else state)
    assert len(set(listed)) == len(listed) <= 8 and followed == listed[:len(followed)], text

sets = game.card_sets()
held = [state for state in sets if game.is_held_out(state)]
solvable = game.held_out_solvable()
assert (len(sets), sum(game.node(state).reaches for state in sets)) == (1820, 1362)
assert game.is_held_out(game.card_state((4, 9, 10, 13))) and not game.is_held_out(game.card_state((4, 9, 10, 20)))
page = open(f"{sys.path[0]}/README.md").read()
assert f"That is {len(held)} sets; {len(solvable)} of them can reach 24" in page
for state in random.Random(1).sample(sets, 40):
    assert game.node(state).reaches == reaches(tuple(Fraction(*number) for number in state)), state

fences = re.findall(r"```text\n(.*?)```", page, re.S)
assert fences[0] == game.VOCABULARY.replace("\n", "\\n") + "\n"
check_walk(next(fence for fence in fences if fence.startswith("W")))
check_search(next(fence for fence in fences if fence.startswith("S")))

rows, waiting = game.Rows(1, wide_share=0.0), []
text = "".join(rows.row(waiting) for _ in range(60))
assert len(text) == 60 * (game.CONTEXT + 1) and set(text) <= set(game.VOCABULARY)
texts = re.findall(r"[WS][^WS]*?(?:\n(?=\n|[WS]|$))", text)
texts = [re.sub(r"\n+$", "\n", found) for found in texts]
hidden = {game.state_text(state) for state in held}
for found in texts:
    assert found[1:found.index("\n")] not in hidden, found
    check_walk(found) if found[0] == "W" else check_search(found)
assert sum(found[0] == "W" for found in texts) > 300 and sum(found[0] == "S" for found in texts) > 50
assert not any(state in set(held) for states in rows.sets.values() for state in states)
assert game.Rows(1, wide_share=0.0).row([]) == text[:game.CONTEXT + 1]
wide = game.card_state((2, 15, 18, 20))
check_walk(game.walk(wide, random.Random(2)))
PY

check weights <<'PY'
import array, random
import game, weights
rng = random.Random(3)
header = dict(vocabulary=game.VOCABULARY, layers=1, width=4, heads=2, kv_heads=1, head_dim=2, hidden=3, rope_base=10000.0,
              norm_eps=1e-5, context=64, command="none", commit="none", seed=3, split=game.SPLIT)
values = {name: array.array("f", [rng.gauss(0, 1) for _ in range((rows or 1) * columns)])
          for name, rows, columns in weights.tensors(header)}
values["layers.0.wo"] = array.array("f", [0.0] * 16)
path = f"{work}/random.weights"
weights.write(path, header, values)
back_header, back = weights.read(path)
assert back_header["vocabulary"] == game.VOCABULARY and list(back) == list(values)
for name, rows, columns in weights.tensors(header):
    for row in range(rows or 1):
        old, new = (v[name][row * columns:(row + 1) * columns] for v in (values, back))
        limit = max(map(abs, old)) / 127 * 0.5001 if rows else 0
        assert all(abs(a - b) <= limit for a, b in zip(old, new)), name
data = open(path, "rb").read()

def refused(damaged):
    open(f"{work}/damaged.weights", "wb").write(damaged)
    try:
        weights.read(f"{work}/damaged.weights")
    except weights.Damaged as error:
        return "damaged.weights: " in str(error)
assert all(refused(data[:length]) for length in range(len(data)))
assert all(refused(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1:]) for place in range(len(data)))
assert refused(data + b"x")

class Full(array.array):                # fails while the file is being written: nothing may be left
    def tobytes(self):
        raise OSError("no space")
values["final_norm"] = Full("f", values["final_norm"])
import os
try:
    weights.write(f"{work}/none.weights", header, values)
    raise AssertionError("written")
except OSError:
    assert not [name for name in os.listdir(work) if name.startswith("none")]
PY

trained=$TREEATTN_SOURCE_DIR/model/reasoner.weights
if [ -e "$trained" ]; then
    check reasoner <<'PY'
import csv, os
import game, weights
path = f"{sys.path[0]}/reasoner.weights"
header, values = weights.read(path)
assert os.path.getsize(path) <= 6_000_000 and header["vocabulary"] == game.VOCABULARY and header["split"] == game.SPLIT
recorded = open(path[:-7] + "csv").read()
assert header["command"].startswith("python3 model/train.py ") and header["crc32"] in recorded
page = open(f"{sys.path[0]}/README.md").read()
for row in csv.DictReader(line for line in recorded.splitlines() if line[0] != "#"):
    shares = [f"{100 * float(row[key]):.1f} %" if row[key] else "" for key in ("share", "legal_share", "value_share")]
    line = f"|{row['way']}|{row['solved']} of {row['sets']}|{shares[0]}|{row['nodes']}|{shares[1]}|{shares[2]}|"
    assert line in page, line
PY
fi

# The first python3 that has PyTorch.
while read -r python; do
    "$python" -c 'import torch' 2>/dev/null && break
done < <([ -z "${TREEATTN_TORCH_PYTHON:-}" ] || echo "$TREEATTN_TORCH_PYTHON"; type -aP python3)
if ! "${python:-false}" -c 'import torch' 2>/dev/null; then
    echo "skip network PyTorch is not installed"
    exit $((failed > 0))
fi

check network <<'PY'
import math
from collections import Counter
import torch
import game, search, transformer
torch.manual_seed(4)
trained = transformer.Transformer(transformer.Shape(layers=2, width=64, heads=2, kv_heads=1, head_dim=32, hidden=128))
for parameter in trained.parameters():
    parameter.data *= 3
path = f"{work}/network.weights"
transformer.save(trained, path, "none", "none", 4)
model, header = transformer.load(path)                       # rounded
for (name, before), (_, after) in zip(trained.named_parameters(), model.named_parameters()):
    limit = before.abs().amax(-1, keepdim=True) / 127 * 0.5001 if before.dim() == 2 else torch.zeros(1)
    assert ((before - after).abs() <= limit).all(), name

def whole(text):
    with torch.no_grad():
        return model(torch.tensor([[search.TOKEN[character] for character in text]]))[0, -1]
texts = ["W4 9 10 13\n13-10=3>", "W1 1 2 3\n", "S4 5 5 10\n4 5 "]
decoder = transformer.Decoder(model, 3, 64)
logits = search.feed(decoder, texts)
decoder.take(torch.tensor([2, 0, 0]))
more = search.feed(decoder, ["5", "1", "24"])
for text, found in zip(texts + [texts[2] + "5", texts[0] + "1", texts[0] + "24"], torch.cat((logits, more))):
    assert (whole(text) - found).abs().max() < 1e-4, text

class Known:
    """A decoder whose texts have known probabilities."""
    device = "cpu"
    table = {"": {"1": .6, "2": .3, "y": .05, "n": .05}, "1": {"1": .5, "2": .2, "y": .2, "n": .1}, "2": {"y": .7, "n": .3},
             "11": {"y": .5, "n": .5}, "12": {"y": .9, "n": .1}}
    def __init__(self, rows):
        self.texts = [""] * rows
    def take(self, rows):
        self.texts = [self.texts[row] for row in rows.tolist()]
    def logits(self):
        found = torch.full((len(self.texts), len(search.TOKEN)), -1e9)
        for row, text in enumerate(self.texts):
            for character, p in self.table.get(text, {}).items():
                found[row, search.TOKEN[character]] = math.log(p)
        return found
    def step(self, tokens, active):
        self.texts = [text + (game.VOCABULARY[token] if grows else "")
                      for text, token, grows in zip(self.texts, tokens.tolist(), active.tolist())]
        return self.logits()

def proposals(rows, k, temperature, least):
    known = Known(rows)
    return search.propose(known, known.logits(), k, temperature, least, torch.Generator().manual_seed(5))

exact = {"": .1, "1": .18, "2": .3, "11": .3, "12": .12}
draws = 20000
texts, values = proposals(draws, 2, 1.0, 0.0)
for (first, second), count in Counter(zip(texts[::2], texts[1::2])).items():
    p = exact[first] * exact[second] / (1 - exact[first])
    assert abs(count / draws - p) < 5 * math.sqrt(p / draws), (first, second, count / draws, p)
texts, values = proposals(1, 8, 0, 0.15)
assert texts == ["11", "2", "1"] + [""] * 5 or texts[:3] == ["2", "11", "1"], texts
assert abs(values[texts.index("1")] - .2 / .3) < 1e-6
PY
exit $((failed > 0))
