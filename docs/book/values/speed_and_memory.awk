END {
    value("standard_us", d(0, at("branches=256", "standard_us")))
    value("tree_us", d(0, at("branches=256", "tree_us")))
}
