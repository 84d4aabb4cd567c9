# Times over that of Radix Attention, summed over the trees of a workload, as figures/deft_attention.awk does.
END {
    for (i = 1; i <= num_rows; i++) {
        work = cell(i, "tree"); sub(/ t[0-9]+ i[0-9]+$/, "", work)
        works[work] = 1
        us[work, cell(i, "plan")] += cell(i, "cold_us")
    }
    for (work in works) {
        collect("cost", us[work, "radix"] / us[work, "cost"])
        collect("node", us[work, "radix"] / us[work, "node"])
    }
    value("cost_least", d(1, low["cost"]))
    value("cost_most", d(1, high["cost"]))
    value("node_least", d(1, low["node"]))
    value("node_most", d(1, high["node"]))
}
