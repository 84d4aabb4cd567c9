# The rates of the GPU that recorded l2_amortization.csv: chapter 1.
END {
    value("dram_gbps", ceiling("dram_gbps"))
    value("matrix_tflops", ceiling("matrix_tflops"))
    value("corner", d(0, 1000 * ceiling("matrix_tflops") / ceiling("dram_gbps")))
    holds("An NVIDIA H200 was measured", told_device("NVIDIA H200"))
    exit failed
}
