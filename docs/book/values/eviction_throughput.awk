function equal(batch, variant) { return at("row=equal batch=" batch " variant=" variant, "tokens_per_s") }
END {
    memory = "row=largest memory_gb=" ceiling("paper_gb") " variant="
    few = at(memory "full", "batch"); many = at(memory "capped", "batch")
    fewer = equal(few, "capped_without_eviction") / equal(few, "full")
    more = equal(many, "capped_without_eviction") / equal(few, "capped_without_eviction")
    choice = equal(many, "capped") / equal(many, "capped_without_eviction")
    value("few", few)
    value("many", many)
    value("fewer", d(2, fewer))
    value("more", d(2, more))
    value("choice", d(2, choice))
    value("product", d(2, fewer * more * choice))
    value("batches", d(1, many / few))
}
