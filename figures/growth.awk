END {
    for (i = 1; i <= num_rows; i++) {
        collect("n", cell(i, "n"))
        if (cell(i, "steps_exponent") != "") { series++; collect("steps", cell(i, "steps_exponent")); collect("ms", cell(i, "ms_exponent")) }
    }
    say("from {} to {}, of each call", d(0, low["n"]), d(0, high["n"]))
    holds("past of 16 tokens", told("a past of 16 tokens"))
    holds("blocks of 16 tokens", told("a past of 16 tokens"))
    say("each of the {} series", series)
    say("at most {}; the limit", d(2, high["steps"]))
    say("That of the time reaches {},", d(2, high["ms"]))
    holds("the limit is 1.1", high["steps"] <= 1.1)
    holds("nothing is searched twice", high["steps"] <= 1.1)
    holds("steps beyond 1.1, or a time beyond 1.2", high["steps"] <= 1.1 && high["ms"] <= 1.2)
    holds("ends with status 1", high["steps"] <= 1.1 && high["ms"] <= 1.2)
    exit failed
}
