"""Bad input into python/treeattn: each expression of python_bad_input.txt raises the error below it, word for word, and
changes nothing. With --write, the file gets the messages of today, to be read in the diff."""
import os
import sys

from python_checks import SOURCE, check, check_raises, done
from python_fixture import fixture

import numpy as np
import treeattn as ta

PATH = os.path.join(SOURCE, "tests", "python_bad_input.txt")
with open(PATH, encoding="utf-8") as file:
    lines = [line.rstrip("\n") for line in file]


def answer_of(expression, names):
    """The line that the file should have below the expression."""
    try:
        return f"no error: {eval(expression, dict(names))!r}"  # pylint: disable=eval-used
    except Exception as error:  # pylint: disable=broad-except
        return f"{type(error).__name__}: {error}"


def state(names):
    """All that a refused call could have changed."""
    pools = [names[name] for name in ("pool", "other", "evicting", "replayed")] + [names["forest"].pool]
    return [pool.dump() for pool in pools] + \
        [repr(names[name]) for name in ("tree", "plan", "bad_workload", "workload", "replayed_workload")] + \
        [names[name].tobytes() for name in ("query", "key", "value")] + [repr(names["cache"].view())]


names = fixture()
before = state(names)
written, cases = [], 0
for line in lines:
    if line.startswith("    "):
        continue
    written.append(line)
    if not line or line.startswith("#"):
        continue
    answer = answer_of(line, names)
    cases += 1
    written.append("    " + answer)
    wanted = lines[lines.index(line) + 1].strip() if lines.index(line) + 1 < len(lines) else ""
    if "--write" not in sys.argv:
        check(line, wanted, answer)
    if state(names) != before:
        check(f"state after {line}", "as before", "changed")
        names = fixture()
        before = state(names)
if "--write" in sys.argv:
    with open(PATH, "w", encoding="utf-8") as file:
        file.write("\n".join(written) + "\n")
check("there are many cases", True, cases >= 150)

# Messages that depend on the machine.
query, key, value, plan = (names[name] for name in ("query", "key", "value", "plan"))
check_raises("negative threads", ta.Error, r"num_threads: expected an integer from 0 to \d+, got -1",
             lambda: ta.tree_attention_cpu(query, key, value, plan, num_threads=-1))
check_raises("too many threads", ta.Error, r"num_threads: expected an integer from 0 to \d+, got 1073741824",
             lambda: ta.tree_attention_cpu(query, key, value, plan, num_threads=1 << 30))
check_raises("small workspace", ta.Error, r"workspace: expected \d+ writable bytes or more, aligned to 64 .*, got 0 .*",
             lambda: ta.tree_attention_cpu(query, key, value, plan, workspace=ta.workspace(0)))
check_raises("misaligned workspace", ta.Error, r"workspace: expected .* at an address of 1 modulo 64",
             lambda: ta.tree_attention_cpu(query, key, value, plan, workspace=ta.workspace(1 << 24)[1:]))
check_raises("workspace of another type", ta.Error, r"workspace: expected uint8 of shape \(any,\).*float64.*",
             lambda: ta.tree_attention_cpu(query, key, value, plan, workspace=np.zeros(1 << 20)))

# Kinds of errors.
check("Error is a ValueError", True, issubclass(ta.Error, ValueError))


def status_of(call):
    """The status of the Error that call() raises."""
    try:
        call()
    except ta.Error as error:
        return error.status
    return "no error"


check("status of the library", "KV_NOBLOCKS", status_of(lambda: names["a"].append(1000)))
check("no status where Python refused", None, status_of(lambda: names["a"].append(-1)))
check_raises("a tensor too large for memory", MemoryError, ".*", lambda: ta.workspace(1 << 47))
done()
