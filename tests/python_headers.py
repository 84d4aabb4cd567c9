"""Compares python/treeattn/c with the public headers: each function, its arguments by name, order and type, each struct
field by field as the C compiler lays it out, each enumerator and constant; and each function has a name in Python that
says so. Arguments: the C compiler, the headers."""
import ast
import ctypes
import glob
import inspect
import os
import re
import subprocess
import sys
import tempfile

from python_checks import SOURCE, check, done

import treeattn as ta
from treeattn import c

# Functions without a name in Python, each with the reason.
EXCEPTIONS = {"trace_read_stream": "takes a FILE *; Trace.read takes what Python has read from any stream"}

compiler, headers = sys.argv[1], sys.argv[2:]
texts = {}
for header in headers:
    with open(header, encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", " ", file.read(), flags=re.DOTALL)
    texts[header] = text
declarations = re.sub(r"^\s*#.*?(?<!\\)$", "", "\n".join(texts.values()), flags=re.MULTILINE | re.DOTALL)

# ---- C types as ctypes ----

BASE = {"uint16_t": ctypes.c_uint16, "uint32_t": ctypes.c_uint32, "uint64_t": ctypes.c_uint64,
        "int32_t": ctypes.c_int32, "size_t": ctypes.c_size_t, "bool": ctypes.c_bool, "float": ctypes.c_float,
        "double": ctypes.c_double}


def ctype(declarator):
    """const uint32_t *blocks -> (POINTER(c_uint32), "blocks")."""
    words = re.findall(r"\w+|\*", re.sub(r"\b(const|struct)\b", "", declarator))
    base, stars = words[0], words.count("*")
    name = words[-1] if len(words) - stars > 1 else None
    if base in ("char", "void"):
        kind = {("char", 1): ctypes.c_char_p, ("void", 1): ctypes.c_void_p, ("void", 0): None}[base, stars]
        return kind, name
    kind = BASE.get(base) or getattr(c, base, base)
    for _ in range(stars if kind is not base else 0):  # a type that Python does not know stays a word
        kind = ctypes.POINTER(kind)
    return kind, name


def signature(function):
    """As the annotations of a Python function: [(name, type)], result."""
    parameters = inspect.signature(function.prototype).parameters
    return list(zip(parameters, function.argtypes)), function.restype


# ---- functions ----

FUNCTION = re.compile(r"^(static inline )?((?:const )?\w+ \**)(\w+)\(([^()]*)\)\s*[;{]", re.MULTILINE)
functions = {}
for inline, result, name, parameters in FUNCTION.findall(declarations):
    parameters = [] if parameters.strip() == "void" else [ctype(p) for p in parameters.split(",")]
    functions[name] = (bool(inline), [(name, kind) for kind, name in parameters], ctype(result)[0])

HALF = [name for name in functions if re.match(r"half_|bf16_|fp16_", name)]
for name, (inline, parameters, result) in functions.items():
    if name in EXCEPTIONS:
        continue
    expected = (parameters, result)
    if name in HALF:  # over arrays
        expected = [ctypes.POINTER(result), ctypes.POINTER(parameters[0][1]), ctypes.c_size_t], None
    function = getattr(c, "inline_" + name if inline else name, None)
    if function is None:
        got = "no such function in python/treeattn/c"
    elif name in HALF:
        got = function.argtypes, function.restype
    else:
        got = signature(function)
    if expected != got:
        check(f"signature of {name}", expected, got)
check("functions were found", True, len(functions) > 140 and len(HALF) == 6)
declared = {name.removeprefix("inline_") for name, value in vars(c).items() if hasattr(value, "prototype")}
check("python/treeattn/c has the functions of the headers and no others", set(functions) - set(EXCEPTIONS), declared)
check("the exceptions are functions", set(), set(EXCEPTIONS) - set(functions))

# ---- their names in Python ----

named = {}


def visit(name, thing):
    """Notes which functions of C a docstring names: `C: kv_branch_fork, kv_branch_fork_at.`"""
    doc = inspect.getdoc(thing) or ""
    for listed in re.findall(r"\bC: ([\w,\s]+)\.", doc):
        for function in re.split(r",\s*", listed):
            named.setdefault(function.strip(), []).append(name)


public = {name: thing for name, thing in vars(ta).items()
          if not name.startswith("_") and not inspect.ismodule(thing)}
undocumented = []
for name, thing in public.items():
    if inspect.isclass(thing) or inspect.isfunction(thing):
        visit(name, thing)
        if not inspect.getdoc(thing):
            undocumented.append(name)
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            value = getattr(value, "__func__", value)  # of class and static methods
            if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                visit(f"{name}.{member}", value)
                if not inspect.getdoc(value):
                    undocumented.append(f"{name}.{member}")
check("every function has a name in Python", set(functions) - set(EXCEPTIONS), set(named))
check("everything public has a docstring", [], undocumented)

source = ""
for path in glob.glob(os.path.join(SOURCE, "python", "treeattn", "*.py")):
    with open(path, encoding="utf-8") as file:
        source += file.read()
called = set(re.findall(r"\bc\.(?:inline_)?(\w+)", source))
check("every function is called", set(), set(functions) - set(EXCEPTIONS) - called)

# ---- structs, enumerators and constants, by the compiler ----

structs = {name: kind for name, kind in vars(c).items() if inspect.isclass(kind) and issubclass(kind, ctypes.Structure)
           and hasattr(kind, "_fields_")}
bodies = dict(re.findall(r"typedef struct \w+ \{(.*?)\} (\w+);", declarations, re.DOTALL))
bodies = {name: body for body, name in bodies.items()}


def fields_of(body):
    """Names of a struct's fields: `uint32_t a, *b;` and `void (*f)(int);`."""
    found = []
    for declaration in re.findall(r"[^;]+;", body):
        pointer = re.search(r"\(\*(\w+)\)", declaration)
        if pointer:
            found.append(pointer[1])
        else:
            found += [re.findall(r"\w+", re.sub(r"\[[^]]*\]", "", part))[-1] for part in declaration.split(",")]
    return found


for name, body in bodies.items():
    if fields_of(body) != [field[0] for field in getattr(structs.get(name), "_fields_", [])]:
        check(f"fields of {name}", fields_of(body), [field[0] for field in getattr(structs.get(name), "_fields_", [])])
check("structs are those of the headers", set(bodies), set(structs))

constants = {}
for text in texts.values():
    constants.update(re.findall(r"^#define (\w+) +(\S.*)$", text, re.MULTILINE))
constants = [name for name in constants if not name.startswith("TREEATTN_VERSION_")]
enums = {name: re.findall(r"(\w+)(?: = [^,}]+)?\s*(?:,|$)", body.strip())
         for body, name in re.findall(r"typedef enum \w+ \{(.*?)\} (\w+);", declarations, re.DOTALL)}
enumerators = [name for names in enums.values() for name in names]

KIND = {ctypes.c_float: "f", ctypes.c_double: "d", ctypes.c_bool: "b", ctypes.c_uint32: "u", ctypes.c_int32: "i",
        ctypes.c_uint64: "U", ctypes.c_size_t: "U"}
lines = ['#include <stdio.h>', '#include <stddef.h>', '#include <treeattn.h>',
         '#define KIND(x) _Generic((x), float: "f", double: "d", _Bool: "b", uint32_t: "u", int32_t: "i", '
         'uint64_t: "U", default: "?")', "int main(void)", "{"]
for name, kind in structs.items():
    if name not in bodies:
        continue
    lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
    for field, *_ in kind._fields_:
        lines.append(f'printf("{name}.{field} %zu %zu %s\\n", offsetof({name}, {field}), '
                     f'sizeof(({name} *)0)->{field}, KIND((({name} *)0)->{field}));')
for name in enumerators:
    lines.append(f'printf("{name} %lld\\n", (long long){name});')
for name in constants:
    lines.append(f'printf("{name} %s\\n", {name});' if name == "TREEATTN_VERSION" else
                 f'printf("{name} %llu\\n", (unsigned long long){name});')
lines += ["return 0;", "}"]
with tempfile.TemporaryDirectory() as work:
    with open(os.path.join(work, "layout.c"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    includes = sorted({"-I" + os.path.dirname(header) for header in headers})
    subprocess.run([compiler, "-std=c11", "-w", *includes, "-o", os.path.join(work, "layout"),
                    os.path.join(work, "layout.c")], check=True)
    output = subprocess.run([os.path.join(work, "layout")], check=True, capture_output=True, text=True).stdout
layout = dict(line.split(" ", 1) for line in output.splitlines())

for name, kind in structs.items():
    if name not in bodies:
        continue
    if layout[name] != str(ctypes.sizeof(kind)):
        check(f"size of {name}", layout[name], str(ctypes.sizeof(kind)))
    for field, field_type in kind._fields_:
        place = getattr(kind, field)
        got = f"{place.offset} {place.size} {KIND.get(field_type, '?')}"
        wanted = layout[f"{name}.{field}"]
        if field_type is ctypes.c_int32:  # an enumeration, or int32_t
            wanted = re.sub("u$", "i", wanted)
        if wanted != got:
            check(f"{name}.{field}: offset, size, kind", wanted, got)

STATUSES = {"kv_status": c.KV_STATUSES, "tree_status": c.TREE_STATUSES}
NAMES = {"kv_order": (c.KV_ORDERS, "KV_ORDER_"), "kv_scope": (c.KV_SCOPES, "KV_SCOPE_"),
         "tree_storage": (c.TREE_STORAGES, "TREE_"), "tree_strategy": (c.TREE_STRATEGIES, "TREE_"),
         "tree_target": (c.TREE_TARGETS, "TREE_TARGET_"), "tree_keep_masks": (c.TREE_KEEP_MASKS, "TREE_KEEP_"),
         "traffic_variant": (c.TRAFFIC_VARIANTS, "TRAFFIC_"), "tree_isa": (c.TREE_ISAS, "TREE_ISA_"),
         "eviction_form": (c.EVICTION_FORMS, "EVICTION_"), "trace_kind": (c.TRACE_KINDS, "TRACE_"),
         "workload_kind": (c.WORKLOAD_KINDS, "WORKLOAD_"), "kv_poison": (c.KV_POISONS, "KV_POISON_")}
check("enumerations", set(enums), {*STATUSES, *NAMES})
for name, members in enums.items():
    if name in STATUSES:
        check(f"enumerators of {name}", {int(layout[member]): member for member in members}, STATUSES[name])
    elif name in NAMES:
        names, prefix = NAMES[name]
        members = [member for member in members if not re.search(r"_NUM_[A-Z]+$", member)]
        check(f"enumerators of {name}", {prefix + text.upper(): i for i, text in enumerate(names)},
              {member: int(layout[member]) for member in members})
for name in constants:
    got = ta.__version__ if name == "TREEATTN_VERSION" else getattr(c, name, None)
    check(f"constant {name}", ast.literal_eval(layout[name]) if name != "TREEATTN_VERSION" else layout[name], got)
done()
