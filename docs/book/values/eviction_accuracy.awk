# Chapter 11: shares of card sets solved, of the sets on which all of these ran.
function share(way, policy, budget) { return at("way=" way " policy=" policy " kept_set=all percent=" budget, "share") }
function text(way, policy, budget) { return percent(0, share(way, policy, budget)) " %" }
END {
    value("full", text("written", "full", 100))
    value("tree_full", text("tree", "full", 100))
    value("longflow_50", text("written", "longflow", 50)); value("random_50", text("written", "random", 50))
    value("longflow_20", text("written", "longflow", 20)); value("random_20", text("written", "random", 20))
    value("stop_50", text("written", "stop", 50))
    value("tree_longflow_50", text("tree", "longflow", 50))
    holds("it solves far more than random eviction", share("written", "longflow", 20) > share("written", "random", 20) &&
        share("written", "longflow", 30) > share("written", "random", 30))
    holds("at half of the cache a plain window of the last tokens", share("written", "sink_window", 50) >= share("written", "longflow", 50))
    holds("it solves fewer", share("written", "sink_window", 20) < share("written", "longflow", 20))
}
