function tb(work, strategy, name) { return d(2, at("workload=" work " variant=packed strategy=" strategy, name) / 1e12) }
END {
    n = split("flash flash_decoding radix tree_mask node node_chunk flatten cost", strategies, " ")
    for (i = 1; i <= n; i++) {
        s = strategies[i]
        value(s "_sorting_kv", tb("sorting", s, "plan_bytes"))
        value(s "_sorting_partial", tb("sorting", s, "partial_bytes"))
        value(s "_spec_kv", tb("spec_256", s, "plan_bytes"))
        value(s "_spec_partial", tb("spec_256", s, "partial_bytes"))
    }
}
