"""python3 -m treeattn: every name of the package, with the functions of C behind it."""

import inspect
import re
import signal

import treeattn


def c_names(thing):
    """What a docstring ends with: `C: kv_branch_fork, kv_branch_fork_at.`"""
    found = re.search(r"\bC: ([\w,\s]+)\.$", inspect.getdoc(thing) or "")
    return " ".join(found[1].split()) if found else ""


def names():
    """(name, object) of everything public: functions, classes, methods."""
    for name, thing in vars(treeattn).items():
        if name.startswith("_") or inspect.ismodule(thing):
            continue
        yield name, thing
        for member, value in vars(thing).items() if inspect.isclass(thing) else ():
            value = getattr(value, "__func__", value)  # of class methods and static ones
            if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                yield f"{name}.{member}", value


def main():
    """Prints the list."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a word
    print(f"treeattn {treeattn.__version__}: names in Python, and the functions of C that they call.\n"
          "import treeattn as ta; help(ta), help(ta.Pool), help(ta.tree_attention_ref) say more.\n")
    for name, thing in names():
        if callable(thing) or isinstance(thing, property):
            print(f"{name:36s} {c_names(thing)}".rstrip())
        else:
            print(f"{name:36s} = {thing!r}")


if __name__ == "__main__":
    main()
