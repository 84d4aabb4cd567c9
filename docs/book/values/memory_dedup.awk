# Chapter 2: copied and shared memory, of branches with one prefix and of a search.
END {
    value("copied_gib", d(1, at("series=branches x=256", "copied_bytes") / 2^30))
    value("shared_gib", d(2, at("series=branches x=256", "shared_bytes") / 2^30))
    value("game_copied", highest("series=game_of_24", "copied_blocks"))
    value("game_shared", highest("series=game_of_24", "shared_blocks"))
}
