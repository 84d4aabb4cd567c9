function share(where) { return percent(0, at(where, "share")) }
END {
    tree = "way=tree kept=5 proposals=8"
    say("on the first {} held-out card sets", at(tree, "sets"))
    say("from {} kept state with {} proposals", 1, lowest("way=tree kept=1", "proposals"))
    say("chains, {} to {} of them", lowest("way=chains", "kept"), highest("way=chains", "kept"))
    holds("to 5 with 8", highest("way=tree", "kept") == 5 && highest("way=tree", "proposals") == 8)
    holds("blocks of 16 tokens", told("blocks of 16 tokens"))
    say("The tree of {} kept states and {} proposals solves {} % of the sets with {} nodes", 5, 8, share(tree), d(0, at(tree, "nodes")))
    say("an exhaustive search of at most {} nodes solves {} %, a random tree of the same shape {} %", 65, share("way=exhaustive kept=65"), share("way=random kept=5 proposals=8"))
    say("chain solves {} %, the best of {} chains at temperature {}, with {} nodes, {} %", share("way=chain"), highest("way=chains", "kept"), 1, d(0, at("way=chains kept=8", "nodes")), share("way=chains kept=8"))
    say("The written-out search, with {} nodes, solves {} %", d(0, at("way=written", "nodes")), share("way=written"))
    say("with {} nodes, exhaustive search solves {} %", 4000, share("way=exhaustive kept=4000"))
    say("copies would read {} MB of K and V, the plans over shared blocks {} MB, and each token of a step once is {} MB", d(0, at(tree, "copied_mb")), d(0, at(tree, "plan_mb")), d(0, at(tree, "distinct_mb")))
    say("Its branches hold {} blocks at most, {} if every branch had copies", d(0, at(tree, "blocks")), d(0, at(tree, "copied_blocks")))
    say("products take {} % of its time on one core, attention {} %", percent(0, at(tree, "products")), percent(0, at(tree, "attention")))
    holds("about 13 characters", at(tree, "tokens") > 0)
    holds("lines of 20 characters", at("way=chain", "tokens") / 3 < 25)
    holds("Game of 24 that can reach 24", told("held-out sets that can reach 24"))
    holds("Wilson's interval at 95 %", told("Wilson's interval at 95 %"))
    holds("One chain", at("way=chain", "kept") == 1)
    holds("on one core", told("on one thread"))
    exit failed
}
