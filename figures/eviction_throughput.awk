function tokens(where) { return at(where, "tokens_per_s") }
function equal(batch, variant) { return tokens("row=equal batch=" batch " variant=" variant) }
function mean_length(end,    n) { # over the answer, of a cache that grows to `end`
    n = end - ceiling("prompt")
    return (n * (ceiling("prompt") + end) / 2 + (ceiling("output") - n) * end) / ceiling("output")
}
END {
    memory = ceiling("paper_gb")
    full = "row=largest memory_gb=" memory " variant=full"; capped = "row=largest memory_gb=" memory " variant=capped"
    few = at(full, "batch"); many = at(capped, "batch")
    say("the number of sequences in a batch, {} to {}", lowest("row=equal variant=full", "batch"), highest("row=equal variant=full", "batch"))
    say("the memory for weights and caches, {} to {} GB", lowest("row=largest variant=full", "memory_gb"), highest("row=largest variant=full", "memory_gb"))
    say("a prompt of {} tokens, an answer of {}, a budget of {} tokens", ceiling("prompt"), ceiling("output"), ceiling("budget"))
    say("a model of {} layers with {} GB of weights", ceiling("layers"), ceiling("weights_gb"))
    holds("16/8 heads, head_dim 128, bf16", told("16/8 heads, head_dim 128, bf16"))
    bytes = mean_length(ceiling("prompt") + ceiling("output")) / mean_length(ceiling("budget"))
    say("the capped one reads {} times fewer", d(2, bytes))
    say("In {} GB the whole cache allows {} sequences, the capped one {}", memory, few, many)
    fewer = equal(few, "capped_without_eviction") / equal(few, "full")
    more = equal(many, "capped_without_eviction") / equal(few, "capped_without_eviction")
    choice = equal(many, "capped") / equal(many, "capped_without_eviction")
    say("fewer bytes, {} times at {} sequences; more sequences, {} times; choosing a victim in every step, {} times", d(2, fewer), few, d(2, more), d(3, choice))
    say("the product is {} times", d(2, fewer * more * choice))
    holds("fewer bytes and more sequences do not multiply", fewer * more < bytes * many / few)
    say("lifts it above {}, the ratio of the batches", d(1, many / few))
    holds("no fixed cost of a step", many / few > bytes)
    say("With a second pass over K and V instead, choosing costs {} % of the tokens", percent(0, 1 - equal(many, "capped_second_pass") / equal(many, "capped_without_eviction")))
    say("the fused choice {} %", percent(1, 1 - choice))
    holds("a choice that takes back what the budget gains", equal(many, "capped") > equal(many, "full"))
    holds("up to 11.8 times", told("# budget: 3200"))
    holds("H200", told_device("NVIDIA H200"))
    exit failed
}
