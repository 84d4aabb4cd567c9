# Heads 32/8 unless a name says otherwise.
function of(tree, name) { return at("heads=32 kv_heads=8 tree=" tree, name) }
function score(tree) { return d(2, of(tree, "floor_us") / of(tree, "cold_us")) }
# What the products need, and what the L2 cache needs for the bytes that the plan loads: us.
function products_us(row) {
    return 4 * cell(row, "logical_bytes") / (4 * 128 * cell(row, "kv_heads")) * cell(row, "heads") * 128 / ceiling("matrix_tflops") / 1e6 + ceiling("launch_us")
}
function l2_us(tree) { return of(tree, "plan_bytes") / ceiling("l2_gbps") / 1000 }
# Chapter 8.
END {
    for (i = 1; i <= num_rows; i++) {
        heads = cell(i, "heads") "/" cell(i, "kv_heads"); reach = cell(i, "floor_us") / cell(i, "cold_us")
        collect(heads, reach); if (reach > most) most = reach
        by_products = cell(i, "floor_us") < products_us(i) + 0.02
        if (by_products) products[heads]++
        if (heads != "32/8") continue
        trees++
        if (by_products && cell(i, "tree") != "wide, 1024") others++
        if (cell(i, "warm_us") < 0.8 * cell(i, "cold_us")) warm++
    }
    value("trees", trees)
    value("mean", d(2, mean("32/8"))); value("mean_32", d(2, mean("32/32"))); value("mean_16", d(2, mean("16/1")))
    value("most", d(2, most))
    value("dram_gbps", ceiling("dram_gbps")); value("l2_gbps", ceiling("l2_gbps"))
    value("one_mb", d(1, of("prefix_1", "unique_bytes") / 1e6))
    value("one_ideal", d(1, of("prefix_1", "unique_bytes") / ceiling("dram_gbps") / 1000))
    value("one_floor", d(1, of("prefix_1", "floor_us"))); value("one_us", d(1, of("prefix_1", "cold_us")))
    value("one_warm", d(1, of("prefix_1", "warm_us")))
    few_us = of("prefix_16", "cold_us"); few_floor = of("prefix_16", "floor_us")
    value("few_branches_us", d(1, few_us)); value("few_branches_floor", d(1, few_floor)); value("few_branches_rest", d(1, few_us - few_floor))
    value("long_mb", d(0, of("long_prefix", "unique_bytes") / 1e6)); value("long_us", d(0, of("long_prefix", "cold_us")))
    value("long_score", score("long_prefix"))
    value("wide_us", d(0, of("wide,_1024", "cold_us"))); value("wide_floor", d(0, of("wide,_1024", "floor_us")))
    value("wide_score", score("wide,_1024")); value("wide_plan_mb", d(0, of("wide,_1024", "plan_bytes") / 1e6))
    value("wide_mb", d(0, of("wide,_1024", "unique_bytes") / 1e6)); value("wide_dram_mb", d(0, of("wide,_1024", "dram_bytes") / 1e6))
    value("wide_l2_us", d(0, l2_us("wide,_1024")))
    value("few_floor", d(2, of("few-shot_20", "floor_us"))); value("matrix_tflops", d(0, ceiling("matrix_tflops")))
    # The answers, worked by hand from these numbers.
    holds("The floor falls to 2.4 us, the call takes 2.4 + 6.7 = 9.0 us", d(1, few_floor / 2) == 2.4 && d(1, few_us - few_floor) == 6.7 && d(1, few_us - few_floor / 2) == "9.0")
    holds("the score falls from 0.41 to 0.26", d(2, few_floor / few_us) == 0.41 && d(2, few_floor / 2 / (few_us - few_floor / 2)) == 0.26)
    memory = 4096 / ceiling("dram_gbps") / 1000; product = 16384 / ceiling("matrix_tflops") / 1e6
    crossing = 2048 * memory / (2080 * product - 32 * memory)
    holds("They are equal at n = 1.899 / 0.01447 = 131", crossing > 130.5 && crossing < 131.5)
    holds("8000 tokens, 32.8 MB, 7.4 us", d(1, 8000 * memory) == 7.4)
    holds("instead of 671, 53 us instead of 88", d(0, l2_us("wide,_1024")) == 88 && d(0, 402.7e6 / ceiling("l2_gbps") / 1000) == 53)
    holds("Of these trees it is the only one whose floor is the arithmetic", products["32/8"] == 1 && !others)
    holds("none of the trees is a fifth faster", !warm)
}
