# Chapter 1: the roof of a CPU and of a GPU, and for trees with one prefix the times that memory and arithmetic need.
END {
    gbps = ceiling("memory_gbps")
    gflops = ceiling("simd_fp32_gflops")
    if (ceiling("simd_bf16_gflops") > gflops) gflops = ceiling("simd_bf16_gflops")
    value("memory_gbps", d(0, gbps))
    value("gflops", d(0, gflops))
    value("corner", d(0, gflops / gbps))
    value("gpu_memory_gbps", ceiling("gpu_memory_gbps"))
    value("gpu_tflops", d(0, ceiling("gpu_matrix_gflops") / 1000))
    value("gpu_corner", d(0, ceiling("gpu_matrix_gflops") / ceiling("gpu_memory_gbps")))
    for (n = 1; n <= 64; n *= 4) {
        one_pass = "machine=cpu plan=cost branches=" n; per_branch = "machine=cpu plan=flash branches=" n
        value("loaded_" n, at(one_pass, "loaded_bytes") / 4096)
        value("intensity_" n, d(1, at(one_pass, "operations_per_byte")))
        value("memory_" n, d(0, at(one_pass, "loaded_bytes") / gbps / 1000))
        value("compute_" n, d(0, at(one_pass, "operations") / gflops / 1000))
        value("one_pass_" n, d(0, at(one_pass, "us")))
        value("per_branch_" n, d(0, at(per_branch, "us")))
        collect("over", at(one_pass, "us") / max(at(one_pass, "loaded_bytes") / gbps, at(one_pass, "operations") / gflops) * 1000)
        times[n] = at(one_pass, "us")
        single[n] = at(per_branch, "us")
    }
    value("four_one_pass", d(1, times[4] / times[1]))
    value("four_per_branch", d(1, single[4] / single[1]))
    value("each_one_pass", d(0, times[64] / 64))
    value("each_per_branch", d(0, single[64] / 64))
    value("over_least", d(1, low["over"]))
    value("over_most", d(1, high["over"]))
    corner = gflops / gbps; gpu_corner = ceiling("gpu_matrix_gflops") / ceiling("gpu_memory_gbps")
    holds("five branches. For the GPU no number is enough", corner > 33792 / 2304 && corner < 42240 / 2368 && gpu_corner > 132)
    holds("two threads of an Intel Xeon", told("device: Intel(R) Xeon(R)") && told("threads: 2,"))
    holds("An NVIDIA H200 was measured", told("gpu_device: NVIDIA H200,"))
    holds("of 2048 tokens, then 64 tokens of each branch's own", told("tree: 2048 shared + 64 own tokens per branch"))
}
function max(a, b) { return a > b ? a : b }
