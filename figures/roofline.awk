END {
    most = highest("machine=cpu", "branches")
    for (b = 1; b <= most; b *= 4) {
        collect("each", at("machine=cpu plan=flash branches=" b, "operations_per_byte"))
        collect("each", at("machine=gpu plan=radix branches=" b, "operations_per_byte"))
        if (b > 1) collect("gain", at("machine=cpu plan=cost branches=" b, "gflops") / at("machine=cpu plan=flash branches=" b, "gflops"))
        if (b > 1) collect("gain", at("machine=gpu plan=cost branches=" b, "gflops") / at("machine=gpu plan=radix branches=" b, "gflops"))
    }
    tree = "2048 shared and 64 own tokens per branch, 32/8 heads, head_dim 128, bf16"
    holds(tree, told("2048 shared + 64 own tokens per branch; 32/8 heads, head_dim 128, bf16"))
    holds("2 threads", told("threads: 2,"))
    holds("fp16 on the H200", told("gpu_device: NVIDIA H200,") && told("fp16, cold L2"))
    say("behind one prefix, {}, {}, {} and {} (the numbers", 1, 4, 16, most)
    # A token's key and value in one KV head, and what a query head and the 4 of a group do with it.
    token_bytes = at("machine=cpu plan=flash branches=1", "loaded_bytes") / (2048 + 64) / 8
    head_operations = at("machine=cpu plan=flash branches=1", "operations") / (2048 + 64) / 32
    say("to its sum: {} operations. The {} query heads of a GQA group share the {} bytes", head_operations, 32 / 8, token_bytes)
    say("per-branch reading does {} operations per byte", low["each"])
    holds("no matter how many branches there are", low["each"] == high["each"] && low["each"] == head_operations * 4 / token_bytes)
    simd = ceiling("simd_fp32_gflops")
    if (ceiling("simd_bf16_gflops") > simd) simd = ceiling("simd_bf16_gflops")
    say("Memory delivers {} GB/s, and the SIMD units do up to {} GFLOP/s: to be busy they would need {} operations per byte",
        d(0, ceiling("memory_gbps")), d(0, simd), d(0, simd / ceiling("memory_gbps")))
    holds("That is why decoding waits for memory", high["each"] < simd / ceiling("memory_gbps"))
    say("computes more with each byte, {} operations for {} branches", d(0, at("machine=cpu plan=cost branches=" most, "operations_per_byte")), most)
    holds("leaves the sloping part of the roof", at("machine=cpu plan=cost branches=" most, "operations_per_byte") > simd / ceiling("memory_gbps"))
    say("it manages {} GFLOP/s, so {} operations per byte", ceiling("scalar_gflops"), d(2, ceiling("scalar_gflops") / ceiling("memory_gbps")))
    say("tensor cores need {} operations per byte", d(0, ceiling("gpu_matrix_gflops") / ceiling("gpu_memory_gbps")))
    say("Per-branch reading of {} branches reaches {} of the memory's part of the roof", most,
        d(2, at("machine=gpu plan=radix branches=" most, "gflops") / at("machine=gpu plan=radix branches=" most, "operations_per_byte") / ceiling("gpu_memory_gbps")))
    say("One pass for all branches does {} times as many operations per second", d(1, at("machine=gpu plan=cost branches=" most, "gflops") / at("machine=gpu plan=radix branches=" most, "gflops")))
    prefix_loads = (at("machine=gpu plan=cost branches=" most, "loaded_bytes") / 4096 - most * 64) / 2048
    intensity = at("machine=gpu plan=cost branches=" most, "operations_per_byte")
    say("This pass takes {} branches at a time: {} branches load the prefix {} times and have the {} operations per byte of {}",
        most / prefix_loads, most, prefix_loads, d(0, intensity), most / prefix_loads)
    holds("operations per byte of", intensity == at("machine=gpu plan=cost branches=" most / prefix_loads, "operations_per_byte"))
    holds("fewer operations per second than per-branch reading of as many branches", low["gain"] > 1)
    exit failed
}
