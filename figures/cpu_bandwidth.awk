END {
    most = highest("plan=flash", "branches")
    say("behind one prefix, {} to {};", lowest("plan=flash", "branches"), most)
    holds("32/8 heads, head_dim 128, bf16", told("32/8 heads, head_dim 128, bf16"))
    holds("2048 shared and 64 own tokens per branch", told("2048 shared + 64 own tokens"))
    holds("2048 shared + 64 own tokens each", told("2048 shared + 64 own tokens"))
    holds("2 threads", told("threads: 2,"))
    say("From {} to {} branches per-branch reading rises from {} to {} GB/s,", 1, 64, d(0, at("plan=flash branches=1", "logical_gbps")),
        d(0, at("plan=flash branches=64", "logical_gbps")))
    say("has to deliver fall from {} to {} GB/s", d(0, at("plan=flash branches=1", "unique_gbps")), d(1, at("plan=flash branches=64", "unique_gbps")))
    say("With {} branches per-branch reading exceeds the memory's rate by {} %", 64,
        percent(0, at("plan=flash branches=64", "logical_gbps") / at("plan=flash branches=64", "memory_read_gbps") - 1))
    holds("exceeds the memory's rate without help from the cache", at("plan=cost branches=" most, "logical_gbps") > at("plan=cost branches=" most, "memory_read_gbps") &&
          at("plan=cost branches=" most, "plan_gbps") < at("plan=cost branches=" most, "memory_read_gbps"))
    holds("far below the cache's own rate", 2 * highest("plan=flash", "logical_gbps") < at("plan=flash branches=64", "cache_read_gbps"))
    a = at("plan=flash branches=64", "memory_read_gbps") / at("plan=flash branches=64", "unique_gbps")
    b = at("plan=cost branches=2", "memory_read_gbps") / at("plan=cost branches=2", "unique_gbps")
    say("Per-branch reading of {} branches has {} GB/s and takes {} times the floor", 64, d(0, at("plan=flash branches=64", "logical_gbps")), d(0, a))
    say("one pass for {} branches has {} GB/s and takes {} times the floor", 2, d(0, at("plan=cost branches=2", "logical_gbps")), d(1, b))
    holds("higher effective bandwidth is not nearer to the floor", a > b && at("plan=flash branches=64", "logical_gbps") > at("plan=cost branches=2", "logical_gbps"))
    exit failed
}
