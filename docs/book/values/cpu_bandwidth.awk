# One pass for all branches and per-branch reading on the tree of chapter 1.
function ratio(plan, n) { return at("plan=" plan " branches=" n, "us") / at("plan=" plan " branches=1", "us") }
END {
    value("two_cost", d(2, ratio("cost", 2)))
    value("two_flash", d(2, ratio("flash", 2)))
    value("many_cost", d(1, ratio("cost", 64)))
    value("many_flash", d(1, ratio("flash", 64)))
    value("one_gflops", d(0, 4 * at("plan=cost branches=1", "logical_gbps")))
    value("many_gflops", d(0, 4 * at("plan=cost branches=64", "logical_gbps")))
    exit failed
}
