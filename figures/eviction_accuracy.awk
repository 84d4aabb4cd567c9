function of(way, policy, budget) { return "way=" way " policy=" policy " kept_set=all percent=" budget }
function share(way, policy, budget) { return at(of(way, policy, budget), "share") }
function p(way, policy, budget) { return percent(0, share(way, policy, budget)) }
function by_layer(budget) { return at("way=written policy=longflow kept_set=layer percent=" budget, "share") }
END {
    holds("100 % are", at(of("written", "full", 100), "budget") == ceiling("written_tokens"))
    say("are {} tokens on the left", ceiling("written_tokens"))
    say("and {} on the right", ceiling("tree_tokens"))
    holds("3 kept, 5 proposals", told("tree: breadth 3, 5 proposals"))
    say("With nothing forgotten it solves {} % of {} sets", p("written", "full", 100), at(of("written", "full", 100), "sets"))
    say("At a budget of {} % LongFlow solves {} %, the window of the last tokens (sink_window) {} %, H2O {} % and random eviction {} %", 50, p("written", "longflow", 50), p("written", "sink_window", 50), p("written", "h2o", 50), p("written", "random", 50))
    say("at {} % these are {}, {}, {} and {} %", 30, p("written", "longflow", 30), p("written", "sink_window", 30), p("written", "h2o", 30), p("written", "random", 30))
    say("at {} % they are {}, {}, {} and {} %", 20, p("written", "longflow", 20), p("written", "sink_window", 20), p("written", "h2o", 20), p("written", "random", 20))
    say("R-KV solves {} % at {} %", p("written", "rkv", 20), 20)
    holds("128 tokens at a time and so keeps up to 127 tokens more", told("rkv keeps up to 127 tokens more"))
    say("the text ends when the budget is full: {} % at a budget of {} %, {} % at {} % and {} % at {} %", p("written", "stop", 50), 50, p("written", "stop", 30), 30, p("written", "stop", 20), 20)
    holds("most of what the policies solve at half of the cache", share("written", "stop", 50) > 0.5 * share("written", "longflow", 50))
    holds("which is largest at 30 %", share("written", "longflow", 30) - share("written", "stop", 30) > share("written", "longflow", 50) - share("written", "stop", 50) && share("written", "longflow", 30) - share("written", "stop", 30) > share("written", "longflow", 20) - share("written", "stop", 20))
    say("and the program keeps everything else. With nothing forgotten it solves {} %.", p("tree", "full", 100))
    say("With half of the cache LongFlow solves {} %, and random eviction {} %", p("tree", "longflow", 50), p("tree", "random", 50))
    say("with a quarter, LongFlow {} %, the window {} %, H2O {} % and random eviction {} %", p("tree", "longflow", 25), p("tree", "sink_window", 25), p("tree", "h2o", 25), p("tree", "random", 25))
    n = split("10 20 30 50 70", budgets, " ")
    within = 1
    for (i = 1; i <= n; i++) if (share("written", "longflow", budgets[i]) < at(of("written", "exact_deletion", budgets[i]), "low") || share("written", "longflow", budgets[i]) > at(of("written", "exact_deletion", budgets[i]), "high")) within = 0
    holds("LongFlow's share is within its bars at every budget", within)
    holds("it ran on fewer sets", at(of("written", "exact_deletion", 30), "sets") < at(of("written", "longflow", 30), "sets"))
    holds("solves no more than LongFlow", share("written", "h2o", 20) <= share("written", "longflow", 20) && share("written", "h2o", 30) <= share("written", "longflow", 30) && share("written", "h2o", 50) <= share("written", "longflow", 50))
    holds("LongFlow solves fewer sets at 20 and 30 %", by_layer(20) < share("written", "longflow", 20) && by_layer(30) < share("written", "longflow", 30))
    holds("about 13 characters", told("these have 13 characters"))
    holds("half of the cache", find("percent=50", row) > 0)
    holds("solves as many sets as LongFlow at 30 %", share("written", "random", 30) < share("written", "longflow", 30) && share("written", "stop", 30) < share("written", "longflow", 30))
    holds("Game of 24 that can reach 24", told("held-out sets that can reach 24"))
    holds("Wilson's interval at 95 %", told("Wilson's interval at 95 %"))
    holds("temperature 0", told("temperature 0"))
    holds("with a quarter", find("percent=25", row) > 0)
    exit failed
}
