# The rates of the GPU that recorded l2_amortization.csv: chapter 1.
END {
    value("dram_gbps", ceiling("dram_gbps"))
    value("matrix_tflops", ceiling("matrix_tflops"))
    value("balance", d(0, 1000 * ceiling("matrix_tflops") / ceiling("dram_gbps")))
    exit failed
}
