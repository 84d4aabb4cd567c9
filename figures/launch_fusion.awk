END {
    for (i = 1; i <= num_rows; i++) {
        collect("branches", cell(i, "branches") + 0)
        collect("launch", cell(i, "launch_us") + 0)
        collect("standard", cell(i, "standard_us") / cell(i, "one_launch_us"))
        collect("fused", 1 - cell(i, "one_launch_us") / cell(i, "two_launches_us"))
        collect("left", cell(i, "launch_us") - cell(i, "two_launches_us") + cell(i, "one_launch_us"))
        collect("last", 1 - cell(i, "last_us") / cell(i, "two_launches_us"))
    }
    say("behind one prefix, {} to {},", low["branches"], high["branches"])
    holds("2048 shared and 64 own tokens per branch", told("branches of 64 tokens behind 2048"))
    holds("2048 shared + 64 own tokens each", told("branches of 64 tokens behind 2048"))
    holds("32/8 heads, head_dim 128, fp16", told("fp16, 32/8 heads, head_dim 128"))
    holds("price of three launches", "standard_us" in column)
    holds("three launches, all materialised", "standard_us" in column)
    holds("two launches: partial states", "two_launches_us" in column)
    say("an empty launch takes {} to {} us", d(2, low["launch"]), d(2, high["launch"]))
    say("standard attention takes {} to {} times as long as one launch", d(0, low["standard"]), d(0, high["standard"]))
    say("saves {} to {} % of the time of ", percent(0, low["fused"]), percent(0, high["fused"]))
    holds("of the time of two launches", low["fused"] > 0)
    holds("the wait for the last worker takes back a part of what the second launch would have cost", low["left"] > 0)
    say("takes {} to {} % less time than ", percent(0, low["last"]), percent(0, high["last"]))
    holds("less time than two launches", low["last"] > 0)
    holds("one launch far below two", high["fused"] < 0.2)
    holds("H200", told_device("NVIDIA H200"))
    exit failed
}
