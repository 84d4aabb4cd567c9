"""For the scripts tests/python_*.py: lines as the other tests print them, and a status."""
import os
import re
import sys

SOURCE = os.environ.get("TREEATTN_SOURCE_DIR") or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(SOURCE, "python"))

failed = 0


def check(name, expected, got):
    """One case."""
    global failed
    if expected == got:
        print(f"pass {name}")
        return
    failed += 1
    if isinstance(expected, set):
        print(f"FAIL {name}: missing {sorted(expected - got)}, not expected {sorted(got - expected)}")
    else:
        print(f"FAIL {name}: expected {expected!r:.400}, got {got!r:.400}")


def check_raises(name, kind, pattern, call):
    """call() raises `kind` with a message that matches the pattern as a whole."""
    global failed
    try:
        answer = call()
    except Exception as error:  # pylint: disable=broad-except
        if isinstance(error, kind) and re.fullmatch(pattern, str(error), re.DOTALL):
            print(f"pass {name}")
            return
        answer = f"{type(error).__name__}: {error}"
    failed += 1
    print(f"FAIL {name}: expected {kind.__name__} /{pattern}/, got {answer}")


def done():
    sys.exit(failed > 0)
