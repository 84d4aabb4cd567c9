function over_floor(work, plan,    where) { where = "workload=" work " variant=packed strategy=" plan; return at(where, "plan_bytes") / at(where, "unique_bytes") }
function cut(work,    where) { where = "workload=" work " variant=packed strategy=flatten"; return (at(where, "mask_bytes") + at(where, "partial_bytes")) / at(where, "plan_bytes") }
END {
    find("variant=packed strategy=flash", row)
    for (i = 1; i <= row[0]; i++) {
        work = cell(row[i], "workload")
        if (split(work, parts, " ") == 2) collect(parts[1], parts[2] + 0)
        if (work ~ /^spec/) { gsub(/ /, "_", work); collect("spec_cut", cut(work)) }
    }
    for (i = 1; i <= num_rows; i++) if (cell(i, "strategy") != "flash" && cell(i, "variant") == "packed") collect("floor", cell(i, "plan_bytes") / cell(i, "unique_bytes"))
    holds("means over ten recorded trees", told("means over a task's ten runs"))
    say("few-shot prompts with {} to {} branches", low["few-shot"], high["few-shot"])
    say("speculative decoding with {} to {} draft tokens", low["spec"], high["spec"])
    holds("32 layers, 32/8 heads, head_dim 128, fp16", told("bytes of 32 layers, 32/8 heads, head_dim 128, fp16, one token per block"))
    holds("between 100 % (", at("workload=set variant=packed strategy=radix", "plan_bytes") == at("workload=set variant=packed strategy=radix", "logical_bytes"))
    holds("at most 32 queries", over_floor("spec_32", "flatten") == 1 && over_floor("spec_64", "flatten") > 1.9)
    holds("64 rows, which are 16 queries", over_floor("spec_32", "cost") > 1.9 && over_floor("spec_32", "cost") <= 2)
    holds("flatten leaves the floor with 50 branches", over_floor("few-shot_30", "flatten") == 1 && over_floor("few-shot_50", "flatten") > 1)
    say("loads {} times the floor with {} draft tokens, cost {} times", d(1, over_floor("spec_" high["spec"], "flatten")), high["spec"], d(1, over_floor("spec_" high["spec"], "cost")))
    say("for flatten {} times the grouped K and V with {} branches, and {} times in speculative decoding", d(1, cut("few-shot_50")), 50, d(1, high["spec_cut"]))
    holds("times in speculative decoding", high["spec_cut"] - low["spec_cut"] < 0.05)
    say("computes up to {} % of the visible pairs in vain", d(0, highest("variant=packed strategy=tree_mask", "masked_percent")))
    holds("The csv has two ways of counting", find("variant=packed", row) + find("variant=deft_counted", row) == num_rows)
    say("KV IO ({} and {} TB for sorting", d(2, at("workload=sorting variant=deft_counted strategy=flatten", "plan_bytes") / 1e12),
        d(2, at("workload=sorting variant=deft_counted strategy=radix", "plan_bytes") / 1e12))
    holds("loads less than the floor", low["floor"] >= 0.9999999)
    exit failed
}
