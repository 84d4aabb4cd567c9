function error(regime, policy, budget, name) { return at("regime=" regime " policy=" policy " budget=" budget, name) }
# Cases (regimes and budgets) in which one policy's mean is below another's; `all`: their number.
function below(list, policy, other,    n, i, k, regimes, row, won) {
    n = split(list, regimes, " ")
    all = won = 0
    for (i = 1; i <= n; i++)
        for (k = find("regime=" regimes[i] " policy=" policy, row); k; k--) {
            all++
            won += cell(row[k], "mean") < error(regimes[i], other, cell(row[k], "budget"), "mean")
        }
    return won
}
function beyond_1(list, policy,    n, i, k, regimes, row, count) {
    n = split(list, regimes, " ")
    all = count = 0
    for (i = 1; i <= n; i++)
        for (k = find("regime=" regimes[i] " policy=" policy, row); k; k--) { all++; count += cell(row[k], "worst") > 1 }
    return count
}
# The largest difference between a policy's mean error and LongFlow's, over all regimes and budgets.
function farthest(policy,    row, i, ratio, most) {
    for (i = find("policy=longflow", row); i; i--) {
        ratio = error(cell(row[i], "regime"), policy, cell(row[i], "budget"), "mean") / cell(row[i], "mean") - 1
        if (ratio < 0) ratio = -ratio
        if (ratio > most) most = ratio
    }
    return most
}
END {
    one = "stationary stationary_slow"; many = "topics topics_slow topics_short"; most = highest("policy=longflow", "budget")
    say("the budget, from {} to {} tokens;", lowest("policy=longflow", "budget"), most)
    holds("streams of 3072 tokens, errors of the last 1536, seeds 1 and 2", told("3072 tokens per stream, errors of tokens from 1536 on") && told("seeds 1 to 2"))
    holds("8/2 heads, head_dim 64", told("8/2 heads, head_dim 64"))
    won = below(one, "longflow", "random_victim")
    say("With one topic, LongFlow has a smaller mean error than a random victim in {} of {} cases", won, all)
    say("queries drift slowly, it has {} against {} at a budget of {}", d(3, error("stationary_slow", "longflow", 512, "mean")),
        d(3, error("stationary_slow", "random_victim", 512, "mean")), 512)
    won = below(many, "longflow", "random_victim")
    say("With several topics it is better in {} of {} cases", won, all)
    say("at {} tokens it has {} against {} (topics_short) and {} against {} (topics_slow)", 512, d(3, error("topics_short", "longflow", 512, "mean")), d(3, error("topics_short", "random_victim", 512, "mean")),
        d(3, error("topics_slow", "longflow", 512, "mean")), d(3, error("topics_slow", "random_victim", 512, "mean")))
    say("but {} against {} (topics)", d(3, error("topics", "longflow", 512, "mean")), d(3, error("topics", "random_victim", 512, "mean")))
    won = below(many, "h2o", "longflow")
    say("H2O, which adds up the attention of all past steps, is better than LongFlow in {} of these {} cases", won, all)
    won = below(one, "h2o", "longflow")
    say("but with one topic in {} of {}", won, all)
    say("differs from LongFlow's by at most {} %", percent(0, farthest("exact_deletion")))
    say("With the L2 norm (longflow_l2) it differs by at most {} %", percent(0, farthest("longflow_l2")))
    over = beyond_1(many, "longflow")
    say("With several topics, LongFlow's worst error exceeds {} in {} of {} cases", 1, over, all)
    for (k = find("policy=longflow", row); k; k--)
        if (cell(row[k], "regime") ~ /^topics/) worse += cell(row[k], "worst") > error(cell(row[k], "regime"), "random_victim", cell(row[k], "budget"), "worst")
    say("LongFlow's is above a random victim's in {} of these {} cases", worse, all)
    say("that of a random victim in {}, and that of H2O in {}", beyond_1(many, "random_victim"), beyond_1(many, "h2o"))
    for (i = find("policy=longflow", row); i; i--) {
        a = cell(row[i], "mean_1"); b = cell(row[i], "mean_2")
        ratio = a > b ? a / b - 1 : b / a - 1
        if (ratio > seeds) seeds = ratio
    }
    say("between the seeds LongFlow's mean error differs by up to {} %", percent(0, seeds))
    holds("with one topic, none of the three exceeds 1", beyond_1(one, "longflow") + beyond_1(one, "random_victim") + beyond_1(one, "h2o") == 0)
    holds("an answer of zeros has 1", highest("policy=longflow", "worst") > 1)
    holds("evicts 128 tokens at a time and so holds up to 127 tokens more", 1) # the interval in reference/eviction/policy_rkv.c
    exit failed
}
