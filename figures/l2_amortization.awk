function gbps(where, bytes) { return at(where, bytes) / at(where, "us") / 1000 }
function trend(plan, b,    where) {
    where = "plan=" plan " branches=" b " state="
    collect("best_" plan, gbps(where "cold", "logical_bytes"))
    if (b <= 32) collect("warm_saves", 1 - at(where "warm", "us") / at(where "cold", "us"))
    if (b <= 32) collect("warm_dram", at(where "warm", "dram_bytes") / at(where "warm", "unique_bytes"))
    if (plan == "radix" && b > 1) collect("one_pass_gain", at(where "cold", "us") / at("plan=cost branches=" b " state=cold", "us"))
}
END {
    for (i = 1; i <= num_rows; i++) if (cell(i, "state") == "cold") trend(cell(i, "plan"), cell(i, "branches"))
    most = highest("plan=cost", "branches")
    own = (at("plan=cost branches=2 state=cold", "unique_bytes") - at("plan=cost branches=1 state=cold", "unique_bytes")) / 4096
    shared = at("plan=cost branches=1 state=cold", "unique_bytes") / 4096 - own
    last = "branches=" most " state=cold plan="
    say("behind one prefix, {} to {};", lowest("plan=cost", "branches"), most)
    say("Fixed:** {} shared and {} own tokens per branch", shared, own)
    say("({} shared + {} own tokens each)", shared, own)
    holds("32/8 heads, head_dim 128, fp16", told("fp16, 32/8 heads, head_dim 128"))
    say("at {} branches the L2 cache serves {} % of the reads", most, d(0, at(last "radix", "l2_hit_percent")))
    holds("logical_bytes and plan_bytes are the same line", at(last "radix", "logical_bytes") == at(last "radix", "plan_bytes"))
    say("at its best it reaches {} times the memory's rate", d(2, high["best_radix"] / ceiling("dram_gbps")))
    say("The L2 cache itself was read at {} times the memory's rate", d(1, ceiling("l2_gbps") / ceiling("dram_gbps")))
    holds("exceeds the peak of DRAM and even of L2", high["best_cost"] > ceiling("l2_gbps"))
    say("it is {} times the memory's rate at {} branches", d(1, gbps(last "cost", "logical_bytes") / ceiling("dram_gbps")), most)
    say("and {} % of them are never loaded", percent(0, 1 - at(last "cost", "plan_bytes") / at(last "cost", "logical_bytes")))
    say("At {} branches the recorded call is slower than at {}", 8, 16)
    holds("is slower than at", at("plan=cost branches=8 state=cold", "us") > at("plan=cost branches=16 state=cold", "us"))
    holds("it ran step 13, which has left such plans to step 12 since", told("commit: 7f3fc8298e6d"))
    holds("almost nothing up to 32 branches", high["warm_dram"] < 0.01)
    say("the call takes only {} to {} % less time", percent(0, low["warm_saves"]), percent(0, high["warm_saves"]))
    holds("one pass for all branches being slower than per-branch reading", low["one_pass_gain"] > 1)
    holds("H200", told_device("NVIDIA H200"))
    exit failed
}
