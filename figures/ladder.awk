# Rows of plan cost: the trees one after the other, each with all rungs in order.
function step(row) { return substr(cell(row, "step"), 6) + 0 }
function rung(name,    i) {
    for (i = 1; i <= num_rows; i++) if (cell(i, "step") ~ "^step_[0-9]+_" name "$") return step(i)
    die("no rung " name)
}
END {
    find("plan=cost", row)
    queue = rung("queue")
    for (i = 1; i <= row[0]; i++) {
        if (step(row[i]) == 0) trees++
        if (step(row[i]) > last) last = step(row[i])
        collect("score", cell(row[i], "score"))
        if (step(row[i]) == 0) continue
        gain = cell(row[i - 1], "cold_us") / cell(row[i], "cold_us")
        collect("gain_" step(row[i]), gain)
        if (step(row[i]) > queue) collect("later", gain)
    }
    for (i = 1; i <= row[0]; i++) if (step(row[i]) == last) collect("over", cell(row[i], "cold_us") / cell(row[i], "floor_us"))
    say("the rung, {} to {}.", 0, last)
    holds("Fixed:** four trees", trees == 4)
    holds("fp16, 32/8 heads, head_dim 128, block_tokens 8", told("fp16, 32/8 heads, head_dim 128, block_tokens 8"))
    holds("1: the floor", high["score"] < 1)
    n = split("coalesced tensor_cores queue", names, " ")
    for (i = 1; i <= n; i++) number[names[i]] = rung(names[i])
    say("coalescing (step {}) makes the kernel {} to {} times faster", number["coalesced"], d(1, low["gain_" number["coalesced"]]), d(1, high["gain_" number["coalesced"]]))
    say("tensor cores (step {}) {} to {} times", number["tensor_cores"], d(1, low["gain_" number["tensor_cores"]]), d(1, high["gain_" number["tensor_cores"]]))
    say("the queue (step {}) {} to {} times", queue, d(1, low["gain_" queue]), d(1, high["gain_" queue]))
    tile = rung("shared_tile")
    say("shared tile (step {}) loads", tile)
    say("takes {} to {} times as long as the split (step {})", d(1, 1 / high["gain_" tile]), d(1, 1 / low["gain_" tile]), rung("split"))
    say("after the queue is {} to {} times as fast as the one before", d(2, low["later"]), d(2, high["later"]))
    say("the last one takes {} to {} times the floor", d(1, low["over"]), d(1, high["over"]))
    say("a rung after step {} that", tile)
    for (i = tile + 1; i <= last; i++) if (("gain_" i) in high && high["gain_" i] < 0.95) slower = 1
    holds("on all four trees", !slower)
    holds("cold L2, H200", told_device("NVIDIA H200"))
    exit failed
}
