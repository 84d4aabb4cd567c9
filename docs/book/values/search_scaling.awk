# Chapter 11: the tree of 5 kept states and 8 proposals, against searches without a model.
function share(where) { return percent(0, at(where, "share")) " %" }
END {
    tree = "way=tree kept=5 proposals=8"
    value("blocks", d(1, at(tree, "copied_blocks") / at(tree, "blocks")))
    value("bytes", d(1, at(tree, "copied_mb") / at(tree, "plan_mb")))
    value("solved", share(tree))
    value("nodes", d(0, at(tree, "nodes")))
    value("exhaustive", share("way=exhaustive kept=65"))
    value("random", share("way=random kept=5 proposals=8"))
    holds("Products take most of it", lowest("way=tree", "products") > 0.5)
    holds("exhaustive search solves everything", at("way=exhaustive kept=4000", "share") == 1)
}
