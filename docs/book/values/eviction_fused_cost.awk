END {
    where = "head_dim=128 storage=bf16 batch=32 length=3200 variant="
    last = cell(num_rows, "variant") # the variants of a case are in the order of the ladder
    value("price", percent(0, at(where last, "ratio") - 1))
    value("bytes", percent(0, at(where last, "bytes") / at(where "attention", "bytes") - 1))
}
