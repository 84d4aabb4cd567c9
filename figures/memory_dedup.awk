END {
    most = highest("series=branches", "x")
    own = 16 * (at("series=branches x=" most, "shared_blocks") - at("series=branches x=1", "shared_blocks")) / (most - 1)
    all = 16 * at("series=branches x=1", "shared_blocks")
    say("one prefix, {} to {} (left)", lowest("series=branches", "x"), most)
    holds("Game of 24", find("series=game_of_24", row) > 0)
    holds("blocks of 16 tokens", told("blocks of 16 tokens"))
    say("a prefix of {} tokens and {} own tokens", all - own, own)
    say("one prefix of {} tokens", all - own)
    say("({} own tokens each)", own)
    holds("K and V of 32 layers, 8 KV heads, head_dim 128, bf16", told("K and V in 32 layers, 8 KV heads, head_dim 128, bf16"))
    say("share of a branch, {} of {} tokens or {} %", all - own, all, percent(1, (all - own) / all))
    say("reaches {} % at {} branches", d(1, at("series=branches x=" most, "saved_percent")), most)
    say("The peaks are {} blocks instead of {}, and {} blocks instead of {}.", highest("series=game_of_24", "shared_blocks"),
        highest("series=game_of_24", "copied_blocks"), highest("series=sorting_t0", "shared_blocks"),
        highest("series=sorting_t0", "copied_blocks"))
    holds("tree 0", find("series=sorting_t0", row) > 0)
    exit failed
}
