# The ceilings of the machine that recorded bench_cpu.csv: chapter 1.
END {
    find("measured=ceiling:_memory_read", row)
    gbps = cell(row[1], "plan_gbps")
    find("measured=ceiling:_multiply-add", row)
    gflops = cell(row[1], "gflops")
    value("memory_gbps", d(1, gbps))
    value("gflops", d(0, gflops))
    value("balance", d(0, gflops / gbps))
    value("one_query_gflops", d(0, 4 * gbps))
    value("one_query_percent", percent(0, 4 * gbps / gflops))
    holds("two threads of an AMD EPYC", told("device: AMD EPYC, 2 threads"))
    exit failed
}
