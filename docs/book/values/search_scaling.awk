# Chapter 11: the tree of 5 kept states and 8 proposals, against searches without a model.
function share(where) { return percent(0, at(where, "share")) " %" }
# The bound of the exhaustive search whose nodes are the widest tree's, or the next one above.
function bound(nodes,    row, i, least) {
    for (i = find("way=exhaustive", row); i; i--) if (cell(row[i], "kept") >= d(0, nodes) + 0 && (!least || cell(row[i], "kept") < least)) least = cell(row[i], "kept")
    return least
}
END {
    greedy = "way=tree kept=1 proposals=5"
    wide = "way=tree kept=5 proposals=5"
    tree = "way=tree kept=5 proposals=8"
    value("blocks", d(1, at(tree, "copied_blocks") / at(tree, "blocks")))
    value("bytes", d(1, at(tree, "copied_mb") / at(tree, "plan_mb")))
    value("solved", share(tree))
    value("nodes", d(0, at(tree, "nodes")))
    value("bound", bound(at(tree, "nodes")))
    value("exhaustive", share("way=exhaustive kept=" bound(at(tree, "nodes"))))
    value("greedy", share(greedy))
    value("wide", share(wide))
    holds("breadth adds", at(wide, "share") >= at(greedy, "low") && at(wide, "share") <= at(greedy, "high"))
    value("random", share("way=random kept=5 proposals=8"))
    holds("Products take most of it", lowest("way=tree", "products") > 0.5)
    holds("exhaustive search solves everything", at("way=exhaustive kept=4000", "share") == 1)
}
