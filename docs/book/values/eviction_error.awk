function error(regime, policy, name) { return at("regime=" regime " policy=" policy " budget=512", name) }
END {
    for (i = find("policy=longflow", row); i; i--) {
        where = "regime=" cell(row[i], "regime") " budget=" cell(row[i], "budget") " policy="
        ratio = at(where "exact_deletion", "mean") / at(where "longflow", "mean") - 1
        most = ratio > most ? ratio : -ratio > most ? -ratio : most
    }
    value("exact", percent(0, most))
    holds("its worst step is worse than an output of zeros", error("topics", "longflow", "worst") > 1)
    holds("LongFlow is not better than chance", error("topics", "longflow", "mean") > error("topics", "random_victim", "mean"))
    holds("does better there, and worse with one topic", error("topics", "h2o", "mean") < error("topics", "longflow", "mean") &&
        error("stationary_slow", "h2o", "mean") > error("stationary_slow", "longflow", "mean"))
}
