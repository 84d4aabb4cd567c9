# Plan cost, cold L2: us[tree, rung]; the trees are named by their first word.
function gain(tree, rung) { return us[tree, rung - 1] / us[tree, rung] }
function us_of(rung) { return d(us[64, rung] < 99.95 ? 1 : 0, us[64, rung]) }
function two(name, rung) { value(name "_before", us_of(rung - 1)); value(name, us_of(rung)) }
function read_rungs(    i, tree, rung) {
    for (i = 1; i <= num_rows; i++) {
        tree = cell(i, "tree") + 0; rung = substr(cell(i, "step"), 6) + 0
        if (cell(i, "plan") == "tree_mask") masked[rung] = cell(i, "cold_us")
        if (cell(i, "plan") == "flash") flash[rung] = cell(i, "cold_us")
        if (cell(i, "plan") != "cost") continue
        states[tree] = cell(i, "partials") / cell(i, "queries")
        us[tree, rung] = cell(i, "cold_us"); floor[tree] = cell(i, "floor_us"); hits[tree, rung] = cell(i, "l2_hit_percent")
        unique_bytes[tree] = cell(i, "unique_bytes"); last = rung
    }
}
# Chapter 7.
END {
    read_rungs()
    value("naive", us_of(0))
    value("naive_over_floor", d(0, us[64, 0] / floor[64]))
    value("naive_hits", d(0, hits[64, 0]))
    two("coalesced", 1); two("split", 2); two("tile", 3); two("tensor", 4); two("pipeline", 5); two("queue", 6)
    two("merge", 7); two("launch", 8); two("masks", 9); two("warpgroup", 10)
    value("early", us_of(12))
    value("coalesced_gain", d(1, gain(64, 1))); value("tensor_gain", d(1, gain(64, 4)))
    value("split_gain_one", d(1, gain(1, 2)))
    value("split_hits", d(0, hits[64, 2])); value("tile_hits", d(0, hits[64, 3]))
    value("tile_loss_one", d(1, 1 / gain(1, 3)))
    value("tensor_gain_one", d(1, gain(1, 4)))
    value("queue_gain_512", d(1, gain(512, 6)))
    value("queue_gain_flash", d(1, flash[5] / flash[6]))
    value("states", d(0, states[64]))
    holds("With 512 leaves each query leaves a single state", states[512] == 1)
    value("merge_gain_one", d(2, gain(1, 7))); value("merge_gain_512", d(2, gain(512, 7)))
    value("launch_gain_512", d(2, gain(512, 8)))
    value("masks_tree_mask_before", d(0, masked[8])); value("masks_tree_mask", d(0, masked[9]))
    value("warpgroup_gain_512", d(2, gain(512, 10))); value("warpgroup_gain_one", d(2, gain(1, 10)))
    value("arriver_one_before", d(1, us[1, 10])); value("arriver_one", d(1, us[1, 11])); value("early_one", d(1, us[1, 12]))
    value("all", d(0, us[64, 0] / us[64, 12]))
    value("arithmetic", d(0, us[64, 0] / us[64, 4]))
    value("machine", d(1, us[64, 4] / us[64, 12]))
    value("unique_mb", d(1, unique_bytes[64] / 1e6))
    holds("every rung after the shared tile is at least as fast as the one before on one of the four trees", rungs_pay())
}
function rungs_pay(    rung) {
    for (rung = 4; rung <= last; rung++)
        if (gain(64, rung) < 1 && gain(10, rung) < 1 && gain(512, rung) < 1 && gain(1, rung) < 1) return 0
    return 1
}
