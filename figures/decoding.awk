function step(work, plan) { return at("workload=" work " plan=" plan, "step_us") }
END {
    for (i = 1; i <= num_rows; i++) {
        work = cell(i, "workload"); gsub(/ /, "_", work)
        if (cell(i, "plan") != "cost" || !(cell(i, "deft_decoding") + 0 > 0)) continue
        n++
        where = "workload=" work " plan="
        gain = step(work, "radix") / step(work, "cost")
        bound = step(work, "radix") / step(work, "none")
        attention = at(where "radix", "attention_us") / at(where "cost", "attention_us")
        collect("gain", gain); collect("flatten", step(work, "radix") / step(work, "flatten"))
        collect("theirs", cell(i, "deft_decoding"))
        collect("attention", attention); collect("their_attention", cell(i, "deft_attention"))
        collect("none", at(where "none", "step_us")); collect("share", at(where "cost", "attention_us") / step(work, "cost"))
        collect("left", step(work, "cost") / step(work, "none") - 1)
        collect("plan", cell(i, "plan_us"))
        lost += gain < cell(i, "deft_decoding")
        slower += step(work, "cost") > step(work, "radix") || step(work, "cost") > 1.01 * step(work, "flatten")
        above += bound > cell(i, "deft_bound")
        if (work !~ /^speculative/) collect("calm", cell(i, "plan_us"))
        off = cell(i, "sampled_path_tokens") / cell(i, "path_tokens") - 1
        collect("sampling", off < 0 ? -off : off)
        if (work ~ /^(sorting|document|keyword|set)$/) collect("reason", gain)
        if (find(where "standard", row)) collect("standard", step(work, "standard") / step(work, "cost"))
        weights = weights || told("random bf16 weights of ")
    }
    gigabytes = comments; sub(/.*weights of /, "", gigabytes)
    whole = "workload=set_t9,_all_iterations plan="
    say("a model of Llama-3-8B's shape ({} GB of random bf16 weights, 32/8 heads, head_dim 128, blocks of 16 tokens)", d(1, gigabytes + 0))
    holds("32/8 heads, head_dim 128, blocks of 16 tokens", told("32 layers, width 4096, 32/8 heads, head_dim 128") && told("block_tokens 16"))
    say("A step of 32 layers: {} ms without attention", d(1, mean("none") / 1000))
    say("cost gains {} to {} times", d(2, low["gain"]), d(2, high["gain"]))
    exit failed
}
