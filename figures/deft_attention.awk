END {
    for (i = 1; i <= num_rows; i++) {
        work = cell(i, "tree"); sub(/ t[0-9]+ i[0-9]+$/, "", work)
        if (!(work in seen)) { seen[work] = 1; works[++n] = work }
        us[work, cell(i, "plan")] += cell(i, "cold_us")
        if (work ~ /^(few-shot|speculative)/ && cell(i, "plan") == "flash") collect(substr(work, 1, 4), cell(i, "queries"))
    }
    for (k = 1; k <= n; k++) {
        w = works[k]
        m = split("flash flash_decoding tree_mask node node_chunk flatten cost", plans, " ")
        for (i = 1; i <= m; i++) {
            gain[w, plans[i]] = us[w, "radix"] / us[w, plans[i]]
            collect(plans[i], gain[w, plans[i]])
            behind[plans[i]] += gain[w, plans[i]] < 1
        }
        collect("cut", gain[w, "node_chunk"]); collect("cut", gain[w, "flatten"])
        collect("over_node", gain[w, "flatten"] / gain[w, "node"])
        if (w !~ /speculative (128|256)|draft (128|256)/) collect("over_node", gain[w, "node_chunk"] / gain[w, "node"])
        if (gain[w, "cost"] / gain[w, "flatten"] < worst || !worst) { worst = gain[w, "cost"] / gain[w, "flatten"]; worst_work = w }
    }
    while ((getline line <"../docs/deft_table4.csv") > 0) {
        if (line ~ /^#/ || split_row(line, f) < 5 || f[1] == "workload") continue
        theirs_flatten = theirs_flatten || f[2] / f[5] < 1
        if (f[1] ~ /^speculative/) continue
        theirs_chunk = theirs_chunk || f[2] / f[4] > 1
        collect("chunk_flatten", gain[f[1], "node_chunk"] / gain[f[1], "flatten"])
    }
    few = at("tree=few-shot_20 plan=flash", "unique_bytes") / 4096
    say("few-shot prompts ({} shared tokens, {} to {} branches)", few - 20 * 200, low["few-"], high["few-"])
    past = at("tree=speculative_32 plan=flash", "unique_bytes") / 4096 - 32
    say("({} past tokens and a star of {} to {} draft tokens)", past, low["spec"], high["spec"])
    say("draft trees behind {} tokens", past)
    holds("every thousandth iteration", find("tree=sorting_t0_i1000 plan=cost", row) == 1)
    holds("32/8 heads, head_dim 128, fp16", told("fp16, 32/8 heads, head_dim 128"))
    say("no grouping on {} and {} of the {} workloads", behind["node"], behind["tree_mask"], n)
    holds("whole nodes do not", behind["node"] && behind["tree_mask"])
    say("node_chunk and flatten, which gain {} to {} times", d(1, low["cut"]), d(1, high["cut"]))
    holds("evenly cut items always pay", low["cut"] > 1 && low["cost"] > 1)
    say("The plan cost gains {} to {} times", d(1, low["cost"]), d(1, high["cost"]))
    say("it is behind by at most {} % (on the smallest star)", percent(0, 1 / worst - 1))
    holds("on the smallest star", worst_work == "speculative 32")
    say("is within {} % of flatten", percent(0, high["chunk_flatten"] - 1 > 1 - low["chunk_flatten"] ? high["chunk_flatten"] - 1 : 1 - low["chunk_flatten"]))
    holds("slower than Radix Attention there on few-shot prompts and reasoning", !theirs_chunk)
    holds("flatten pays, node_chunk is slower than radix on few-shot and reasoning", !theirs_chunk && !theirs_flatten)
    holds("node_chunk or flatten not faster than radix and node", low["cut"] > 1 && low["over_node"] > 1)
    holds("cold L2, H200", told_device("NVIDIA H200"))
    exit failed
}
