"""Random calls into python/treeattn: arrays of wrong shapes, types, strides and byte orders, numbers that are negative,
huge or NaN, objects of other classes, closed and pruned ones, in any order. Every call answers or raises one of our
errors; no call ends the process (tests/test_python.sh runs this in one of its own). Arguments: calls, seed. A third,
"attributes": attributes are overwritten too; then any error will do, but not the end of the process."""
import inspect
import os
import random
import resource
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "2"

from python_checks import check, done
from python_fixture import fixture

import numpy as np
import treeattn as ta

calls, seed, overwrites = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["attributes"]
rng = random.Random(seed)
# Enough for a small pool; what is huge is a MemoryError and not a wait.
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

INTEGERS = [0, 1, 2, 3, 4, 5, 7, 8, 16, 33, -1, -2**31, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**63, 2**64 - 1,
            2**64,
            10**30]
ODD = [None, True, False, 0.5, float("nan"), float("inf"), -1e308, "", "cost", "cpu", "node", "mask", "a\0b", "\ud800",
       b"x",
       (), [], {}, [1, 2], [[0, 1], [0, 2]], [-1], [2**40], ["x"], (0, 3), object(), np.float32(2), np.int64(3),
       np.uint8(1),
       int, len]
NAMES = [*ta.STRATEGIES, *ta.POLICIES, *ta.ISAS, *ta.KINDS, *ta.STORAGES, *ta.SCOPES, *ta.PRESETS, *ta.POISONS]
DTYPES = [np.float32, np.float64, np.float16, np.uint16, np.uint32, np.int64, np.uint64, np.uint8, bool, ">f4", "c8",
          "O", "U3", [("a", "u4")]]


def an_array():
    """Of any type, shape and strides."""
    dims = rng.choice([(), (0,), (3,), (2, 4, 4), (8, 2, 4, 4), (4, 4), (2, 4), (8, 2, 4), (1, 2, 4), (2, 0, 4),
                       (5, 1, 1, 1, 2)])
    dims = tuple(d if rng.random() < 0.9 else rng.randrange(9) for d in dims)
    values = np.zeros(dims, np.float32)
    if rng.random() < 0.5:
        values += np.float32(rng.choice([1, -1, np.nan, np.inf, 1e38]))
    with np.errstate(all="ignore"):
        if rng.random() < 0.5:
            values = values.astype(rng.choice(DTYPES[:-1])) if rng.random() < 0.95 else np.zeros(dims, DTYPES[-1])
    trick = rng.randrange(10)
    if trick == 0:
        values = values.T
    elif trick == 1 and values.ndim:
        values = values[::-1]
    elif trick == 2 and values.ndim:
        values = np.repeat(values, 2, -1)[..., ::2]
    elif trick == 3:
        values = np.broadcast_to(values, (2, *values.shape))
    elif trick == 4 and values.dtype.itemsize in (2, 4, 8) and values.dtype != object:
        raw = np.zeros(values.nbytes + 1, np.uint8)[1:]  # misaligned
        values = raw.view(values.dtype).reshape(values.shape)
    elif trick == 5:
        values.flags.writeable = False
    return values


def a_value(name, objects):
    """For an argument of this name: likely right, or anything."""
    if rng.random() < 0.6 and name in objects:
        return objects[name]
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(INTEGERS)
    if kind == 1:
        return an_array()
    if kind == 2:
        return rng.choice(NAMES)
    if kind == 3:
        return rng.choice(list(objects.values()))
    if kind == 4:
        return [rng.choice(list(objects.values())) for _ in range(rng.randrange(4))]
    return rng.choice(ODD)


def likely(objects):
    """Right arguments by the names of parameters."""
    a, b, e = objects["a"], objects["b"], objects["e"]
    vectors = {"head_dim": 4, "num_heads": 4, "num_kv_heads": 2, "block_tokens": 4, "num_blocks": 8, "budget": 4,
               "policy": "longflow", "num_tokens": rng.randrange(6), "length": rng.randrange(9),
               "slots": [rng.randrange(9)],
               "branches": rng.choice([[a, b], [e, objects["e2"]], [objects["f"]]]), "tables": [[0, 1], [0, 2]],
               "winner": b, "keeps": None, "strategy": rng.choice(ta.STRATEGIES), "scope": "mask",
               "kind": rng.choice(ta.KINDS), "max_steps": 3, "content": "ttr 1 draft x\n", "history": np.zeros(3),
               "values": objects["key"], "other": ta.SoftmaxState(4), "score": 1.5, "branch": rng.randrange(4),
               "store": None, "events": True, "nodes": "1,2", "dump": objects["pool"].dump(), "name": "node", "seed": 3,
               "scale": 0.5, "lengths": [7, 6], "versions": [1, 2], "positions": np.arange(3, dtype=np.uint32),
               "importance": np.ones(3), "weights": np.ones((4, 3)), "out": np.ones((4, 4)),
               "norm": np.ones((8, 2, 4), np.float32), "block": rng.randrange(8), "slot": rng.randrange(4),
               "words": np.ones((2, 1), np.uint64), "num_steps": 3, "num_branches": 3, "prompt_tokens": 5,
               "max_branches": 8, "max_tokens": 5}
    return {**objects, **vectors}


def is_ours(error, thing):
    """Our own errors, and Python's for a call with other arguments than the function takes."""
    if overwrites:
        return True
    if isinstance(error, (ta.Error, MemoryError)):
        return True
    return isinstance(error, TypeError) and "argument" in str(error) and thing is not None


# Not those that hold an answer: NamedTuples, and what only the library makes.
public = {name: thing for name, thing in vars(ta).items() if not name.startswith("_") and callable(thing) and
          not (inspect.isclass(thing) and issubclass(thing, (Exception, dict, tuple, ta.Append, ta.TraceTree,
                                                             ta.TraceDraft,
                                                             ta.TraceAccept)))}
reached, answered, problems = set(), set(), []
objects = likely(fixture())
for i in range(calls):
    if i % 60 == 0:
        objects = likely(fixture())
    if rng.random() < 0.4:
        name, thing = rng.choice(list(public.items()))
    else:
        holder = rng.choice([value for value in objects.values() if type(value).__module__.startswith("treeattn.")])
        members = [member for member in dir(type(holder)) if not member.startswith("_")]
        if not members:
            continue
        member = rng.choice(members)
        name = f"{type(holder).__name__}.{member}"
        if overwrites and rng.random() < 0.3:
            try:
                setattr(holder, member, a_value(member, objects))
            except Exception:  # pylint: disable=broad-except
                pass
            continue
        try:
            thing = getattr(holder, member)
        except Exception as error:  # pylint: disable=broad-except
            if not is_ours(error, None):
                problems.append((name, repr(error)))
            continue
        if not callable(thing):
            reached.add(name)
            continue
    try:
        parameters = list(inspect.signature(thing).parameters.values())
    except ValueError:
        continue
    positional, keywords = [], {}
    for parameter in parameters:
        if parameter.kind == parameter.VAR_POSITIONAL:
            positional += [a_value("arrays", objects) for _ in range(rng.randrange(3))]
        elif parameter.kind == parameter.VAR_KEYWORD:
            if rng.random() < 0.1:
                keywords[rng.choice(["order", "rho", "evicts", "seed", "num_topics"])] = a_value("x", objects)
        elif parameter.default is not parameter.empty and rng.random() < 0.6:
            continue
        else:
            keywords[parameter.name] = a_value(parameter.name, objects)
    reached.add(name)
    try:
        answer = thing(*positional, **keywords)
        answered.add(name)
        repr(answer)
        if hasattr(answer, "slots") and rng.random() < 0.5 and getattr(answer, "num_tokens", 0) < 1000:
            answer.slots
    except Exception as error:  # pylint: disable=broad-except
        if not is_ours(error, thing):
            problems.append((name, {key: str(value)[:60] for key, value in keywords.items()}, repr(error)))
check(f"random calls, seed {seed}: nothing but our errors", [], problems[:5])
check("most functions were reached, and many answered", (True, True), (len(reached) > 150, len(answered) > 90))
done()
