function wide_bf16(batch) { return "head_dim=128 storage=bf16 length=3200 batch=" batch " variant=" last }
function before(batch) { return "head_dim=128 storage=bf16 length=3200 batch=" batch " variant=evict_4_warpgroup" }
# The least number of branches at which the last step takes 2 % less time than the step before.
function on_chip_from(dim,    where, row, i, least) {
    where = "head_dim=" dim " storage=bf16 length=3200 variant="
    for (i = find(where last, row); i; i--)
        if (cell(row[i], "us") < 0.98 * at(where "evict_4_warpgroup batch=" cell(row[i], "batch"), "us"))
            if (least == "" || cell(row[i], "batch") < least) least = cell(row[i], "batch")
    return least
}
function bytes_price(dim,    where) {
    where = "head_dim=" dim " storage=bf16 batch=128 length=3200 variant="
    return at(where last, "bytes") / at(where "attention", "bytes") - 1
}
# The price of the last step at length 3200, batch 1 to 128.
function price(dim, storage, name,    row, i) {
    for (i = find("head_dim=" dim " storage=" storage " length=3200 variant=" last, row); i; i--)
        if (cell(row[i], "batch") <= 128) collect(name, cell(row[i], "ratio") - 1)
}
END {
    last = cell(num_rows, "variant") # the variants of a case are in the order of the ladder
    long = "head_dim=128 storage=bf16 batch=16 variant="
    wide = "head_dim=128 storage=bf16 length=3200 variant="
    n = split("evict_0_materialised evict_1_second_pass evict_2_keys_again", steps, " ")
    for (i = 1; i <= num_rows; i++) {
        if (cell(i, "head_dim") != 128 || cell(i, "storage") != "bf16" || cell(i, "batch") < 32) continue
        collect(cell(i, "variant"), cell(i, "ratio"))
    }
    say("the length of each of {} branches, {} to {} tokens", 16, lowest(long last, "length"), highest(long last, "length"))
    say("the number of branches, {} to {}, of {} tokens each", lowest(wide last, "batch"), highest(wide last, "batch"), 3200)
    say("tokens of each of {} branches", 16)
    say("branches of {} tokens", 3200)
    say("Length varied, {} branches", 16)
    say("Batch varied, {} tokens", 3200)
    holds("32/8 heads, bf16, plan cost, cold L2", told("32/8 heads, block_tokens 8, plan cost, cold L2"))
    say("With {} branches or more, materialising everything takes {} to {} times as long as attention alone", 32, d(1, low[steps[1]]), d(1, high[steps[1]]))
    say("reading K and V again {} to {} times", d(2, low[steps[2]]), d(2, high[steps[2]]))
    say("reading K again {} to {} times", d(2, low[steps[3]]), d(2, high[steps[3]]))
    say("and the fused step {} to {} times", d(2, low[last]), d(2, high[last]))
    holds("each step of the ladder is cheaper than the one before", low[steps[1]] > high[steps[2]] && low[steps[2]] > high[steps[3]] && low[steps[3]] > high[last])
    for (i = split("64 128 256", dims, " "); i; i--) price(dims[i], "bf16", "price_" dims[i])
    price(128, "fp16", "price_fp16")
    say("scores and norms are {} % at head_dim 64, {} % at 128 and {} % at 256", percent(1, bytes_price(64)), percent(1, bytes_price(128)), percent(1, bytes_price(256)))
    say("Measured for up to {} branches: {} to {} % at head_dim 64", 128, percent(1, low["price_64"]), percent(1, high["price_64"]))
    say("then {} to {} % at head_dim 128", percent(1, low["price_128"]), percent(1, high["price_128"]))
    say("and {} to {} % at head_dim 256", percent(1, low["price_256"]), percent(1, high["price_256"]))
    say("In fp16 at head_dim 128: {} to {} %", percent(1, low["price_fp16"]), percent(1, high["price_fp16"]))
    holds("from 32 branches on, at head_dim 128", on_chip_from(128) == 32)
    holds("and 256, the last step keeps the scores", on_chip_from(256) <= 64)
    say("With {} branches at head_dim 128 this step adds {} %, the step before it {} %", 64, percent(1, at(wide_bf16(64), "ratio") - 1), percent(1, at(before(64), "ratio") - 1))
    say("With {} branches it adds {} %", 128, percent(1, at(wide_bf16(128), "ratio") - 1))
    holds("head_dim 64", (find("head_dim=64", row)) > 0)
    holds("head_dim 128", (find("head_dim=128", row)) > 0)
    holds("head_dim 256", (find("head_dim=256", row)) > 0)
    holds("at 128 and", (find("head_dim=128", row)) > 0)
    holds("at 256 of the bytes of K and V", (find("head_dim=256", row)) > 0)
    holds("H200", told_device("NVIDIA H200"))
    exit failed
}
