function error(regime, score, name) { return at("regime=" regime " score=" score, name) }
# Mean over the regimes of the mean error as a multiple of a random victim's.
function multiple(score,    row, i, sum, n) {
    n = find("score=" score, row)
    for (i = 1; i <= n; i++) sum += cell(row[i], "mean") / error(cell(row[i], "regime"), "random_victim", "mean")
    return sum / n
}
# Largest relative difference between the means of two scores.
function apart(a, b,    row, i, ratio, most) {
    for (i = find("score=" a, row); i; i--) {
        ratio = cell(row[i], "mean") / error(cell(row[i], "regime"), b, "mean") - 1
        if (ratio < 0) ratio = -ratio
        if (ratio > most) most = ratio
    }
    return most
}
END {
    holds("budget 512", told("budget 512"))
    holds("streams of 3072 tokens, errors of the last 1536, seeds 1 and 2", told("3072 tokens per stream, errors of tokens from 1536 on") && told("seeds 1 to 2"))
    holds("8/2 heads, head_dim 64", told("8/2 heads, head_dim 64"))
    holds("among the next 16, 128 and 1024", told("horizon_16, 128, 1024"))
    holds("8 queries each, evenly spaced", told("8 queries, evenly spaced"))
    say("denominator changes the mean error by at most {} %", percent(0, apart("longflow", "exact_deletion")))
    say("true next query by at most {} %", percent(0, apart("exact_deletion", "exact_next")))
    holds("three cuts", 1) # docs/eviction.md derives them
    say("LongFlow has {} of random eviction's error", d(2, multiple("longflow")))
    say("the true next query {}, {} steps ahead {},", d(2, multiple("exact_next")), 16, d(2, multiple("horizon_16")))
    say("then {} steps {} and {} steps {}", 128, d(2, multiple("horizon_128")), 1024, d(2, multiple("horizon_1024")))
    holds("an answer of zeros has 1", error("topics", "longflow", "worst") > 1)
    holds("1024 steps ahead", told("horizon_16, 128, 1024"))
    for (k = split("stationary stationary_slow topics topics_short", regimes, " "); k; k--)
        say(regimes[k] ": {} to {}", d(3, error(regimes[k], "longflow", "mean")), d(3, error(regimes[k], "horizon_1024", "mean")))
    say("worst case of LongFlow is {} (topics) and {} (topics_short), with {} steps ahead {} and {}", d(2, error("topics", "longflow", "worst")), d(2, error("topics_short", "longflow", "worst")), 1024,
        d(2, error("topics", "horizon_1024", "worst")), d(2, error("topics_short", "horizon_1024", "worst")))
    holds("falls by more than a tenth with the exact error or the true next query", apart("longflow", "exact_deletion") < 0.1 && apart("longflow", "exact_next") < 0.1)
    holds("a horizon of 1024 steps that is no better than LongFlow", error("topics", "horizon_1024", "mean") < 0.9 * error("topics", "longflow", "mean") &&
          error("topics_short", "horizon_1024", "mean") < 0.9 * error("topics_short", "longflow", "mean"))
    holds("The true next query is no better", multiple("exact_next") > 0.98 * multiple("exact_deletion"))
    holds("16 steps ahead is no better than the next query", multiple("horizon_16") > 0.98 * multiple("exact_next"))
    exit failed
}
