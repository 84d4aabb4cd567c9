# Chapter 11: a step of the small model on the GPU.
function us(plan) { return d(0, at("workload=reasoner plan=" plan, "device_us")) " us" }
END {
    value("reasoner_cost", us("cost"))
    value("reasoner_radix", us("radix"))
    holds("64 branches behind 100", told("64 branches behind 100 tokens"))
    value("reasoner_none", us("none"))
    holds("so grouping has little to save", at("workload=reasoner plan=cost", "device_us") > 0.9 * at("workload=reasoner plan=radix", "device_us"))
}
