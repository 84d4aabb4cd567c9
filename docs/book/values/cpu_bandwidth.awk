# Chapter 1: the tree with one prefix, once per branch (flash) and in one pass for all branches (cost), and the time that
# memory needs for its stored tokens, 4096 bytes each.
function us(plan, n) { return at("plan=" plan " branches=" n, "us") }
function memory_us(n) { return (2048 + 64 * n) * 4096 / at("plan=cost branches=" n, "memory_read_gbps") / 1000 }
END {
    for (n = 1; n <= 64; n *= 2) {
        if (n == 32) continue
        value("stored_" n, 2048 + 64 * n)
        value("intensity_" n, d(1, 4 * n * 2112 / (2048 + 64 * n)))
        value("memory_" n, d(0, memory_us(n)))
        value("one_pass_" n, d(0, us("cost", n)))
        value("per_branch_" n, d(0, us("flash", n)))
    }
    value("two_cost", d(2, us("cost", 2) / us("cost", 1)))
    value("each_cost", d(0, us("cost", 64) / 64))
    value("each_flash", d(0, us("flash", 64) / 64))
    value("over_memory", d(1, us("cost", 1) / memory_us(1)))
    holds("A prefix of 2048 tokens, then 64 tokens of each branch's own", told("tree: 2048 shared + 64 own tokens a branch"))
}
# Chapter 6: per-branch reading above the memory's rate.
END {
    one = "plan=flash branches=64"
    value("above", percent(0, at(one, "logical_gbps") / at(one, "memory_read_gbps") - 1))
    value("flash_us", d(0, at(one, "us")))
    value("cost_us", d(0, at("plan=cost branches=64", "us")))
}
