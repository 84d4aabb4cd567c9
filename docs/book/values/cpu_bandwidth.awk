function ratio(plan, n) { return at("plan=" plan " branches=" n, "us") / at("plan=" plan " branches=1", "us") }
# Chapter 1: one branch against several.
END {
    value("two_cost", d(2, ratio("cost", 2)))
    value("two_flash", d(2, ratio("flash", 2)))
    value("many_cost", d(1, ratio("cost", 64)))
    value("many_flash", d(1, ratio("flash", 64)))
    value("one_gflops", d(0, 4 * at("plan=cost branches=1", "logical_gbps")))
    value("many_gflops", d(0, 4 * at("plan=cost branches=64", "logical_gbps")))
}
# Chapter 6: per-branch reading above the memory's rate.
END {
    one = "plan=flash branches=64"
    value("above", percent(0, at(one, "logical_gbps") / at(one, "memory_read_gbps") - 1))
    value("flash_floor", d(0, at(one, "memory_read_gbps") / at(one, "unique_gbps")))
    value("flash_us", d(0, at(one, "us")))
    value("cost_us", d(0, at("plan=cost branches=64", "us")))
}
