function of(way, policy, budget) { return "way=" way " policy=" policy " kept_set=all percent=" budget }
function share(way, policy, budget) { return at(of(way, policy, budget), "share") }
function p(way, policy, budget) { return percent(0, share(way, policy, budget)) }
function lost(way, policy, budget) { return at(of(way, policy, budget), "lost") }
# Whether LongFlow's bar at this budget is below the share, or above it.
function is_above(way, policy, budget) { return share(way, policy, budget) > at(of(way, "longflow", budget), "high") }
function is_below(way, policy, budget) { return share(way, policy, budget) < at(of(way, "longflow", budget), "low") }
function legal(policy, budget) { return percent(0, at(of("written", policy, budget), "legal_share")) }
function layer(budget) { return at("way=written policy=longflow kept_set=layer percent=" budget, "share") }
END {
    n = split("10 20 30 50 70", budgets, " ")
    say("all {} held-out card sets", at(of("written", "full", 100), "sets"))
    holds("Game of 24 that can reach 24", told("held-out sets that can reach 24") && lowest("kept_set=all", "sets") == 269 && lowest("kept_set=layer", "sets") == 269 && highest("kept_set=all", "sets") == 269)
    holds("100 % are", at(of("written", "full", 100), "budget") == ceiling("written_tokens"))
    say("are {} tokens on the left", ceiling("written_tokens"))
    say("and {} on the right", ceiling("tree_tokens"))
    holds("3 kept, 5 proposals", told("tree: breadth 3, 5 proposals"))
    holds("Wilson's interval at 95 %", told("Wilson's interval at 95 %"))
    holds("temperature 0", told("temperature 0"))

    say("With nothing forgotten it solves {} % of the sets", p("written", "full", 100))
    say("At a budget of {} % LongFlow solves {} %, the window of the last tokens (sink_window) {} %, H2O {} % and random eviction {} %", 70, p("written", "longflow", 70), p("written", "sink_window", 70), p("written", "h2o", 70), p("written", "random", 70))
    say("at {} % these are {}, {}, {} and {} %", 50, p("written", "longflow", 50), p("written", "sink_window", 50), p("written", "h2o", 50), p("written", "random", 50))
    say("at {} %, {}, {}, {} and {} %; at", 30, p("written", "longflow", 30), p("written", "sink_window", 30), p("written", "h2o", 30), p("written", "random", 30))
    say("at {} %, {}, {}, {} and {} %.", 20, p("written", "longflow", 20), p("written", "sink_window", 20), p("written", "h2o", 20), p("written", "random", 20))
    ahead = 1
    for (i = 1; i <= n; i++) ahead = ahead && share("written", "longflow", budgets[i]) > at(of("written", "random", budgets[i]), "high")
    holds("At every budget LongFlow is above the bars of random eviction", ahead)
    holds("at 50 % the window is above LongFlow's bar, at 30 % within it, and at 20 % below it", is_above("written", "sink_window", 50) && !is_above("written", "sink_window", 30) && !is_below("written", "sink_window", 30) && is_below("written", "sink_window", 20))
    say("R-KV solves {} % at {} %", p("written", "rkv", 20), 20)
    holds("the most there", share("written", "rkv", 20) == highest("way=written kept_set=all percent=20", "share"))
    holds("128 tokens at a time and so keeps up to 127 tokens more", told("rkv keeps up to 127 tokens more"))
    say("its budget: {} to {} tokens there", at(of("written", "rkv", 20), "budget"), at(of("written", "rkv", 20), "budget") + 127)
    say("With {} tokens, the next budget, LongFlow solves {} %", at(of("written", "longflow", 30), "budget"), p("written", "longflow", 30))

    say("the text ends when the budget is full: {} % at a budget of {} %, {} % at {} %", p("written", "stop", 70), 70, p("written", "stop", 50), 50)
    say(", {} % at {} % and {} % at {} %", p("written", "stop", 30), 30, p("written", "stop", 20), 20)
    holds("most of what the policies solve at half of the cache", share("written", "stop", 50) > 0.5 * share("written", "longflow", 50) && share("written", "stop", 50) > 0.5 * highest("way=written kept_set=all percent=50", "share"))
    say("Only {} of the searches that solve their set are longer than half of the cache", lost("written", "stop", 50))
    say("the window loses {}, LongFlow {}, H2O {} and random eviction {}", lost("written", "sink_window", 50), lost("written", "longflow", 50), lost("written", "h2o", 50), lost("written", "random", 50))
    holds("No policy solves a set that is not solved with nothing forgotten", highest("kept_set=all", "gained") == 0 && highest("kept_set=layer", "gained") == 0)

    say("and the program keeps everything else. With nothing forgotten it solves {} %.", p("tree", "full", 100))
    holds("With three quarters of the cache no policy loses one of these sets", highest("way=tree percent=75", "lost") == 0)
    m = find("way=tree percent=50", row)
    for (i = 1; i <= m; i++) others += cell(row[i], "policy") != "random" ? cell(row[i], "lost") : 0
    holds("With half of it only random eviction does", m == 8 && others == 0)
    say("random eviction does: it solves {} %, so it loses", p("tree", "random", 50))
    holds("so it loses more than half of them", lost("tree", "random", 50) > 0.5 * at(of("tree", "full", 100), "solved"))
    say("A quarter is {} tokens", at(of("tree", "longflow", 25), "budget"))
    say("the weights of the current step beside a window of {} tokens (current_mass) solve {} %, the window {} %", at(of("tree", "longflow", 25), "budget") / 2, p("tree", "current_mass", 25), p("tree", "sink_window", 25))
    say("LongFlow {} %, the exact change of the output {} %, H2O {} %, VATP {} % and random eviction {} %. A tenth", p("tree", "longflow", 25), p("tree", "exact_deletion", 25), p("tree", "h2o", 25), p("tree", "vatp", 25), p("tree", "random", 25))
    say("A tenth is {} tokens", at(of("tree", "longflow", 10), "budget"))
    holds("no policy solves anything", highest("way=tree percent=10", "solved") == 0)
    holds("it keeps up to 127 tokens more than its budget, and no branch has as many", told("rkv keeps up to 127 tokens more") && ceiling("tree_tokens") < 127)
    holds("half of the cache", find("percent=50", row) > 0)
    holds("A quarter is", find("percent=25", row) > 0)
    holds("A tenth is", find("percent=10", row) > 0)

    say("The figure agrees: at {} %, {} % of the window's lines are legal and {} % of LongFlow's", 20, legal("sink_window", 20), legal("longflow", 20))
    holds("although LongFlow solves more sets there", share("written", "longflow", 20) > share("written", "sink_window", 20))
    within = h2o_above = 0; fewer = 1
    for (i = 1; i <= n; i++) {
        within += share("written", "longflow", budgets[i]) >= at(of("written", "exact_deletion", budgets[i]), "low") && share("written", "longflow", budgets[i]) <= at(of("written", "exact_deletion", budgets[i]), "high")
        h2o_above += is_above("written", "h2o", budgets[i])
        fewer = fewer && layer(budgets[i]) < share("written", "longflow", budgets[i])
    }
    holds("LongFlow's share is within its bars at every budget", within == n)
    holds("is above LongFlow's bar at no budget of the written-out search, and below it at 50 %", h2o_above == 0 && is_below("written", "h2o", 50))
    holds("LongFlow solves fewer card sets at every budget", fewer)
    holds("at 20, 30 and 50 % it is below its own bars of one kept set", layer(20) < at(of("written", "longflow", 20), "low") && layer(30) < at(of("written", "longflow", 30), "low") && layer(50) < at(of("written", "longflow", 50), "low"))
    holds("at most 13 characters", told("these have at most 13 characters"))
    holds("solves as many sets as LongFlow at 30 %", share("written", "random", 30) < share("written", "longflow", 30) && share("written", "stop", 30) < share("written", "longflow", 30))
    exit failed
}
