END {
    for (i = 1; i <= num_rows; i++) {
        collect("branches", cell(i, "branches") + 0)
        if (cell(i, "branches") >= 16) collect("gain", cell(i, "per_sequence_us") / cell(i, "tree_us"))
    }
    last = "branches=" high["branches"]
    own = (at("branches=16", "shared_mib") - at("branches=1", "shared_mib")) * 256 / 15
    say("behind one prefix, {} to {}.", low["branches"], high["branches"])
    say("Fixed:** {} shared and {} own tokens per branch", at("branches=1", "shared_mib") * 256 - own, own)
    say("({} shared + {} own tokens each)", at("branches=1", "shared_mib") * 256 - own, own)
    holds("32/8 heads, head_dim 128, fp16", told("fp16, 32/8 heads, head_dim 128"))
    holds("takes three launches", "standard_us" in column)
    holds("copied, three launches", "standard_us" in column)
    say("At {} branches one pass for all branches is {} times faster than standard", high["branches"], d(0, at(last, "standard_us") / at(last, "tree_us")))
    say("one pass for all branches is {} times faster. ", d(1, at(last, "per_sequence_us") / at(last, "tree_us")))
    single = at("branches=1", "per_sequence_us") / at("branches=1", "tree_us")
    holds("With a single branch the two differ by less than 1 %", single < 1.01 && single > 0.99)
    say("by {} % at {} branches", percent(1, 1 - at(last, "shared_mib") / at(last, "copied_mib")), high["branches"])
    holds("one pass for all branches being slower than per-branch reading", low["gain"] > 1)
    holds("H200", told_device("NVIDIA H200"))
    exit failed
}
