"""The Game of 24: rules, exhaustive solver, and the text that the reasoner learns. model/game.c is its twin.

A number is a reduced fraction (numerator, denominator); a state is a tuple of numbers in ascending order; a step takes
two of them and puts their sum, difference, product or quotient in their place. Numbers are never negative: any
solution with a negative number in between can be written without. model/README.md defines the text."""
import itertools
import math
import random
import zlib

Number = tuple[int, int]
State = tuple[Number, ...]

VOCABULARY = "\n 0123456789+-*/=>:!ynWS"  # a token is a place in this string
TARGET = (24, 1)
MAX_CARD = 13
WIDE_MAX_CARD = 30    # training also draws sets with cards up to here, except the held-out ones
CONTEXT = 1024        # characters of a training row, and the longest text that the model can write

# ---------------------------------------------------------------- numbers and steps


def number(numerator: int, denominator: int) -> Number:
    divisor = math.gcd(numerator, denominator)
    return numerator // divisor, denominator // divisor


def less(a: Number, b: Number) -> bool:
    return a[0] * b[1] < b[0] * a[1]


def number_text(a: Number) -> str:
    return str(a[0]) if a[1] == 1 else f"{a[0]}/{a[1]}"


def state_text(state: State) -> str:
    return " ".join(map(number_text, state))


def insert(state: State, new: Number) -> State:
    place = sum(less(a, new) for a in state)
    return state[:place] + (new,) + state[place:]


def results(a: Number, b: Number) -> list[tuple[str, Number]]:
    """Every step with two numbers, a <= b, in the order in which a search lists them."""
    (ap, aq), (bp, bq), a_text, b_text = a, b, number_text(a), number_text(b)
    found = [(f"{b_text}+{a_text}", number(bp * aq + ap * bq, aq * bq)),
             (f"{b_text}-{a_text}", number(bp * aq - ap * bq, aq * bq)),
             (f"{b_text}*{a_text}", number(ap * bp, aq * bq))]
    if ap:
        found.append((f"{b_text}/{a_text}", number(bp * aq, bq * ap)))
    if a != b:
        found.append((f"{a_text}/{b_text}", number(ap * bq, aq * bp)))
    return [(f"{step}={number_text(result)}", result) for step, result in found]


class Node:
    """A state with its steps. Nodes are made once and shared: node(state)."""
    __slots__ = ("state", "text", "steps", "reaches", "winning")

    def __init__(self, state: State):
        self.state = state
        self.text = state_text(state)
        self.steps: dict[str, Node] = {}        # "13-10=3>3 4 9" -> the node of 3 4 9
        for i, j in itertools.combinations(range(len(state)), 2):
            rest = tuple(a for k, a in enumerate(state) if k not in (i, j))
            for step, result in results(state[i], state[j]):
                child = node(insert(rest, result))
                self.steps[f"{step}>{child.text}"] = child
        self.winning = [line for line, child in self.steps.items() if child.reaches]
        self.reaches = bool(self.winning) or state == (TARGET,)     # the exhaustive solver, all of it


nodes: dict[State, Node] = {}


def node(state: State) -> Node:
    found = nodes.get(state)
    if found is None:
        found = nodes[state] = Node(state)
    return found


# ---------------------------------------------------------------- card sets and their split


def card_state(cards: tuple[int, ...]) -> State:
    return tuple((card, 1) for card in sorted(cards))


def card_sets(max_card: int = MAX_CARD) -> list[State]:
    """All sets of four cards: 1820 for cards 1 to 13."""
    return [card_state(cards) for cards in itertools.combinations_with_replacement(range(1, max_card + 1), 4)]


SPLIT = "crc32(text) % 5 == 4"


def is_held_out(state: State) -> bool:
    """A fifth of the game's card sets is never trained on. The rule needs the set alone."""
    return state[-1][0] <= MAX_CARD and zlib.crc32(state_text(state).encode()) % 5 == 4


def held_out_solvable() -> list[State]:
    return [state for state in card_sets() if is_held_out(state) and node(state).reaches]


# ---------------------------------------------------------------- text: walks and searches


def walk(start: State, rng: random.Random, win_share: float = 0.9) -> str:
    """Three steps with their value words. Where winning steps exist, win_share of the draws are among them."""
    here, text = node(start), f"W{state_text(start)}\n"
    while here.steps:
        winning = here.winning and rng.random() < win_share
        line = rng.choice(here.winning if winning else list(here.steps))
        here = here.steps[line]
        text += f"{line}{'y' if here.reaches else 'n'}\n"
    return text


SEARCH_WIDTH = 8    # thoughts that a search lists for its cards


def draw(here: Node, count: int, weight: float, rng: random.Random) -> list[tuple[str, Node]]:
    """Up to count steps to different states, drawn without replacement; a winning one has `weight`, another 1."""
    # The order of exponential times with these rates is such a draw.
    order = sorted((-math.log(1 - rng.random()) / (weight if child.reaches else 1.0), line)
                   for line, child in here.steps.items())
    drawn: dict[str, tuple[str, Node]] = {}
    for _, line in order:
        if len(drawn) < count:
            drawn.setdefault(here.steps[line].text, (line, here.steps[line]))
    return list(drawn.values())


def search(start: State, rng: random.Random, limit: int = CONTEXT - 24) -> str | None:
    """A search, written out until 24 is found; None if it is not found within limit characters.

    First SEARCH_WIDTH thoughts from the cards; then each of their states, in the order of the list, is followed by one
    thought more and all steps of the two numbers left. A noisy oracle draws the thoughts; how good it is differs
    between searches, so that the text shows good choices, and how to go on after bad ones."""
    weight = rng.choice((3.0, 10.0, 40.0))
    listed = draw(node(start), SEARCH_WIDTH, weight, rng)
    lines = [f"S{state_text(start)}"] + [f"{state_text(start)}: {line}" for line, _ in listed]
    for _, three in listed:
        (line, two), = draw(three, 1, weight, rng)
        lines.append(f"{three.text}: {line}")
        steps = []
        for step, result in results(*two.state):
            steps.append(step)
            if result == TARGET:
                text = "\n".join(lines) + f"\n{two.text}: {' '.join(steps)}!\n"
                return text if len(text) <= limit else None
        lines.append(f"{two.text}: {' '.join(steps)}")
    return None


# ---------------------------------------------------------------- training rows


class Rows:
    """An endless stream of training rows: whole texts, packed to CONTEXT + 1 characters, filled up with newlines.

    Each of `parts` streams has its own part of the wide card sets, since their nodes take time and memory."""

    def __init__(self, seed: int, part: int = 0, parts: int = 1, search_share: float = 0.13, wide_share: float = 0.6,
                 unsolvable_share: float = 0.15):
        self.rng = random.Random(f"{seed}/{part}")
        self.search_share, self.wide_share, self.unsolvable_share = search_share, wide_share, unsolvable_share
        self.sets: dict[tuple[bool, bool], list[State]] = {}       # (wide, solvable) -> card sets
        for wide in (False, True) if wide_share else (False,):
            every = card_sets(WIDE_MAX_CARD)[part::parts] if wide else card_sets()
            training = [state for state in every if not is_held_out(state)]
            for solvable in False, True:
                self.sets[wide, solvable] = [state for state in training if node(state).reaches == solvable]

    def text(self) -> str:
        rng = self.rng
        wide = rng.random() < self.wide_share
        if rng.random() < self.search_share:
            found = None
            while found is None:
                found = search(rng.choice(self.sets[wide, True]), rng)
            return found
        return walk(rng.choice(self.sets[wide, rng.random() >= self.unsolvable_share]), rng)

    def row(self, waiting: list[str], length: int = CONTEXT + 1) -> str:
        """waiting holds the text that did not fit the row before."""
        text = ""
        while True:
            new = waiting.pop() if waiting else self.text()
            if len(text) + len(new) > length:
                waiting.append(new)
                return text.ljust(length, "\n")
            text += new
