"""Ways to use the model: tree of thoughts, one chain, a search that it writes itself; and the table that compares them.

model/search.c is the twin for one card set; here many card sets go side by side, so that a table takes a minute.
model/README.md ("Proposals and values") defines what both do."""
import dataclasses
import itertools
import math
import random

import torch

import game
from transformer import Decoder, Transformer

TOKEN = {character: token for token, character in enumerate(game.VOCABULARY)}
YES, NO = TOKEN["y"], TOKEN["n"]
MAX_THOUGHT = 32                             # characters
WALK_ROOM = 13 + 3 * (MAX_THOUGHT + 2)       # characters of the longest walk


def texts_of(characters) -> list[str]:
    """characters [rows][any] with -1 behind the end"""
    return ["".join(game.VOCABULARY[token] for token in row if token >= 0) for row in characters.tolist()]


def feed(decoder: Decoder, texts: list[str]):
    """Appends texts[row] to each row; returns the logits behind it, [rows][vocabulary]."""
    logits = None
    for i in range(max(map(len, texts))):
        active = torch.tensor([i < len(text) for text in texts], device=decoder.device)
        tokens = torch.tensor([TOKEN[text[i]] if i < len(text) else 0 for text in texts], device=decoder.device)
        new = decoder.step(tokens, active)
        logits = new if logits is None else torch.where(active[:, None], new, logits)
    return logits


def greedy(model: Transformer, prompts: list[str], room: int, ends) -> list[str]:
    """Each prompt with the most probable character appended until ends(text) or room characters."""
    decoder = Decoder(model, len(prompts), room)
    texts, logits = list(prompts), feed(decoder, prompts)
    while True:
        going = [len(text) < room and not ends(text) for text in texts]
        if not any(going):
            return texts
        tokens = logits.argmax(-1)
        texts = [text + game.VOCABULARY[token] if more else text
                 for text, token, more in zip(texts, tokens.tolist(), going)]
        logits = decoder.step(tokens, torch.tensor(going, device=decoder.device))


# ---------------------------------------------------------------- proposals: stochastic beam search


def perturb(phi, perturbed, temperature: float, generator):
    """phi [groups][beams][vocabulary] of extended beams, perturbed [groups][beams] of the beams -> G of the extended"""
    if temperature == 0:
        return phi
    uniform = torch.rand(phi.shape, generator=generator, device=phi.device, dtype=phi.dtype)
    noisy = phi - torch.log(-torch.log(uniform.clamp(1e-30, 1 - 1e-15)))
    largest = noisy.max(-1, keepdim=True).values
    v = perturbed[..., None] - noisy + torch.log1p(-torch.exp(noisy - largest))
    found = perturbed[..., None] - v.clamp(min=0) - torch.log1p(torch.exp(-v.abs()))
    return torch.where(phi.isfinite(), found, phi)


def propose(decoder: Decoder, logits, k: int, temperature: float, least: float, generator):
    """k different thoughts for each row, drawn without replacement, those less probable than `least` left out.

    The decoder then has k rows for each row before. Returns texts, "" where there is none, and values [rows * k]."""
    groups, device = len(logits), decoder.device
    first = torch.arange(groups, device=device)[:, None] * k                     # row of each group's beam 0
    decoder.take(torch.arange(groups, device=device).repeat_interleave(k))
    logits = logits.double().repeat_interleave(k, 0).view(groups, k, -1)
    phi = torch.full((groups, k), -math.inf, dtype=torch.double, device=device)
    phi[:, 0] = 0
    perturbed, value = phi.clone(), torch.zeros_like(phi)
    finished = torch.zeros(groups, k, dtype=torch.bool, device=device)
    characters = torch.full((groups, k, MAX_THOUGHT), -1, device=device)
    for i in range(MAX_THOUGHT):
        log_p = (logits / (temperature or 1)).log_softmax(-1)
        log_p[..., YES], log_p[..., NO] = torch.logaddexp(log_p[..., YES], log_p[..., NO]), -math.inf
        extended = phi[..., None] + log_p
        extended[extended < (math.log(least) if least else -math.inf)] = -math.inf
        gumbel = perturb(extended, perturbed, temperature, generator)
        for old, new in (phi, extended), (perturbed, gumbel):
            new[finished] = -math.inf        # a finished beam has one way to go on, as it is: in the place of token 0
            new[..., 0] = torch.where(finished, old, new[..., 0])
        perturbed, chosen = gumbel.flatten(1).topk(k)                            # [groups][k], best first
        phi = extended.flatten(1).gather(1, chosen)
        beam, token = chosen // len(TOKEN), chosen % len(TOKEN)
        ends = logits[..., YES] - logits[..., NO]
        was_finished, characters = finished.gather(1, beam), characters.gather(1, beam[..., None].expand_as(characters))
        finished = was_finished | (token == YES)
        value = torch.where(was_finished, value.gather(1, beam), ends.sigmoid().gather(1, beam))
        decoder.take((first + beam).flatten())
        active = ~finished & phi.isfinite()
        if not active.any():
            break
        characters[..., i] = torch.where(active, token, -1)
        logits = decoder.step(torch.where(active, token, 0).flatten(), active.flatten()).double().view(groups, k, -1)
    texts = texts_of(characters.flatten(0, 1))
    done = (finished & phi.isfinite()).flatten().tolist()
    return [text if complete else "" for text, complete in zip(texts, done)], value.flatten().tolist()


# ---------------------------------------------------------------- tree of thoughts


@dataclasses.dataclass
class Counts:
    sets: int = 0
    solved: int = 0
    nodes: float = 0           # thoughts, or the states that a search without a model visits
    legal: int = 0
    lines: int = 0             # that could be legal
    right: int = 0             # value words
    values: int = 0
    characters: int = 0        # of the texts that solve their set
    returns: int = 0           # lines of a written-out search that leave an earlier state

    def add(self, other: "Counts"):
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclasses.dataclass(frozen=True)
class Tree:
    breadth: int
    proposals: int
    temperature: float = 0.0
    least: float = 0.01


def best_thoughts(found: list[tuple[float, int, game.Node]], breadth: int) -> list[tuple[float, int, game.Node]]:
    """found (value, row, node) -> the best of them, one for each state"""
    kept, seen = [], set()
    for thought in sorted(found, key=lambda thought: -thought[0]):
        if thought[2].text not in seen and len(kept) < breadth:
            seen.add(thought[2].text)
            kept.append(thought)
    return kept


def tree_of_thoughts(model: Transformer, starts: list[game.State], tree: Tree, generator) -> Counts:
    counts, solved = Counts(sets=len(starts)), set()
    decoder = Decoder(model, len(starts), WALK_ROOM)
    kept = [(owner, game.node(start)) for owner, start in enumerate(starts)]      # a row of the decoder each
    logits = feed(decoder, [f"W{here.text}\n" for _, here in kept])
    for level in range(3):
        texts, values = propose(decoder, logits, tree.proposals, tree.temperature, tree.least, generator)
        found: dict[int, list] = {}
        for row, (text, value) in enumerate(zip(texts, values)):
            owner, here = kept[row // tree.proposals]
            if not text:
                continue
            counts.lines += 1
            child = here.steps.get(text)
            if child is not None:
                counts.legal += 1
                counts.values += 1
                counts.right += (value > 0.5) == child.reaches
                found.setdefault(owner, []).append((value, row, child))
                if child.state == (game.TARGET,):
                    solved.add(owner)
        best = [(owner, row, child) for owner in found for _, row, child in best_thoughts(found[owner], tree.breadth)]
        if level == 2 or not best:
            break
        decoder.take(torch.tensor([row for _, row, _ in best], device=decoder.device))
        kept = [(owner, child) for owner, _, child in best]
        logits = feed(decoder, ["y\n"] * len(kept))
    counts.solved, counts.nodes = len(solved), counts.lines
    return counts


# ---------------------------------------------------------------- one chain; the written-out search


def check_walk(start: game.State, text: str) -> Counts:
    """Follows the lines of a walk as long as they are legal."""
    here, counts = game.node(start), Counts(sets=1)
    for line in text.split("\n")[1:4]:
        counts.lines += 1
        child = here.steps.get(line[:-1])
        if child is None:
            break
        counts.legal += 1
        counts.values += 1
        counts.right += (line[-1] == "y") == child.reaches
        here = child
    counts.nodes = counts.lines
    counts.solved = int(here.state == (game.TARGET,))
    return counts


def check_search(start: game.State, text: str) -> Counts:
    """A line is legal if it leaves a state that legal lines have reached, by a step of that state, or lists them."""
    counts, last = Counts(sets=1), game.node(start)
    reached = {last.text: last}
    for line in text.split("\n")[1:]:
        if not line:
            continue
        counts.lines += 1
        name, _, thought = line.partition(": ")
        here = reached.get(name)
        if here is None:
            continue
        counts.returns += here is not last
        if len(here.state) == 2:
            steps = [step for step, _ in game.results(*here.state)]
            listed = thought.removesuffix("!").split(" ")
            legal = listed == steps[:len(listed)]
            counts.nodes += len(listed)
            if legal and thought.endswith("=24!"):
                counts.solved, counts.characters = 1, len(text)
        else:
            child = here.steps.get(thought)
            legal = child is not None
            counts.nodes += 1
            if legal:
                reached[child.text] = last = child
        counts.legal += legal
    return counts


def chain(model: Transformer, starts: list[game.State]) -> Counts:
    counts = Counts()
    prompts = [f"W{game.state_text(start)}\n" for start in starts]
    texts = greedy(model, prompts, WALK_ROOM, lambda text: text.count("\n") > 3)
    for start, text in zip(starts, texts):
        counts.add(check_walk(start, text))
    return counts


def written_search(model: Transformer, starts: list[game.State], room: int = game.CONTEXT) -> Counts:
    counts = Counts()
    texts = greedy(model, [f"S{game.state_text(start)}\n" for start in starts], room, lambda text: text.endswith("!"))
    for start, text in zip(starts, texts):
        counts.add(check_search(start, text))
    return counts


# ---------------------------------------------------------------- without a model


def random_tree(starts: list[game.State], tree: Tree, rng: random.Random) -> Counts:
    """Random different legal steps, random states kept."""
    counts = Counts(sets=len(starts))
    for start in starts:
        kept = [game.node(start)]
        for _ in range(3):
            children = {}
            for here in kept:
                lines = rng.sample(list(here.steps), min(tree.proposals, len(here.steps)))
                counts.nodes += len(lines)
                children.update((here.steps[line].text, here.steps[line]) for line in lines)
            kept = rng.sample(list(children.values()), min(tree.breadth, len(children)))
        counts.solved += "24" in children
    return counts


def below(here: game.Node):
    """Every state below, depth first, the steps in the order of the rules."""
    for child in here.steps.values():
        yield child
        yield from below(child)


def exhaustive(starts: list[game.State], most_nodes: int) -> Counts:
    """The first most_nodes states below the cards."""
    solved = sum(any(child.state == (game.TARGET,) for child in itertools.islice(below(game.node(start)), most_nodes))
                 for start in starts)
    return Counts(sets=len(starts), solved=solved, nodes=most_nodes * len(starts))


# ---------------------------------------------------------------- the table


def table(model: Transformer, seed: int, starts: list[game.State]):
    """Yields (way, counts). Several draws of the same card sets where chance has a part."""
    device = model.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    rng, wide, narrow, drawn = random.Random(seed), Tree(5, 8), Tree(1, 5), Tree(5, 8, temperature=1.0)
    trees = {tree: tree_of_thoughts(model, starts, tree, generator) for tree in (narrow, wide, drawn)}
    nodes = round(trees[wide].nodes / len(starts))
    without = Counts()
    for _ in range(20):
        without.add(random_tree(starts, wide, rng))
    yield "random proposals, random 5 kept, 8 proposals", without
    yield f"exhaustive depth-first, first {nodes} states", exhaustive(starts, nodes)
    yield "one chain, greedy", chain(model, starts)
    yield "tree of thoughts, 1 kept, 5 proposals", trees[narrow]
    yield "tree of thoughts, 5 kept, 8 proposals", trees[wide]
    yield "tree of thoughts, 5 kept, 8 proposals, temperature 1", trees[drawn]
    yield "written-out search, greedy", written_search(model, starts)


def share(part: float, whole: float) -> str:
    return f"{part / whole:.4f}" if whole else ""


COLUMNS = "way,sets,solved,share,nodes,legal_share,value_share,characters,returns"


def csv_line(way: str, counts: Counts) -> str:
    """nodes and returns per set; characters per solved set."""
    return ",".join(['"' + way + '"', str(counts.sets), str(counts.solved), share(counts.solved, counts.sets),
                     f"{counts.nodes / counts.sets:.1f}", share(counts.legal, counts.lines),
                     share(counts.right, counts.values),
                     f"{counts.characters / counts.solved:.1f}" if counts.characters else "",
                     f"{counts.returns / counts.sets:.2f}" if counts.characters else ""])


def print_table(model: Transformer, seed: int, starts: list[game.State]) -> list[str]:
    lines = [COLUMNS]
    print("|way|solved|share|nodes a set|legal lines|right values|\n|-|-|-|-|-|-|")
    for way, counts in table(model, seed, starts):
        lines.append(csv_line(way, counts))
        print(f"|{way}|{counts.solved} of {counts.sets}|{100 * counts.solved / counts.sets:.1f} %|"
              f"{counts.nodes / counts.sets:.1f}|{share(counts.legal, counts.lines)}|"
              f"{share(counts.right, counts.values)}|", flush=True)
    return lines
