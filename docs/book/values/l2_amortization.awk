function gbps(where) { return at(where, "logical_bytes") / at(where, "us") / 1000 }
# Chapter 6: per-branch reading and one pass for all branches.
END {
    for (i = 1; i <= num_rows; i++) {
        branches = cell(i, "branches"); where = "plan=" cell(i, "plan") " branches=" branches " state="
        if (cell(i, "state") == "cold") collect("best_" cell(i, "plan"), gbps(where "cold"))
        if (branches <= 32) collect("warm_saves", 1 - at(where "warm", "us") / at(where "cold", "us"))
    }
    last = "branches=256 state=cold plan="
    value("radix_hits", d(0, at(last "radix", "l2_hit_percent")))
    value("radix_best", d(2, high["best_radix"] / ceiling("dram_gbps")))
    value("l2_over_dram", d(1, ceiling("l2_gbps") / ceiling("dram_gbps")))
    value("cost_best", d(1, gbps(last "cost") / ceiling("dram_gbps")))
    value("radix_us", d(0, at(last "radix", "us")))
    value("cost_us", d(0, at(last "cost", "us")))
    value("warm_low", percent(0, low["warm_saves"]))
    value("warm_high", percent(0, high["warm_saves"]))
}
