# Chapter 6: per-branch reading above the memory's rate.
END {
    one = "plan=flash branches=64"
    value("above", percent(0, at(one, "logical_gbps") / at(one, "memory_read_gbps") - 1))
    value("flash_us", d(0, at(one, "us")))
    value("cost_us", d(0, at("plan=cost branches=64", "us")))
}
