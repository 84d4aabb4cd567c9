# Chapter 11: shares of the held-out card sets solved.
function of(way, policy, budget) { return "way=" way " policy=" policy " kept_set=all percent=" budget }
function share(way, policy, budget) { return at(of(way, policy, budget), "share") }
function text(way, policy, budget) { return percent(0, share(way, policy, budget)) " %" }
function lost(way, policy, budget) { return at(of(way, policy, budget), "lost") }
function is_above_longflow(way, policy, budget) { return share(way, policy, budget) > at(of(way, "longflow", budget), "high") }
END {
    n = split("10 20 30 50 70", budgets, " ")
    better = exact = ahead = 0; by_layer = 1
    for (i = 1; i <= n; i++) {
        ahead += share("written", "longflow", budgets[i]) > at(of("written", "random", budgets[i]), "high")
        better += is_above_longflow("written", "h2o", budgets[i])
        exact += is_above_longflow("written", "exact_deletion", budgets[i])
        by_layer = by_layer && at("way=written policy=longflow kept_set=layer percent=" budgets[i], "share") < share("written", "longflow", budgets[i])
    }
    value("full", text("written", "full", 100))
    value("tree_random_lost", lost("tree", "random", 50) " of " at(of("tree", "full", 100), "solved"))
    value("beyond", lost("written", "stop", 50))
    value("longflow_lost", lost("written", "longflow", 50))
    value("tree_window_25", text("tree", "sink_window", 25)); value("tree_longflow_25", text("tree", "longflow", 25))
    holds("at every budget of the written-out search, LongFlow solves more than random", ahead == n)
    holds("In the tree, with a quarter of the cache, H2O", share("tree", "h2o", 25) < at(of("tree", "longflow", 25), "low"))
    m = find("way=tree percent=50", row); others = 0
    for (i = 1; i <= m; i++) others += cell(row[i], "policy") != "random" ? cell(row[i], "lost") : 0
    holds("No policy but random eviction loses a single set there", m == 8 && others == 0)
    holds("and the exact change no better", share("tree", "exact_deletion", 25) < at(of("tree", "longflow", 25), "high"))
    value("tree_mass_25", text("tree", "current_mass", 25))
    holds("Neither history nor exactness is needed", better == 0 && exact == 0)
    holds("Most of the sets that are solved at half of the cache", share("written", "stop", 50) > 0.5 * highest("way=written kept_set=all percent=50", "share"))
    holds("At half of the cache the plain window of the last tokens is visibly better", is_above_longflow("written", "sink_window", 50))
    holds("fifth and below it is worse", share("written", "sink_window", 20) < at(of("written", "longflow", 20), "low") && share("written", "sink_window", 10) < at(of("written", "longflow", 10), "low"))
    holds("with a kept set for each layer, LongFlow solves fewer card", by_layer)
    holds("more of the window's lines", at(of("written", "sink_window", 20), "legal_share") > at(of("written", "longflow", 20), "legal_share") && at(of("written", "sink_window", 30), "legal_share") > at(of("written", "longflow", 30), "legal_share"))
    exit failed
}
