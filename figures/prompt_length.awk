function grows(plan) { return at("plan=" plan " tree=" longest, "cold_us") / at("plan=" plan " tree=" shortest, "cold_us") }
END {
    shortest = lowest("plan=cost", "tree"); longest = highest("plan=cost", "tree")
    holds("that 32 branches", lowest("plan=cost", "queries") == 32 && highest("plan=cost", "queries") == 32)
    holds("32 branches with 200 own tokens each", told("32 branches of 200 tokens"))
    holds("200 own tokens per branch", told("32 branches of 200 tokens"))
    holds("32/8 heads, head_dim 128, fp16", told("fp16, 32/8 heads, head_dim 128"))
    say("share, {} to {} tokens", shortest, longest)
    say("its time grows {} times while the prompt grows {} times", d(1, grows("radix")), d(0, longest / shortest))
    n = split("node_chunk flatten cost", plans, " ")
    for (i = 1; i <= n; i++) {
        collect("grows", grows(plans[i]))
        if (plans[i] != "cost") collect("items", at("plan=" plans[i] " tree=" longest, "items") + 0)
        if (plans[i] != "cost") collect("lead", at("plan=" plans[i] " tree=" longest, "cold_us") / at("plan=cost tree=" longest, "cold_us"))
    }
    say("their time grows {} to {} times", d(1, low["grows"]), d(1, high["grows"]))
    holds("The plan cost stays nearest to the floor", low["lead"] > 1)
    say("it has {} items with the longest prompt, the other grouped plans {} to {}", at("plan=cost tree=" longest, "items"), low["items"], high["items"])
    holds("H200", told_device("NVIDIA H200"))
    exit failed
}
