# Rows: the trees once for each pair of heads. docs/peers_h200.csv has the same rows in the same order, and says nothing
# about another GPU.
function means(heads, kv_heads,    i, ours, peers, wins, n, us) {
    for (i = 1; i <= num_rows; i++) {
        if (cell(i, "heads") != heads || cell(i, "kv_heads") != kv_heads) continue
        n++
        if (!same_gpu) continue
        us = peer_us[cell(i, "tree"), heads, kv_heads]
        if (!us) die("docs/peers_h200.csv has no " cell(i, "tree"))
        ours += log(cell(i, "floor_us") / cell(i, "cold_us")); peers += log(cell(i, "floor_us") / us)
        wins += cell(i, "cold_us") < us
    }
    trees = n
    if (same_gpu) holds("At " heads "/" kv_heads " heads", n > 0)
    if (!same_gpu) holds("At " heads "/" kv_heads " heads the mean is", 0)
    else say("At " heads "/" kv_heads " heads the mean is {} against {}, and treeattn is faster on {} of {} trees", d(2, exp(ours / n)), d(2, exp(peers / n)), wins, n)
}
# -1: not measured.
function clocks(    i, mhz, most, least) {
    for (i = 1; i <= num_rows; i++) {
        mhz = cell(i, "sm_mhz")
        if (mhz > most) most = mhz
        if (!least || mhz < cell(least, "sm_mhz")) least = i
    }
    if (cell(least, "sm_mhz") <= 0) holds("In further cold replays this clock was", 0)
    else {
        say("In further cold replays this clock was between {} and {} MHz, and lowest with {}/{} heads", cell(least, "sm_mhz"), most, cell(least, "heads"), cell(least, "kv_heads"))
        holds("on the tree \"" cell(least, "tree") "\"", 1)
    }
}
END {
    while ((getline line <"../docs/peers_h200.csv") > 0)
        if (line !~ /^#/) { split_row(line, f); peer_us[f[1], f[2], f[3]] = f[5] + 0; if (f[4] == "PAT") pat[f[2] "/" f[3]]++; else elsewhere++ }
    same_gpu = told_device("NVIDIA H200")
    holds("on the same tree and GPU model", same_gpu)
    holds("to the right of ours: there they are faster", same_gpu)
    means(32, 8); means(32, 32); means(16, 1)
    clocks()
    for (heads in pat) if (heads != "32/8") elsewhere = 0
    holds("at 32/8 heads, PAT", elsewhere > 0)
    say("which is the fastest of them on {} trees", pat["32/8"] + 0)
    say("Varied:** {} trees", trees)
    holds("the heads: 32/8, 32/32 and 16/1", find("heads=32 kv_heads=8", row) + find("heads=32 kv_heads=32", row) + find("heads=16 kv_heads=1", row) == num_rows)
    holds("fp16, head_dim 128, block_tokens 8", told("fp16, head_dim 128, block_tokens 8"))
    if (!same_gpu) holds("On a single branch it takes", 0)
    else say("On a single branch it takes {} % less time.", percent(0, 1 - at("tree=prefix_1 heads=32 kv_heads=8", "cold_us") / peer_us["prefix 1", 32, 8]))
    say("at {} TFLOP/s plus a launch", d(0, ceiling("matrix_tflops")))
    most = highest("plan=cost", "score")
    holds("1: the floor", most < 1.05)
    holds("kernel would reach 1.", most < 1.05)
    say("The largest score is {}", d(2, most))
    holds("far right of 1", most < 1.05)
    holds("on an H200", told_device("NVIDIA H200"))
    exit failed
}
