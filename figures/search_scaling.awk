function share(where) { return percent(0, at(where, "share")) }
# The bound of the exhaustive search whose nodes are the widest tree's, or the next one above.
function bound(nodes,    row, i, least) {
    for (i = find("way=exhaustive", row); i; i--) if (cell(row[i], "kept") >= d(0, nodes) + 0 && (!least || cell(row[i], "kept") < least)) least = cell(row[i], "kept")
    return least
}
function is_within(where, bars) { return at(where, "share") >= at(bars, "low") && at(where, "share") <= at(bars, "high") }
END {
    tree = "way=tree kept=5 proposals=8"
    random_tree = "way=random kept=5 proposals=8"
    greedy = "way=tree kept=1 proposals=5"
    wide = "way=tree kept=5 proposals=5"
    exhaustive = "way=exhaustive kept=" bound(at(tree, "nodes"))
    say("on {} held-out card sets", at(tree, "sets"))
    say("from {} kept state with {} proposals", 1, lowest("way=tree kept=1", "proposals"))
    say("chains, {} to {} of them", lowest("way=chains", "kept"), highest("way=chains", "kept"))
    holds("to 5 with 8", highest("way=tree", "kept") == 5 && highest("way=tree", "proposals") == 8)
    holds("blocks of 16 tokens", told("blocks of 16 tokens"))
    say("The tree of {} kept states and {} proposals solves {} % of the sets with {} nodes", 5, 8, share(tree), d(0, at(tree, "nodes")))
    say("an exhaustive search of at most {} nodes solves {} %, a random tree of the same shape, with {} nodes, {} %", bound(at(tree, "nodes")), share(exhaustive), d(0, at(random_tree, "nodes")), share(random_tree))
    say("chain solves {} %, the best of {} chains at temperature {}, with {} nodes, {} %", share("way=chain"), highest("way=chains", "kept"), 1, d(0, at("way=chains kept=8", "nodes")), share("way=chains kept=8"))
    say("The written-out search, with {} nodes, solves {} %", d(0, at("way=written", "nodes")), share("way=written"))
    say("with {} proposals, {} kept state solves {} % with {} nodes", 5, 1, share(greedy), d(0, at(greedy, "nodes")))
    say("and {} kept states solve {} % with {}.", 5, share(wide), d(0, at(wide, "nodes")))
    holds("More kept states do not solve visibly more", is_within(wide, greedy))
    say("with {} of them, {} kept state solves {} %", 3, 1, share("way=tree kept=1 proposals=3"))
    holds("More proposals do", at("way=tree kept=1 proposals=3", "share") < at(greedy, "low") && at(tree, "share") > at(wide, "share"))
    say("with {} nodes, exhaustive search solves {} %", 4000, share("way=exhaustive kept=4000"))
    say("copies would read {} MB of K and V. The plans over shared blocks read {} MB; reading each token only once in a step would take {} MB", d(0, at(tree, "copied_mb")), d(0, at(tree, "plan_mb")), d(0, at(tree, "distinct_mb")))
    say("Its branches hold {} blocks at most, {} if every branch had copies", d(0, at(tree, "blocks")), d(0, at(tree, "copied_blocks")))
    say("it reads {} MB, in {} steps where the widest tree takes {}", d(0, at("way=written", "plan_mb")), d(0, at("way=written", "steps")), d(0, at(tree, "steps")))
    say("products take {} % of its time on one core, attention {} %", percent(0, at(tree, "products")), percent(0, at(tree, "attention")))
    say("a prompt has at most {} characters", 1 + 4 * length("13") + 3 + 1) # a letter, four cards, blanks between, a new line
    holds("lines of 20 characters", at("way=chain", "tokens") / 3 < 25)
    holds("Game of 24 that can reach 24", told("held-out sets that can reach 24"))
    holds("Wilson's interval at 95 %", told("Wilson's interval at 95 %"))
    holds("One chain", at("way=chain", "kept") == 1)
    holds("on one core", told("on one thread"))
    holds("exhaustive search or random trees above the tree of thoughts at equal nodes", at(tree, "share") > at(exhaustive, "share") && at(tree, "share") > at(random_tree, "share") && at(random_tree, "nodes") >= at(tree, "nodes"))
    holds("plans that read more than copies", at(tree, "plan_mb") <= at(tree, "copied_mb"))
    exit failed
}
