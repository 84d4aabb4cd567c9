# Compares a figure's derived numbers (first file: PHRASE, tabs, VALUES) with its texts, the caption and titles (other
# files). write=1: prints the one text file with the derived numbers in it. Errors go to stderr, and the status is 1.
function blank(n,    s) { s = sprintf("%" n "s", ""); gsub(/ /, "\001", s); return n ? s : "" }
# The part of a line that a reader sees; the rest is as long, and blank.
function visible(line,    out, literal, is_text, c, i) {
    if (is_caption) {
        if (line ~ /^(# |\||<!--)/) return blank(length(line))
        while (match(line, /`[^`]*`|!\[[^]]*\]\([^)]*\)|\]\([^)]*\)/))
            line = substr(line, 1, RSTART - 1) blank(RLENGTH) substr(line, RSTART + RLENGTH)
        return line
    }
    if (line !~ /title|label|key/ || line ~ /^ *#/) return blank(length(line))
    out = ""; literal = ""
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        if (literal == "") {
            out = out "\001"
            if (c == "'" || c == "\"") { literal = c; is_text = substr(line, 1, i - 1) !~ /(font|rgb|name|eq|format) *$/ }
        } else if (c == literal) { out = out "\001"; literal = "" }
        else out = out (is_text ? c : "\001")
    }
    while (match(out, /%[0-9.]*[dfgs]|\\n/)) out = substr(out, 1, RSTART - 1) blank(RLENGTH) substr(out, RSTART + RLENGTH)
    return out
}
# Looks for phrase number p in line l from place `from`; fills found_at[], found_length[] for each {}. 0: not there.
function look(p, l, from,    n, pieces, i, start, place, rest, good) {
    n = split(phrase[p], pieces, /\{\}/)
    for (start = from; ; start++) {
        rest = index(substr(seen[l], start), pieces[1])
        if (!rest) return 0
        start += rest - 1
        place = start + length(pieces[1])
        good = 1
        for (i = 2; i <= n && good; i++) {
            good = match(substr(seen[l], place), /^[0-9]+(,[0-9][0-9][0-9])*(\.[0-9]+)?/)
            found_at[i - 1] = place; found_length[i - 1] = RLENGTH
            place += RLENGTH
            good = good && substr(seen[l], place, length(pieces[i])) == pieces[i]
            place += length(pieces[i])
        }
        if (good) { found_end = place; num_found = n - 1; found_start = start; return 1 }
    }
}
function context(l, place) { return "..." substr(line[l], place > 30 ? place - 30 : 1, 70) "..." }
function complain(text) { print "FAIL " text >"/dev/stderr"; failed = 1 }
FILENAME == ARGV[1] { n = split($0, parts, /\t/); phrase[++num_phrases] = parts[1]; for (i = 2; i <= n; i++) value[num_phrases, i - 1] = parts[i]; next }
{ is_caption = FILENAME ~ /\.md$/; line[++num_lines] = $0; seen[num_lines] = visible($0); name[num_lines] = FILENAME }
END {
    # Longer phrases first: a short one may be a part of them.
    for (done = 0; done < num_phrases; done++) {
        p = 0
        for (q = 1; q <= num_phrases; q++) if (!(q in used) && (!p || length(phrase[q]) > length(phrase[p]))) p = q
        used[p] = 1
        times = 0
        for (l = 1; l <= num_lines; l++) {
            from = 1
            while (look(p, l, from)) {
                times++
                for (i = num_found; i; i--) {
                    text = substr(line[l], found_at[i], found_length[i])
                    if (!write && text != value[p, i])
                        complain(name[l] ": " text " in '" phrase[p] "' is " value[p, i] " by the csv")
                    # a number of another length moves the text behind it
                    line[l] = substr(line[l], 1, found_at[i] - 1) value[p, i] substr(line[l], found_at[i] + found_length[i])
                    seen[l] = substr(seen[l], 1, found_at[i] - 1) blank(length(value[p, i])) substr(seen[l], found_at[i] + found_length[i])
                    found_end += length(value[p, i]) - found_length[i]
                }
                if (!num_found)
                    seen[l] = substr(seen[l], 1, found_start - 1) blank(length(phrase[p])) substr(seen[l], found_end)
                from = found_end
            }
        }
        if (!write && !times) complain("no text says '" phrase[p] "'")
        if (!write && list) { text = phrase[p]; for (i = 1; (p, i) in value && value[p, i] != ""; i++) sub(/\{\}/, value[p, i], text); print "  " text }
    }
    words = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|hundred|thousand|dozen|half|thirds?|quarters?|" \
            "fifths?|sixths?|sevenths?|eighths?|tenths?|hundredths?|thousandth|twice|thrice|double[sd]?"
    for (l = 1; l <= num_lines; l++) {
        if (write) { print line[l]; continue }
        rest = " " tolower(seen[l]) " "
        while (match(rest, /[^a-z0-9_.][0-9][0-9.,]*/) || match(rest, "[^a-z](" words ")[^a-z]")) {
            complain(name[l] ": number without derivation: '" context(l, RSTART) "'")
            rest = substr(rest, 1, RSTART) blank(RLENGTH - 1) substr(rest, RSTART + RLENGTH)
        }
    }
    exit failed
}
