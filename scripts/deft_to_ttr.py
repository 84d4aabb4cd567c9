#!/usr/bin/env python3
"""Converts the tree templates of DeFT (https://github.com/LINs-lab/DeFT, dataset/generation) to ttr version 1.

  deft_to_ttr.py reason sorting dataset/generation/Reasoning/sorting128ToT.json > reason_sorting.ttr
  deft_to_ttr.py draft medusa dataset/generation/Speculative_Decoding/APPS_tree_size{32,64}.json > spec_draft.ttr
  deft_to_ttr.py accept medusa dataset/generation/Speculative_Decoding/APPS_tree_size64.json > spec_accept.ttr

Layout that is read:
  reason   a list of {"incompleted": bool, "data": {"0": {"id", "value", "start", "end", "children": [ids]}, ...}};
           value counts tokens. Ids are kept if they count up from 0 and parents come first; otherwise nodes are
           numbered anew by start, depth and old id. Trees without nodes are left out, but count as SRC; incomplete
           ones get ordinal -1.
  draft    {"Tree_Structure": [[ranks on the way from the root], ...], "Token_Tree_size": n}
  accept   {"Records": [{"Accept_length": [...], "prompt": text, "prompt_len": n}, ...]}; without prompt_len the prompt
           is estimated as 1.3 tokens per word, and EXACT is 0. Equal lists are written once.
Only integers are taken; no prompt text reaches the output. Needs Python 3.6 and nothing else.
Exit status: 0 all was written, 1 it could not be written, 2 bad usage or bad input.
"""
import argparse
import json
import math
import os
import sys


class WrongInput(Exception):
    pass


def whole_number(value, what, least=0):
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise WrongInput("%s: expected a whole number from %d, found %r" % (what, least, value))
    return value


def field(record, name, where):
    if not isinstance(record, dict) or name not in record:
        raise WrongInput("%s: expected a field %r" % (where, name))
    return record[name]


def read_nodes(data, where):
    """{old id: (tokens, start, end, children)} of one tree."""
    nodes = {}
    for key, node in data.items():
        at = "%s node %s" % (where, key)
        old = whole_number(field(node, "id", at), at + " id")
        tokens = whole_number(field(node, "value", at), at + " value")
        start, end = field(node, "start", at), field(node, "end", at)
        for name, value in (("start", start), ("end", end)):
            whole_number(value, "%s %s" % (at, name), -2**30)
        if str(old) != key or old in nodes:
            raise WrongInput("%s: its id is %d" % (at, old))
        if end - start + 1 != tokens:
            raise WrongInput("%s: value %d, but start %d and end %d" % (at, tokens, start, end))
        nodes[old] = (tokens, start, end, field(node, "children", at))
    return nodes


def order_nodes(nodes, where):
    """Old ids with a parent before its children, and each one's parent; refuses what is no tree."""
    if 0 not in nodes:
        raise WrongInput("%s: expected a node 0, the root" % where)
    parent, order, reached = {0: -1}, [0], 0
    while reached < len(order):
        for child in nodes[order[reached]][3]:
            if child not in nodes:
                raise WrongInput("%s: node %s has child %r, which is absent" % (where, order[reached], child))
            if child in parent:
                raise WrongInput("%s: node %s has two parents" % (where, child))
            parent[child] = order[reached]
            order.append(child)
        reached += 1
    if len(order) != len(nodes):
        raise WrongInput("%s: %d nodes are not under the root" % (where, len(nodes) - len(order)))
    depth = {}
    for old in order:
        depth[old] = depth.get(parent[old], -1) + 1
    if sorted(order) == list(range(len(order))) and all(parent[old] < old for old in order):
        order.sort()
    else:
        order.sort(key=lambda old: (nodes[old][1], depth[old], old))
    return order, parent


def write_tree(out, source, ordinal, nodes, where):
    order, parent = order_nodes(nodes, where)
    if nodes[0][2] != 0:
        raise WrongInput("%s: expected end 0 of the root, found %d" % (where, nodes[0][2]))
    new = {old: i for i, old in enumerate(order)}
    path, leaves, paths = {-1: 0}, 0, 0
    out.append("tree %d %d %d %d" % (source, ordinal, len(order), max(nodes[old][2] for old in order)))
    for old in order:
        tokens, start, end, children = nodes[old]
        up = parent[old]
        if up >= 0 and start != nodes[up][2] + 1:
            raise WrongInput("%s node %d: starts at %d, its parent ends at %d" % (where, old, start, nodes[up][2]))
        path[old] = path[up] + tokens
        if not children:
            leaves += 1
            paths += path[old]
        out.append("node %d %d %d %d %d" % (new[old], new[up] if up >= 0 else -1, tokens, start, end))
    out.append("end %d %d %d" % (sum(n[0] for n in nodes.values()), leaves, paths))


def convert_reason(out, files):
    ordinal, source = 0, 0
    for name, trees in files:
        if not isinstance(trees, list):
            raise WrongInput("%s: expected a list of trees" % name)
        for index, tree in enumerate(trees):
            where = "%s tree %d" % (name, index)
            data = field(tree, "data", where)
            if not isinstance(data, dict):
                raise WrongInput("%s: expected data to be an object" % where)
            complete = not tree.get("incompleted", False)
            if data:
                write_tree(out, source, ordinal if complete else -1, read_nodes(data, where), where)
                ordinal += complete
            source += 1


def convert_draft(out, files):
    for index, (name, tree) in enumerate(files):
        paths = field(tree, "Tree_Structure", name)
        label = whole_number(field(tree, "Token_Tree_size", name), name + " Token_Tree_size")
        new, depth, rows, inner = {(): 0}, 0, ["dnode 0 -1 0"], set()
        for way in sorted((tuple(way) for way in paths), key=len):
            for rank in way:
                whole_number(rank, name + " Tree_Structure")
            if not way or way in new or way[:-1] not in new:
                raise WrongInput("%s: %s is no new step from the tree" % (name, list(way)))
            rows.append("dnode %d %d %d" % (len(new), new[way[:-1]], way[-1]))
            new[way] = len(new)
            inner.add(way[:-1])
            depth = max(depth, len(way))
        out.append("draft %d %d %d %d" % (index, label, len(new), depth))
        out.extend(rows)
        out.append("end %d %d" % (len(new) - len(inner), sum(len(way) + 1 for way in new)))


def convert_accept(out, files):
    seen = set()
    for name, tree in files:
        records = field(tree, "Records", name)
        for index, record in enumerate(records):
            where = "%s record %d" % (name, index)
            lengths = field(record, "Accept_length", where)
            for length in lengths:
                whole_number(length, where + " Accept_length")
            if not lengths:
                raise WrongInput("%s: expected at least one accepted length" % where)
            prompt, exact = record.get("prompt_len"), 1
            if prompt is None:
                prompt, exact = math.ceil(1.3 * len(str(record.get("prompt", "")).split())), 0
            key = (prompt, tuple(lengths))
            if key in seen:
                continue
            out.append("rec r%d %d %d %d %d" % (len(seen), whole_number(prompt, where + " prompt_len"), exact,
                                                len(lengths), len(lengths)))
            seen.add(key)
            for at in range(0, len(lengths), 50):
                out.append("acc " + " ".join(str(length) for length in lengths[at:at + 50]))
            out.append("end %d" % sum(lengths))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("reason", "draft", "accept"))
    parser.add_argument("name", help="one word for the first line of the output")
    parser.add_argument("files", nargs="+", metavar="FILE.json")
    options = parser.parse_args()
    convert = {"reason": convert_reason, "draft": convert_draft, "accept": convert_accept}[options.kind]
    out = ["ttr 1 %s %s" % (options.kind, options.name)]
    try:
        if len(options.name.split()) != 1 or not options.name.isprintable() or len(options.name) > 63:
            raise WrongInput("name: expected one word of at most 63 characters")
        files = []
        for file in options.files:
            with open(file, encoding="utf-8") as stream:
                files.append((file, json.load(stream)))
        convert(out, files)
        if len(out) == 1:
            raise WrongInput("%s: nothing to convert" % options.files[0])
    except (OSError, ValueError, TypeError, RecursionError, WrongInput) as error:
        sys.stderr.write("deft_to_ttr.py: %s\n" % error)
        return 2
    data = ("\n".join(out) + "\n").encode("utf-8")
    try:
        while data:  # not sys.stdout, which tells a failed write only after the exit status is fixed
            data = data[os.write(1, data):]
    except OSError as error:
        sys.stderr.write("deft_to_ttr.py: could not write to standard output: %s\n" % error.strerror)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
