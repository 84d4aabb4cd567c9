function us(work, plan, name) { return at("workload=" work " plan=" plan, name) }
END {
    for (i = 1; i <= num_rows; i++) {
        work = cell(i, "workload"); gsub(/ /, "_", work)
        if (cell(i, "plan") != "cost" || !(cell(i, "deft_decoding") + 0 > 0)) continue
        n++
        step = cell(i, "step_us"); radix = us(work, "radix", "step_us"); none = us(work, "none", "step_us")
        theirs = cell(i, "deft_decoding"); bound = cell(i, "deft_bound")
        collect("gain", radix / step); collect("theirs", theirs); collect("none", none)
        collect("device_gain", us(work, "radix", "device_us") / cell(i, "device_us"))
        collect("attention", us(work, "radix", "attention_us") / cell(i, "attention_us"))
        collect("their_attention", cell(i, "deft_attention"))
        collect("added", step / none - 1)
        flatten = us(work, "flatten", "step_us"); collect("flatten", step / flatten); collect("flatten_gain", radix / flatten)
        if (flatten < step) { flatten_wins++; flatten_works = flatten_works " " work }
        collect("reached", log(radix / step) / log(radix / none)); collect("their_reach", log(theirs) / log(bound))
        behind += radix / step < theirs
        if (radix / step < theirs) { lost_work = work; lost = theirs / (radix / step) - 1 }
        lower += radix / none < bound
        kind = work ~ /^few-shot/ ? "few" : work ~ /^speculative/ ? "star" : "task"
        collect(kind "_every", cell(i, "every")); collect(kind "_width", cell(i, "max_queries"))
        collect(kind "_plan", cell(i, "plan_us")); collect(kind "_radix_plan", us(work, "radix", "plan_us"))
        off = cell(i, "sampled_path_tokens") / cell(i, "path_tokens") - 1
        collect("sampled", off < 0 ? 1 - off : 1 + off)
        collect("standard", us(work, "standard", "step_us") / step)
    }
    rest = comments; sub(/.*weights of /, "", rest); gigabytes = rest + 0
    rest = comments; sub(/.*column every, /, "", rest); window = rest + 0
    read_us = 1e6 * gigabytes / ceiling("dram_gbps")
    say("few-shot prompts ({} to {} branches", low["few_width"], high["few_width"])
    say("behind {} tokens", us("few-shot_20", "cost", "unique_tokens") - 200 * 20)
    say("stars of {} to {} draft tokens", low["star_width"], high["star_width"])
    holds("a model of Llama-3-8B's shape", told("a model of Llama-3-8B's shape: 32 layers, width 4096"))
    say("random weights of {} GB", d(1, gigabytes))
    holds("(bf16, 32 layers, 32/8 heads, head_dim 128)", told("random bf16 weights") && told("32/8 heads, head_dim 128"))
    holds("blocks of 16 tokens", told("block_tokens 16"))
    holds("of DeFT's Table 3", n == 11)
    holds("the ten trees of each reasoning task", us("sorting", "cost", "iterations") == 41640)
    holds("on an A100 (Tables 3 and 4 of its poster)", told("Tables 3 and 4 of its poster, A100"))
    say("Of every {} iterations (few-shot), {} (sorting and document) or {} (all others), {} run in sequence on the GPU, and all but the first count",
        low["few_every"], us("sorting", "cost", "every"), low["star_every"], window)
    holds("(all others)", us("keyword", "cost", "every") == low["star_every"] && us("set", "cost", "every") == low["star_every"] && us("document", "cost", "every") == us("sorting", "cost", "every"))
    say("Without attention a step takes {} to {} ms", d(1, low["none"] / 1000), d(1, high["none"] / 1000))
    say("of which reading all matrices at the rate of memory takes {} ms", d(1, read_us / 1000))
    say("cost adds {} to {} % to it", percent(0, low["added"]), percent(0, high["added"]))
    say("Standard attention makes a step {} to {} times as long as cost", d(1, low["standard"]), d(1, high["standard"]))
    holds("A step of 32 layers", told("shape: 32 layers"))
    say("cost gains {} to {} times", d(2, low["gain"]), d(2, high["gain"]))
    say("DeFT's flatten gains {} to {} times over its own radix", d(2, low["theirs"]), d(2, high["theirs"]))
    say("is ahead of DeFT's on {} of the {} workloads", n - behind, n)
    say("on sorting it is {} % behind", percent(1, lost))
    holds("on sorting", behind == 1 && lost_work == "sorting")
    say("attention is {} % of a step of our radix there, and {} % of DeFT's", percent(0, 1 - us("sorting", "none", "step_us") / us("sorting", "radix", "step_us")), percent(0, 1 - 1 / us("sorting", "cost", "deft_bound")))
    say("Our flatten is faster than cost on {} of the {} workloads, keyword and set, by at most {} %", flatten_wins, n, percent(1, high["flatten"] - 1))
    holds("keyword and set", flatten_works == " keyword set")
    say("Our bound is lower on {} of the {} workloads", lower, n)
    say("the attention of cost is {} to {} times as fast as that of radix, DeFT's {} to {} times", d(1, low["attention"]), d(1, high["attention"]), d(2, low["their_attention"]), d(2, high["their_attention"]))
    say("On reasoning and few-shot prompts the plan of cost takes {} to {} us of the host per step", d(1, low["task_plan"] < low["few_plan"] ? low["task_plan"] : low["few_plan"]), d(1, high["task_plan"] > high["few_plan"] ? high["task_plan"] : high["few_plan"]))
    say("on stars {} to {} us, where radix takes {} to {} us", d(0, low["star_plan"]), d(0, high["star_plan"]), d(0, low["star_radix_plan"]), d(0, high["star_radix_plan"]))
    say("Without the host, cost gains {} to {} times", d(2, low["device_gain"]), d(2, high["device_gain"]))
    say("the mean number of tokens in the samples is that of all iterations to within {} %", percent(1, high["sampled"] - 1))
    whole = us("set_t9,_whole", "cost", "step_us"); part = us("set_t9,_sampled", "cost", "step_us")
    say("One task that ran as a whole, all {} iterations with their forks and prunes, took {} us per step with cost", us("set_t9,_whole", "cost", "iterations"), d(0, whole))
    say("its samples predict {} us", d(0, part))
    say("Planning took {} us there, not {}", d(1, us("set_t9,_whole", "cost", "plan_us")), d(1, us("set_t9,_sampled", "cost", "plan_us")))
    holds("since the host's data leaves the caches during a step", us("set_t9,_whole", "cost", "plan_us") > us("set_t9,_sampled", "cost", "plan_us"))
    say("the pool took {} us and new graphs {} us per iteration", d(1, us("set_t9,_whole", "cost", "pool_us")), d(1, us("set_t9,_whole", "cost", "capture_us")))
    small = us("reasoner", "cost", "device_us")
    say("A step of the reasoner for {} branches takes {} us of the GPU with cost and {} us with radix", us("reasoner", "cost", "max_queries"), d(0, small), d(0, us("reasoner", "radix", "device_us")))
    holds("on which a step takes longer with cost or flatten than with radix", low["gain"] > 1 && low["flatten_gain"] > 1)
    holds("a task whose mean is off by more than a hundredth from that of its samples", whole / part < 1.01 && part / whole < 1.01)
    holds("one CUDA graph for each step, products by cuBLAS, H200", told_device("NVIDIA H200") && told("one CUDA graph"))
    exit failed
}
