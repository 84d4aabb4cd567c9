function more(strategy,    where) {
    where = "workload=spec_256 variant=packed strategy=" strategy
    return at(where, "partial_bytes") > at(where, "plan_bytes")
}
function tb(strategy, name) { return d(2, at("workload=sorting variant=packed strategy=" strategy, name) / 1e12) }
function both(strategy,    where) {
    where = "workload=spec_256 variant=packed strategy=" strategy
    return d(1, (at(where, "plan_bytes") + at(where, "partial_bytes")) / 1e12)
}
END {
    holds("states of `flatten` are more bytes than its K and V", more("flatten"))
    value("spec_flatten", both("flatten"))
    value("spec_cost", both("cost"))
    value("sorting_radix", tb("radix", "plan_bytes"))
    value("sorting_flatten", tb("flatten", "plan_bytes"))
    value("sorting_cost", tb("cost", "plan_bytes"))
}
