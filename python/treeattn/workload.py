"""The life of a tree's branches as a list of operations: reference/workloads/workload.h, game_of_24.h."""

from ctypes import byref, c_uint32, create_string_buffer
from typing import NamedTuple

from . import c
from .checks import U64_MAX, choice, describe, instance, integer, text
from .errors import Error, raise_kv
from .handle import Handle, Owner, lock
from .memory import array_field, field
from .pool import MESSAGE_BYTES
from .trace import TraceAccept, TraceDraft, TraceTree

KINDS = c.WORKLOAD_KINDS


class WorkloadSize(NamedTuple):
    """Of the workload that a builder would make."""
    num_operations: int
    num_branches: int
    num_tokens: int


def _size(struct):
    return WorkloadSize(*(getattr(struct, name) for name in WorkloadSize._fields))


class Workload(Owner):
    """Operations on branches, which a Replay plays on a pool. Workload() is an empty list; the class methods build one.

    A branch has a name: 0, 1, 2, ... in order of birth. A "step" ends an iteration. No operation can be added while a
    Replay of it is open.

    Builders raise Error KV_RANGE beyond 2^20 branches, 2^30 tokens of a branch, 2^32 - 1 operations or tokens. Their
    size_... twins count first. prompt_tokens 0: the trace's own; max_steps 0: to the end.

    C: workload_create, workload_destroy.
    """

    def __init__(self):
        workload = c.workload_create()
        if not workload:
            raise MemoryError("no memory for a workload")
        self._handle = Handle(workload, c.workload_destroy)

    @classmethod
    def _built(cls, function, *arguments, handle=None):
        if handle is None:
            workload = c.P(c.workload)()
            with lock:
                raise_kv(function(byref(workload), *arguments), KV_RANGE=
                         "expected at most 2^20 branches, 2^30 tokens of a branch, 2^32 - 1 operations and tokens",
                         KV_INVAL="expected in no step more accepted tokens than the depth of the draft tree + 1")
            handle = Handle(workload, c.workload_destroy)
        self = cls.__new__(cls)
        self._handle = handle
        return self

    # ---- adding operations ----

    def create(self, label=None):
        """An empty branch; returns its name. label: text for drawings. C: workload_add_create."""
        return self._add(c.workload_add_create, _label(label))

    def fork(self, parent, label=None):
        """A branch with the tokens of another; returns its name. C: workload_add_fork."""
        return self._add(c.workload_add_fork, integer("parent", parent), _label(label))

    def add(self, kind, branch=0, value=0):
        """An operation: "append" (value tokens), "decode", "query", "truncate" (to value tokens), "adopt" (the branch
        named value), "prune", "step", and also "create" and "fork". C: workload_add."""
        self._add(c.workload_add, choice("kind", kind, KINDS), integer("branch", branch), integer("value", value))

    def _add(self, function, *arguments):
        with lock:
            if not self.closed and self._handle.users:
                raise Error("the workload is being replayed, and cannot change; close the replay first")
            answer = self._call(function, *arguments)
            raise_kv(self._field("status"))
        return answer

    def check(self):
        """Error KV_INVAL or KV_RANGE with the operation that breaks a rule. C: workload_check."""
        operation, message = c_uint32(), create_string_buffer(MESSAGE_BYTES)
        status = self._call(c.workload_check, byref(operation), message, MESSAGE_BYTES)
        raise_kv(status, f"operation {operation.value}: {message.value.decode()}")

    # ---- what it holds ----

    num_operations = field("num_operations", "Operations.")
    num_branches = field("num_branches", "Branches that were born.")
    num_steps = field("num_steps", "Steps.")
    num_tokens = field("num_tokens", "Tokens appended and decoded.")
    live_branches = field("live_branches", "Alive now.")
    max_live_branches = field("max_live_branches", """The most at any time: a pool's max_branches must be at least
        that.""")
    operations = array_field("operations", "num_operations", """[num_operations] record array: kind (index into
        ta.KINDS), branch, value.""")

    def label(self, branch):
        """The text of a branch; "" where there is none. C: workload_label."""
        with lock:
            return self._call(c.workload_label, integer("branch", branch)).decode()

    def __repr__(self):
        if self.closed:
            return "Workload(closed)"
        return f"Workload(operations={self.num_operations}, branches={self.num_branches}, steps={self.num_steps})"

    # ---- builders ----

    @classmethod
    def few_shot(cls, prompt_tokens, num_branches, num_steps):
        """num_branches branches after a common prompt, each decodes num_steps tokens. C: workload_few_shot."""
        return cls._built(c.workload_few_shot, integer("prompt_tokens", prompt_tokens, 1),
                          integer("num_branches", num_branches, 1), integer("num_steps", num_steps, 1))

    @classmethod
    def levels(cls, nodes, tokens):
        """One step over a tree given by levels: nodes "1,16,64" of tokens "1024,256,32|40"; the leaves have the
        queries.

        Error: KV_FORMAT with the column. C: workload_levels.
        """
        workload, error = c.P(c.workload)(), c.kv_text_error()
        with lock:
            status = c.workload_levels(byref(workload), text("nodes", nodes), text("tokens", tokens), byref(error))
        raise_kv(status, _levels_error(error))
        return cls._built(None, handle=Handle(workload, c.workload_destroy))

    @staticmethod
    def size_levels(nodes, tokens):
        """The WorkloadSize of levels. C: workload_size_levels."""
        size, error = c.workload_size(), c.kv_text_error()
        with lock:
            status = c.workload_size_levels(byref(size), text("nodes", nodes), text("tokens", tokens), byref(error))
        raise_kv(status, _levels_error(error))
        return _size(size)

    @classmethod
    def random(cls, seed, num_steps, max_branches, max_tokens):
        """A random forest that grows, forks, shrinks and dies. max_branches: alive at once; max_tokens: of one append.
        C: workload_random."""
        config = c.workload_random_config(integer("seed", seed, 0, U64_MAX), integer("num_steps", num_steps),
                                          integer("max_branches", max_branches, 1, c.KV_MAX_BRANCHES),
                                          integer("max_tokens", max_tokens, 1, c.KV_MAX_LENGTH))
        return cls._built(c.workload_random, byref(config))

    @classmethod
    def from_tree(cls, tree, prompt_tokens=0, max_steps=0):
        """A reasoning tree: the prompt, then node by node. C: workload_from_tree."""
        return cls._built(c.workload_from_tree, *_from_tree(tree, prompt_tokens, max_steps))

    @staticmethod
    def size_from_tree(tree, prompt_tokens=0, max_steps=0):
        """The WorkloadSize of from_tree. C: workload_size_from_tree."""
        return _size(c.workload_size_from_tree(*_from_tree(tree, prompt_tokens, max_steps)))

    @classmethod
    def from_accept(cls, accept, num_leaves, prompt_tokens=0, max_steps=0):
        """Speculative decoding as DeFT drives it: num_leaves branches of one token in every step.
        C: workload_from_accept."""
        return cls._built(c.workload_from_accept, *_from_accept(accept, num_leaves, prompt_tokens, max_steps))

    @staticmethod
    def size_from_accept(accept, num_leaves, prompt_tokens=0, max_steps=0):
        """The WorkloadSize of from_accept. C: workload_size_from_accept."""
        return _size(c.workload_size_from_accept(*_from_accept(accept, num_leaves, prompt_tokens, max_steps)))

    @classmethod
    def from_accept_draft(cls, accept, draft, prompt_tokens=0, max_steps=0):
        """Speculative decoding with a draft tree: every draft token is a branch and a query.
        C: workload_from_accept_draft."""
        return cls._built(c.workload_from_accept_draft, *_from_drafts(accept, draft, prompt_tokens, max_steps))

    @staticmethod
    def size_from_accept_draft(accept, draft, prompt_tokens=0, max_steps=0):
        """The WorkloadSize of from_accept_draft. C: workload_size_from_accept_draft."""
        return _size(c.workload_size_from_accept_draft(*_from_drafts(accept, draft, prompt_tokens, max_steps)))

    @classmethod
    def draft(cls, draft, past_tokens):
        """One step of speculative decoding: past_tokens, then the draft tree. C: workload_draft."""
        instance("draft", draft, TraceDraft)
        return cls._built(c.workload_draft, draft._pointer_for("draft"), integer("past_tokens", past_tokens))


def _label(label):
    return None if label is None else text("label", label)


def _levels_error(error):
    return f"{('nodes', 'tokens')[error.line - 1]}, column {error.column}: {error.message.decode()}" \
        if error.line in (1, 2) else ""


def _from_tree(tree, prompt_tokens, max_steps):
    return (instance("tree", tree, TraceTree)._pointer_for("tree"), integer("prompt_tokens", prompt_tokens),
            integer("max_steps", max_steps))


def _from_accept(accept, num_leaves, prompt_tokens, max_steps):
    return (instance("accept", accept, TraceAccept)._pointer_for("accept"), integer("num_leaves", num_leaves, 1),
            integer("prompt_tokens", prompt_tokens), integer("max_steps", max_steps))


def _from_drafts(accept, draft, prompt_tokens, max_steps):
    return (instance("accept", accept, TraceAccept)._pointer_for("accept"),
            instance("draft", draft, TraceDraft)._pointer_for("draft"), integer("prompt_tokens", prompt_tokens),
            integer("max_steps", max_steps))


# ---- game_of_24.h ----

class Thought(NamedTuple):
    """One step of arithmetic: branch (its name in the workload), parent (index of the thought that it continues, None:
    the prompt), level 1 .. 3, num_tokens (bytes of its text), score, duplicate, kept, text."""
    branch: int
    parent: int
    level: int
    num_tokens: int
    score: int
    duplicate: bool
    kept: bool
    text: str


class GameOf24(NamedTuple):
    """A search: numbers and breadth as used, the prompt, its thoughts level by level, solved, solution_thought (index
    of the last step; None), solution ("(10 - 4) * (13 - 9) = 24" or ""), and the workload, whose branch 0 is the
    prompt."""
    numbers: tuple
    breadth: int
    prompt: str
    thoughts: list
    solved: bool
    solution_thought: int
    solution: str
    workload: Workload


def game_of_24_search(numbers=(4, 9, 10, 13), breadth=5):
    """Makes 24 from four numbers, 1 .. 99, by a breadth-first tree of thoughts that keeps `breadth` states, 1 .. 64,
    per level. Deterministic. Returns a GameOf24. C: game_of_24_search, game_of_24_destroy."""
    if not isinstance(numbers, (list, tuple)) or len(numbers) != 4:
        raise Error(f"numbers: expected four integers, got {describe(numbers)}")
    config = c.game_of_24_config((c_uint32 * 4)(*(integer(f"numbers[{i}]", n, 1, 99) for i, n in enumerate(numbers))),
                                 integer("breadth", breadth, 1, 64))
    game = c.P(c.game_of_24)()
    with lock:
        raise_kv(c.game_of_24_search(byref(game), byref(config)))
        handle, found = Handle(game, c.game_of_24_destroy), game.contents
        thoughts = [Thought(t.branch, _index(t.parent), t.level, t.num_tokens, t.score, t.duplicate, t.kept,
                            t.text.decode()) for t in found.thoughts[:found.num_thoughts]]
        workload = Workload._built(None, handle=Handle(found.workload, lambda _: None, handle))
        handle.release()  # the workload needs it, and so keeps it
        return GameOf24(tuple(found.config.numbers), found.config.breadth, found.prompt.decode(), thoughts,
                        found.solved, _index(found.solution_thought), found.solution.decode(), workload)


def _index(value):
    return None if value == c.TRACE_NONE else value
