# The ceilings of the machine that recorded bench_cpu.csv, and the time that its arithmetic needs for the tree of chapter
# 1: 16384 FLOP for each token that a query sees.
function path_tokens(branches) { return branches * (2048 + 64) }
END {
    find("measured=ceiling:_memory_read", row)
    gbps = cell(row[1], "plan_gbps")
    find("measured=ceiling:_multiply-add", row)
    gflops = cell(row[1], "gflops")
    value("memory_gbps", d(1, gbps))
    value("gflops", d(0, gflops))
    value("corner", d(0, gflops / gbps))
    for (n = 1; n <= 64; n *= 2) if (n != 32) value("compute_" n, d(0, path_tokens(n) * 16384 / gflops / 1000))
    holds("two threads of an AMD EPYC", told("device: AMD EPYC, 2 threads"))
}
