# Tokens in use by arithmetic, for a row of the csv.
function predicted(i,    prefix, own, budget, branches, shared) {
    prefix = cell(i, "prefix_tokens"); own = cell(i, "own_tokens"); budget = cell(i, "budget"); branches = cell(i, "branches")
    series = cell(i, "series")
    if (series == "copies") return branches * (prefix + own)
    if (series == "shared") return prefix + branches * own
    if (series == "private") return prefix + branches * (budget > prefix ? budget - prefix : 1)
    if (series == "cow") return branches * budget
    shared = budget > own ? budget - own : 0
    return shared + branches * (budget - shared)
}
function used(prefix, series, branches) { return at("prefix_tokens=" prefix " series=" series " branches=" branches, "used_tokens") }
END {
    exact = rounded = kept = 1
    for (i = 1; i <= num_rows; i++) {
        more = cell(i, "used_tokens") - predicted(i)
        if (series ~ /copies|shared/ && more != 0) exact = 0
        if (more < 0 || more > 16 * cell(i, "branches")) rounded = 0
        if (series ~ /cow|vote/ && cell(i, "kept_tokens") != cell(i, "budget")) kept = 0
    }
    most = highest("series=shared", "branches")
    a = highest("series=shared", "prefix_tokens"); b = lowest("series=shared", "prefix_tokens")
    own_a = at("prefix_tokens=" a " series=shared branches=1", "own_tokens"); own_b = at("prefix_tokens=" b " series=shared branches=1", "own_tokens")
    budget_a = at("prefix_tokens=" a " series=shared branches=1", "budget"); budget_b = at("prefix_tokens=" b " series=shared branches=1", "budget")
    say("branches behind one prefix, {} to {};", lowest("series=shared", "branches"), most)
    say("a prefix of {} tokens, {} own tokens and a budget of {} (left)", a, own_a, budget_a)
    say("a prefix of {} tokens, {} own tokens and a budget of {} (right)", b, own_b, budget_b)
    holds("blocks of 16 tokens", told("blocks of 16 tokens"))
    crossing = a / (budget_a - own_a)
    say("more than {} / ({} - {}) = {} branches", a, budget_a, own_a, d(1, crossing))
    holds("copying costs more than it saves", used(a, "cow", 4) < used(a, "shared", 4) && used(a, "cow", 8) > used(a, "shared", 8) && crossing > 4 && crossing < 8)
    say("at {} branches it holds {} tokens, where sharing without eviction holds {}, and a full copy for each branch {}", 32, used(a, "cow", 32), used(a, "shared", 32), used(a, "copies", 32))
    say("peaks at {}", at("prefix_tokens=" a " series=cow branches=32", "peak_tokens"))
    say("The vote holds {} and reaches", used(a, "vote", 32))
    say("holds {} and misses", used(a, "private", 32))
    say("still attends to {} tokens", at("prefix_tokens=" a " series=private branches=32", "kept_tokens"))
    say("sharing saves little: {} branches hold {} tokens as copies and {} when they share the prefix", most, used(b, "copies", most), used(b, "shared", most))
    say("With eviction they hold {} if the kept tokens are copied out of shared blocks, and {} in scope private", used(b, "cow", most), used(b, "private", most))
    holds("within one block per branch of the arithmetic", exact && rounded && kept)
    holds("every form of eviction saves memory", used(b, "cow", most) < used(b, "shared", most) && used(b, "vote", most) < used(b, "shared", most) && used(b, "private", most) < used(b, "cow", most))
    exit failed
}
