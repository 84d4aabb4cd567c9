# Copied and shared memory of the branches with one prefix: chapter 2.
END {
    value("copied_gib", d(1, at("series=branches x=256", "copied_bytes") / 2^30))
    value("shared_gib", d(2, at("series=branches x=256", "shared_bytes") / 2^30))
    exit failed
}
